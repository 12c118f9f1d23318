//! What the statuses should say once everything is decided, and what to remember of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::holders::{
    Arrival, Entry, Held, Holder, Holders, Part, Planning, State, is_recorded, recorded,
};
use super::{AddressPlan, Departure, SOON, ServiceStatus, report};
use crate::cluster::{IngressEntry, IngressIpMode, ObjectName, Service};

/// Writes that may be under way for one Service at most; more are forgotten, oldest first.
const MOST_SENT: usize = 8;

/// How long a write may be under way: as long as an API server takes for a request at most (its `--request-timeout`).
const IN_FLIGHT: Duration = Duration::from_secs(60);
/// Addresses that may be under way for one Service at most; more are forgotten, oldest first.
const MOST_IN_FLIGHT: usize = 32;

/// What comes of one pass over all Services.
pub(super) struct Outcome {
    /// Without the conditions of pools.
    pub(super) plan: AddressPlan,
    pub(super) holders: Holders,
    /// Whether nothing is held and nothing left to write.
    pub(super) nothing_left: bool,
    /// Whether addresses are on their way from one Service to another, and somebody lacks one.
    pub(super) in_motion: bool,
}

impl Planning<'_> {
    /// The statuses, and what to remember.
    pub(super) fn finish(mut self) -> Outcome {
        self.book_elsewhere();
        self.unbook_unkept();
        let mut statuses: Vec<(ObjectName, ServiceStatus)> = Vec::new();
        let mut departures: Vec<(ObjectName, Vec<Departure>)> = Vec::new();
        let mut holders: Holders = Vec::with_capacity(self.entries.len() + self.left.len());
        let mut nothing_left = true;
        let on_their_way = !self.leaving.is_empty() || !self.contested.is_empty();
        let mut in_motion = false;
        let (mut matching, mut unsatisfied) = (0, 0);
        for mut entry in std::mem::take(&mut self.entries) {
            matching += 1;
            if entry.arrival == Arrival::Quiet {
                nothing_left = false;
                holders.push(entry.holder);
                continue;
            }
            let blocked = self.blocked(&entry);
            entry.waits |= !blocked.is_empty();
            if let Some(&address) = blocked.first() {
                entry.refusal.get_or_insert_with(|| report::in_use(address));
            }
            unsatisfied += usize::from(entry.refusal.is_some());
            in_motion |= on_their_way && (entry.waits || entry.refusal.is_some());
            if entry.waits {
                self.look_again(self.now + SOON);
            }
            for held in &entry.holder.held {
                if let State::Lost(until) = held.state {
                    self.look_again(until);
                }
            }
            if entry.refusal.is_none() && !self.memory.is_empty() {
                self.memory.forget(&entry.service.meta.name);
            }
            let (holder, told) = entry.finish(&blocked, self.now);
            nothing_left &= holder.held.is_empty() && holder.settled;
            in_motion |= !holder.passed_on.is_empty() || told.leaves_to_stranger;
            let name = &holder.service.meta.name;
            if !told.departures.is_empty() {
                departures.push((name.clone(), told.departures));
            }
            if let Some(status) = told.status {
                statuses.push((name.clone(), status));
            }
            holders.push(holder);
        }
        let cleaning = !self.left.is_empty() || !self.left_to_strangers.is_empty();
        for (mut holder, service) in self.left {
            let status = clean_status(&holder, service);
            let as_cleaned = status.ingress.len() == service.ingress.len();
            if as_cleaned && service.recorded_condition.is_none() && !service.is_marked() {
                self.allocator.forget(holder.owner);
                continue;
            }
            nothing_left = false;
            let name = &service.meta.name;
            let gone = holder.departures(service);
            if !gone.is_empty() {
                departures.push((name.clone(), gone));
            }
            statuses.push((name.clone(), status));
            holder.service = Arc::clone(service);
            holders.push(holder);
        }
        let awake = !self.pools.by_age.is_empty();
        for (mut holder, service, manager) in self.left_to_strangers {
            matching += 1;
            unsatisfied += 1;
            nothing_left &= !service.is_marked();
            let name = &service.meta.name;
            if !holder.replaced.is_empty() {
                departures.push((name.clone(), holder.replaced.clone()));
            }
            let status = ServiceStatus {
                ingress: service.ingress.clone(),
                condition: None,
                foreign: awake.then_some(manager),
            };
            statuses.push((name.clone(), status));
            holder.service = Arc::clone(service);
            holders.push(holder);
        }
        for (name, service) in self.stale_conditions {
            let ingress = service.ingress.clone();
            statuses.push((
                name.clone(),
                ServiceStatus {
                    ingress,
                    condition: None,
                    foreign: None,
                },
            ));
        }
        if cleaning {
            holders.sort_by(|one, other| one.service.meta.name.cmp(&other.service.meta.name));
        }
        let plan = AddressPlan {
            services: statuses.into_iter().collect(),
            pools: BTreeMap::new(),
            matching,
            unsatisfied,
            departures: departures.into_iter().collect(),
            again_at: self.again_at,
        };
        Outcome {
            plan,
            holders,
            nothing_left,
            in_motion,
        }
    }

    /// Books an address in a pool that selects its holder, unless the pool it is booked in selects another one.
    fn book_elsewhere(&mut self) {
        for (place, address, home) in std::mem::take(&mut self.elsewhere) {
            let Some(holding) = self.allocator.holding(address) else {
                continue;
            };
            let booked = holding.pool().and_then(|key| self.pools.get(key));
            let keepers: Vec<usize> = if holding.is_shared() {
                let by_owner = self.places_by_owner();
                let places = holding
                    .owners()
                    .filter_map(|owner| by_owner.get(owner).copied());
                places
                    .filter(|&place| self.entries[place].holder.keeps(address))
                    .collect()
            } else {
                vec![place]
            };
            let selected = |&place: &usize| {
                booked.is_some_and(|view| view.selects(self.entries[place].service))
            };
            if keepers.contains(&place) && !keepers.iter().any(selected) {
                self.allocator.book(address, Some(home));
            }
        }
    }

    /// An address counts in a pool only while one of our Services goes on holding it.
    fn unbook_unkept(&mut self) {
        for &address in &self.leaving {
            let holding = self.allocator.holding(address);
            let counts = holding.is_some_and(|holding| holding.pool().is_some());
            if counts && !self.is_kept(address) {
                self.allocator.book(address, None);
            }
        }
    }

    /// What a Service has been given and the status of somebody it may not share with still shows.
    fn blocked(&self, entry: &Entry<'_>) -> Vec<IpAddr> {
        if self.leaving.is_empty() && self.contested.is_empty() {
            return Vec::new();
        }
        let held = entry.holder.held.iter().filter(|held| held.is_kept());
        held.map(|held| held.address)
            .filter(|&address| self.is_shown_elsewhere(entry, address))
            .collect()
    }
}

/// What is told of one Service.
struct Told {
    /// The desired status; `None` where the Service is to be left as it stands.
    status: Option<ServiceStatus>,
    departures: Vec<Departure>,
    /// It is left to a stranger from now on, which the next look carries out.
    leaves_to_stranger: bool,
}

impl Entry<'_> {
    fn finish(self, blocked: &[IpAddr], now: Instant) -> (Box<Holder>, Told) {
        let Self {
            service,
            mut holder,
            refusal,
            waits,
            arrival,
            disturbed,
        } = self;
        let held = std::mem::take(&mut holder.held);
        let stays = |held: &Held| held.is_kept() || holder.may_show(service, held.address, now);
        holder.held = held.into_iter().filter(stays).collect();
        let satisfied = refusal.is_none();
        let condition = refusal.unwrap_or_else(report::satisfied);
        let ingress = ingress(service, &holder, blocked);
        let same_ingress = ingress.len() == service.ingress.len()
            && ingress
                .iter()
                .zip(&service.ingress)
                .all(|(ours, recorded)| ours.ip == recorded.ip);
        let mut told = Told {
            status: None,
            departures: Vec::new(),
            leaves_to_stranger: disturbed && !same_ingress && holder.is_contested(service, now),
        };
        if holder
            .contest
            .as_ref()
            .is_some_and(|contest| contest.is_over(now))
        {
            holder.contest = None;
        }
        if waits && same_ingress {
            // What it lacks is about to become free: it is told when that is settled.
            holder.settled = false;
            holder.service = Arc::clone(service);
            return (holder, told);
        }
        if !same_ingress || !holder.replaced.is_empty() {
            told.departures = holder.departures(service);
        }
        let addresses = || ingress.iter().filter_map(|entry| entry.ip);
        if !addresses().eq(holder.planned.iter().copied()) {
            holder.planned = addresses().collect();
        }
        holder.note_in_flight(service, now + IN_FLIGHT);
        if !same_ingress && holder.sent.last() != Some(&holder.planned) {
            holder.sent.push(holder.planned.clone());
            let surplus = holder.sent.len().saturating_sub(MOST_SENT);
            holder.sent.drain(..surplus);
        }
        let as_before = holder
            .condition
            .as_ref()
            .is_none_or(|before| *before == condition);
        let left_alone = condition.satisfied
            && same_ingress
            && holder.settled
            && as_before
            && arrival != Arrival::FromStart;
        if !left_alone {
            holder.settled = same_ingress && is_recorded(&condition, service);
        }
        holder.quiet = satisfied && !waits && holder.is_at_rest(service);
        if holder.quiet {
            holder.shrink();
        }
        let as_recorded = same_ingress && (left_alone || is_recorded(&condition, service));
        if !(as_recorded && satisfied) || service.is_marked() {
            told.status = Some(ServiceStatus {
                ingress,
                condition: Some(condition.clone()),
                foreign: None,
            });
        }
        holder.condition = Some(condition);
        holder.service = Arc::clone(service);
        (holder, told)
    }
}

impl Holder {
    fn note_in_flight(&mut self, service: &Service, until: Instant) {
        for &address in &self.planned {
            if recorded(service).any(|shown| shown == address) {
                continue;
            }
            match self
                .in_flight
                .iter_mut()
                .find(|(known, _)| *known == address)
            {
                Some((_, known)) => *known = until,
                None => self.in_flight.push((address, until)),
            }
        }
        let surplus = self.in_flight.len().saturating_sub(MOST_IN_FLIGHT);
        self.in_flight.drain(..surplus);
    }

    /// Whether nothing is to be written, and nothing to be decided while neither it nor any pool changes.
    fn is_at_rest(&self, service: &Service) -> bool {
        let at_home = |held: &Held| held.state == State::Kept && held.home.is_some();
        self.settled
            && !service.is_marked()
            && self.held.iter().all(at_home)
            && self.passed_on.is_empty()
            && self.replaced.is_empty()
            && self.contest.is_none()
            && !self.seen_more
            && self.seen == self.planned
    }

    /// Notes that a stranger replaced what we had recorded; whether the Service is left to it from now on.
    fn is_contested(&mut self, service: &Arc<Service>, now: Instant) -> bool {
        let contest = self.contest.get_or_insert_default();
        contest.replaced(service, now);
        contest.left_to(service, now).is_some()
    }

    /// The addresses that the status shows, or showed until a stranger replaced them, and the Service has no longer.
    fn departures(&self, service: &Service) -> Vec<Departure> {
        let mut departures = self.replaced.clone();
        for address in recorded(service) {
            let told = departures.iter().any(|known| known.address == address);
            if told || self.part == Part::Ours && self.keeps(address) {
                continue;
            }
            let held = self.held.iter().find(|held| held.address == address);
            let reason = match held.map(|held| held.state) {
                Some(State::Leaving(why)) => why,
                _ if self.passed_on.contains(&address) => report::NOT_NAMED,
                None if self.part == Part::Left => continue,
                _ => report::ANOTHERS,
            };
            departures.push(Departure { address, reason });
        }
        departures
    }
}

/// The recorded entries that stay, as they stand and in their order, then what is new in the order obtained, without what
/// is blocked.
fn ingress(service: &Service, holder: &Holder, blocked: &[IpAddr]) -> Vec<IngressEntry> {
    let mut ingress: Vec<IngressEntry> = Vec::with_capacity(holder.held.len());
    for entry in &service.ingress {
        let stays = entry.ip.is_some_and(|ip| holder.keeps(ip));
        if stays && ingress.iter().all(|other| other.ip != entry.ip) {
            ingress.push(entry.clone());
        }
    }
    for held in holder.held.iter().filter(|held| held.is_kept()) {
        let is_new = ingress.iter().all(|other| other.ip != Some(held.address));
        if is_new && !blocked.contains(&held.address) {
            ingress.push(IngressEntry {
                ip: Some(held.address),
                hostname: None,
                ip_mode: IngressIpMode::Vip,
            });
        }
    }
    ingress
}

/// A Service that is not ours any more loses what we gave it; what somebody else put there meanwhile stays.
fn clean_status(holder: &Holder, service: &Service) -> ServiceStatus {
    let given = |entry: &&IngressEntry| {
        entry
            .ip
            .is_some_and(|ip| holder.held.iter().any(|held| held.address == ip))
    };
    let ingress = service
        .ingress
        .iter()
        .filter(|entry| !given(entry))
        .cloned()
        .collect();
    ServiceStatus {
        ingress,
        condition: None,
        foreign: None,
    }
}
