//! The world of the model: what is in it, what may happen next, what follows.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use controller::lease::{
    Answer, Candidate, Change, Input, Leadership, Output, Record, Release, Request, Timing,
};

const SERVICES: usize = 2;
const ADDRESSES: u8 = 2;
const NODES: usize = 2;

/// Which of the rules are kept. The model must find what happens when one is not.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// After an unclean takeover every unsatisfied Service is written to before anything is given out.
    pub(crate) touching: bool,
    /// A leader writes only while its validity lasts.
    pub(crate) validity: bool,
    /// A new leader looks at all Services as they are now before it gives anything out.
    pub(crate) barrier: bool,
    /// The API server answers at once: for the property about time.
    pub(crate) prompt: bool,
    /// The watch shows a change at once, and what the API server answers arrives when it does it: fewer states where
    /// those delays are not the question. Requests and writes still take as long as they like.
    pub(crate) calm: bool,
    /// Only the first leader is ever paused.
    pub(crate) pause_one: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            touching: true,
            validity: true,
            barrier: true,
            prompt: false,
            calm: false,
            pause_one: false,
        }
    }
}

/// How far the search goes.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) ticks: u8,
    pub(crate) pauses: u8,
    pub(crate) crashes: u8,
    pub(crate) suspicions: u8,
    pub(crate) releases: u8,
    pub(crate) deletions: u8,
    pub(crate) emptyings: u8,
    /// Whether leaders give out addresses.
    pub(crate) services: bool,
    /// Nobody leads yet, rather than the first process does.
    pub(crate) fresh: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            ticks: 0,
            pauses: 0,
            crashes: 0,
            suspicions: 0,
            releases: 0,
            deletions: 0,
            emptyings: 0,
            services: true,
            fresh: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Time passes, and every process that runs notices.
    Advance,
    /// The API server handles a read.
    ServeRead(usize),
    /// Its answer arrives.
    DeliverRead(usize),
    ServeWrite(usize),
    DeliverWrite(usize),
    /// The API server handles a write whose sender waits for it no more.
    ServeLate(usize),
    /// The watch of the Lease shows what is there.
    Sight(usize),
    /// The leader sends the next write that its plan calls for.
    Plan(usize),
    /// The API server handles a write to a Service.
    ServeService(usize),
    Pause(usize),
    Resume(usize),
    Crash(usize),
    Restart(usize),
    /// The liveness connection breaks although the leader lives.
    Suspect(usize),
    Release(usize),
    /// A stranger deletes the Lease.
    Delete,
    /// A stranger empties its holder.
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    now: u8,
    lease: Option<Record>,
    services: [Service; SERVICES],
    /// Numbers the versions of the Lease; each Service has its own numbers.
    version: u64,
    nodes: [Node; NODES],
    late: Vec<Write>,
    left: Budget,
    without_leader: u8,
    crashed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Budget {
    pauses: u8,
    crashes: u8,
    suspicions: u8,
    releases: u8,
    deletions: u8,
    emptyings: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Service {
    version: u64,
    address: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    incarnation: u8,
    /// `None`: not running.
    candidate: Option<Candidate>,
    paused: bool,
    leadership: Leadership,
    read: Option<(Request, Option<Answer>)>,
    write: Option<(Request, Write, Option<Answer>)>,
    /// Whose heartbeats it wants.
    follows: String,
    writer: Writer,
}

/// What a leader does about Services, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writer {
    term: u64,
    /// The Services as this process last saw them.
    view: [Service; SERVICES],
    to_touch: [bool; SERVICES],
    pending: Option<Write>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Write {
    Lease {
        by: String,
        of: Option<(String, String)>,
        change: Change,
    },
    Service {
        service: usize,
        version: u64,
        address: Option<u8>,
    },
}

/// Worlds that go on alike are one: what is left out is told in `Candidate::digest`.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (
            self.now,
            &self.lease,
            &self.services,
            self.version,
            &self.late,
        )
            .hash(state);
        (&self.left, self.without_leader, self.crashed).hash(state);
        let now = at(self.now);
        for node in &self.nodes {
            (node.incarnation, node.paused, &node.follows, &node.writer).hash(state);
            if let Some(candidate) = &node.candidate {
                candidate.digest(now, state);
            }
            let lead = node.leadership.lead.map(|lead| {
                (
                    lead.term,
                    lead.unclean,
                    lead.valid_until.saturating_duration_since(now),
                )
            });
            lead.hash(state);
            node.read.as_ref().map(|(_, answer)| answer).hash(state);
            node.write
                .as_ref()
                .map(|(_, write, answer)| (write, answer))
                .hash(state);
        }
    }
}

impl World {
    pub(crate) fn start(rules: &Rules, bounds: &Bounds) -> Self {
        let node = || Node {
            incarnation: 0,
            candidate: None,
            paused: false,
            leadership: Leadership::default(),
            read: None,
            write: None,
            follows: String::new(),
            writer: Writer {
                term: 0,
                view: [Service {
                    version: 0,
                    address: None,
                }; SERVICES],
                to_touch: [false; SERVICES],
                pending: None,
            },
        };
        let mut world = Self {
            now: 0,
            lease: None,
            services: [Service {
                version: 0,
                address: None,
            }; SERVICES],
            version: 1,
            nodes: [node(), node()],
            late: Vec::new(),
            left: Budget {
                pauses: bounds.pauses,
                crashes: bounds.crashes,
                suspicions: bounds.suspicions,
                releases: bounds.releases,
                deletions: bounds.deletions,
                emptyings: bounds.emptyings,
            },
            without_leader: 0,
            crashed: false,
        };
        world.apply(rules, &Action::Restart(0));
        if !bounds.fresh {
            // Read: nothing there. Write: create it.
            for action in [
                Action::ServeRead(0),
                Action::DeliverRead(0),
                Action::ServeWrite(0),
                Action::DeliverWrite(0),
            ] {
                world.apply(rules, &action);
            }
        }
        world.apply(rules, &Action::Restart(1));
        if !bounds.fresh {
            for action in [
                Action::ServeRead(1),
                Action::DeliverRead(1),
                Action::Sight(1),
            ] {
                world.apply(rules, &action);
            }
        }
        world
    }

    /// What may happen next.
    pub(crate) fn actions(&self, rules: &Rules, bounds: &Bounds, actions: &mut Vec<Action>) {
        for (index, node) in self.nodes.iter().enumerate() {
            self.requests_of(index, node, actions);
        }
        for index in 0..self.late.len() {
            actions.push(Action::ServeLate(index));
        }
        let urgent = rules.prompt && !actions.is_empty();
        if self.now < bounds.ticks && !urgent {
            actions.push(Action::Advance);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let running = node.candidate.is_some() && !node.paused;
            if running && bounds.services && self.plan(rules, node).is_some() {
                actions.push(Action::Plan(index));
            }
            if node.writer.pending.is_some() {
                actions.push(Action::ServeService(index));
            }
            self.faults_of(rules, index, node, actions);
        }
        if self.left.deletions > 0 && self.lease.is_some() {
            actions.push(Action::Delete);
        }
        if self.left.emptyings > 0
            && self
                .lease
                .as_ref()
                .is_some_and(|lease| !lease.holder.is_empty())
        {
            actions.push(Action::Empty);
        }
    }

    fn requests_of(&self, index: usize, node: &Node, actions: &mut Vec<Action>) {
        let running = node.candidate.is_some() && !node.paused;
        match &node.read {
            Some((_, None)) => actions.push(Action::ServeRead(index)),
            Some((_, Some(_))) if running => actions.push(Action::DeliverRead(index)),
            _ => {}
        }
        match &node.write {
            Some((_, _, None)) => actions.push(Action::ServeWrite(index)),
            Some((_, _, Some(_))) if running => actions.push(Action::DeliverWrite(index)),
            _ => {}
        }
        if self.wants_sight(node) {
            actions.push(Action::Sight(index));
        }
    }

    /// A leader reads all the time and needs no watch; a follower has nothing else.
    fn wants_sight(&self, node: &Node) -> bool {
        let Some(candidate) = &node.candidate else {
            return false;
        };
        let follows = !node.paused && node.leadership.lead.is_none() && node.read.is_none();
        follows && candidate.record() != self.lease.as_ref()
    }

    fn faults_of(&self, rules: &Rules, index: usize, node: &Node, actions: &mut Vec<Action>) {
        let leads = node.leadership.lead.is_some();
        if node.candidate.is_none() {
            actions.push(Action::Restart(index));
            return;
        }
        if node.paused {
            actions.push(Action::Resume(index));
        } else if self.left.pauses > 0 && (index == 0 || !rules.pause_one) {
            actions.push(Action::Pause(index));
        }
        if self.left.crashes > 0 {
            actions.push(Action::Crash(index));
        }
        if self.left.suspicions > 0 && !node.paused && !node.follows.is_empty() {
            actions.push(Action::Suspect(index));
        }
        if self.left.releases > 0 && !node.paused && leads {
            actions.push(Action::Release(index));
        }
    }

    /// Makes it so.
    pub(crate) fn apply(&mut self, rules: &Rules, action: &Action) {
        match *action {
            Action::Advance => self.advance(),
            Action::ServeRead(index) => {
                let answer = self.lease.clone().map_or(Answer::Absent, Answer::Record);
                if let Some((_, slot)) = &mut self.nodes[index].read {
                    *slot = Some(answer);
                }
                // What a follower read too late only makes its next write fail.
                let leads = self.nodes[index].leadership.lead.is_some();
                if self.runs(index) && (rules.calm || !leads) {
                    self.apply(rules, &Action::DeliverRead(index));
                }
            }
            Action::DeliverRead(index) => {
                if let Some((request, Some(answer))) = self.nodes[index].read.take() {
                    self.tell(index, Input::Answered { request, answer });
                }
            }
            Action::ServeWrite(index) => {
                if let Some((_, write, None)) = self.nodes[index].write.clone() {
                    let answer = self.serve(&write);
                    if let Some((_, _, slot)) = &mut self.nodes[index].write {
                        *slot = answer;
                    }
                    if self.runs(index) && rules.calm {
                        self.apply(rules, &Action::DeliverWrite(index));
                    }
                }
            }
            Action::DeliverWrite(index) => {
                if let Some((request, _, Some(answer))) = self.nodes[index].write.take() {
                    self.tell(index, Input::Answered { request, answer });
                }
            }
            Action::ServeLate(index) => {
                let write = self.late.remove(index);
                self.serve(&write);
            }
            Action::Sight(index) => {
                let record = self.lease.clone();
                self.tell(index, Input::Seen(record));
            }
            Action::Plan(index) => self.send_planned(rules, index),
            Action::ServeService(index) => self.serve_service(index),
            Action::Pause(index) => {
                self.left.pauses -= 1;
                self.nodes[index].paused = true;
            }
            Action::Resume(index) => {
                self.nodes[index].paused = false;
                self.tell(index, Input::Tick);
            }
            Action::Crash(index) => self.crash(index),
            Action::Restart(index) => self.restart(index),
            Action::Suspect(index) => {
                self.left.suspicions -= 1;
                self.tell(index, Input::LivenessLost);
            }
            Action::Release(index) => {
                self.left.releases -= 1;
                let settled = self.nodes[index].writer.pending.is_none();
                let how = if settled {
                    Release::Settled
                } else {
                    Release::Unsettled
                };
                self.tell(index, Input::Release { how });
            }
            Action::Delete => {
                self.left.deletions -= 1;
                self.version += 1;
                self.lease = None;
            }
            Action::Empty => {
                self.left.emptyings -= 1;
                self.version += 1;
                if let Some(lease) = &mut self.lease {
                    lease.holder.clear();
                    lease.resource_version = self.version.to_string();
                }
            }
        }
        if rules.calm {
            for index in 0..NODES {
                if self.wants_sight(&self.nodes[index]) {
                    let record = self.lease.clone();
                    self.tell(index, Input::Seen(record));
                }
            }
        }
        self.forget_what_cannot_matter();
        if self.valid_running_leader() {
            self.without_leader = 0;
            self.crashed = false;
        }
    }

    fn runs(&self, index: usize) -> bool {
        self.nodes[index].candidate.is_some() && !self.nodes[index].paused
    }

    fn advance(&mut self) {
        self.now += 1;
        let counts = self.crashed
            && self
                .nodes
                .iter()
                .any(|node| node.candidate.is_some() && !node.paused);
        self.without_leader = if counts { self.without_leader + 1 } else { 0 };
        for index in 0..NODES {
            if self.nodes[index].candidate.is_none() || self.nodes[index].paused {
                continue;
            }
            let follows = self.nodes[index].follows.clone();
            if !follows.is_empty() {
                let moment = at(self.now);
                match self
                    .nodes
                    .iter()
                    .enumerate()
                    .find(|(at, node)| node.identity(*at) == follows)
                {
                    Some((_, leader)) if leader.candidate.is_some() => {
                        if !leader.paused && leader.leadership.may_write(moment) {
                            self.tell(index, Input::Heartbeat);
                        }
                    }
                    _ => self.tell(index, Input::LivenessLost),
                }
            }
            self.tell(index, Input::Tick);
        }
    }

    /// One input, a full drain.
    fn tell(&mut self, index: usize, input: Input) {
        let now = at(self.now);
        let Some(mut candidate) = self.nodes[index].candidate.take() else {
            return;
        };
        candidate.handle(now, input);
        let mut outputs = VecDeque::new();
        while let Some(output) = candidate.poll_output() {
            outputs.push_back(output);
        }
        let by = self.nodes[index].identity(index);
        self.nodes[index].candidate = Some(candidate);
        for output in outputs {
            match output {
                Output::Get { request } => self.nodes[index].read = Some((request, None)),
                Output::Create { request, change } => {
                    self.send(
                        index,
                        request,
                        Write::Lease {
                            by: by.clone(),
                            of: None,
                            change,
                        },
                    );
                }
                Output::Replace {
                    request,
                    of,
                    change,
                } => {
                    let of = Some((of.uid, of.resource_version));
                    self.send(
                        index,
                        request,
                        Write::Lease {
                            by: by.clone(),
                            of,
                            change,
                        },
                    );
                }
                Output::ConnectLiveness { holder, .. } => self.nodes[index].follows = holder,
                Output::LeadershipChanged(leadership) => self.nodes[index].leadership = leadership,
                Output::Released => {}
            }
        }
    }

    fn send(&mut self, index: usize, request: Request, write: Write) {
        let before = self.nodes[index].write.replace((request, write, None));
        if let Some((_, given_up, None)) = before {
            self.late.push(given_up);
        }
    }

    fn crash(&mut self, index: usize) {
        self.left.crashes -= 1;
        // Whoever was about to take over and crashed too: then it begins anew.
        self.without_leader = 0;
        self.crashed |= self.nodes[index].leadership.may_write(at(self.now));
        let identity = self.nodes[index].identity(index);
        let node = &mut self.nodes[index];
        node.candidate = None;
        node.paused = false;
        node.leadership = Leadership::default();
        node.read = None;
        node.follows.clear();
        if let Some((_, write, None)) = node.write.take() {
            self.late.push(write);
        }
        if let Some(write) = self.nodes[index].writer.pending.take() {
            self.late.push(write);
        }
        for other in 0..NODES {
            if self.nodes[other].follows == identity && !self.nodes[other].paused {
                self.tell(other, Input::LivenessLost);
            }
        }
    }

    fn restart(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.incarnation += 1;
        let identity = node.identity(index);
        let reachable = format!("at {identity}");
        node.candidate = Some(Candidate::new(identity, 0, timing()));
        node.writer.term = 0;
        node.writer.view = self.services;
        node.writer.to_touch = [false; SERVICES];
        self.tell(index, Input::Reachable(reachable));
    }

    /// The API server: compare and swap.
    fn serve(&mut self, write: &Write) -> Option<Answer> {
        match write {
            Write::Service {
                service,
                version,
                address,
            } => {
                self.serve_status(*service, *version, *address);
                None
            }
            Write::Lease { by, of, change } => {
                let mut record = match (&self.lease, of) {
                    (None, None) => Record {
                        uid: format!("uid {}", self.version),
                        ..Record::default()
                    },
                    (Some(lease), Some((uid, version)))
                        if lease.uid == *uid && lease.resource_version == *version =>
                    {
                        lease.clone()
                    }
                    (None, Some(_)) => return Some(Answer::Absent),
                    (Some(_), _) => return Some(Answer::Conflict),
                };
                self.version += 1;
                record.resource_version = self.version.to_string();
                self.change(&mut record, by, change);
                self.lease = Some(record.clone());
                Some(Answer::Record(record))
            }
        }
    }

    fn serve_status(&mut self, service: usize, version: u64, address: Option<u8>) -> bool {
        let stored = &mut self.services[service];
        let same = stored.version == version;
        if same {
            *stored = Service {
                version: version + 1,
                address,
            };
        }
        same
    }

    fn change(&self, record: &mut Record, by: &str, change: &Change) {
        match change {
            Change::Acquire { term, liveness, .. } => {
                by.clone_into(&mut record.holder);
                record.term = *term;
                liveness.clone_into(&mut record.liveness);
                record.challenge.clear();
                record.release = None;
                record.renewed = self.version.to_string();
            }
            Change::Renew { liveness, .. } => {
                liveness.clone_into(&mut record.liveness);
                record.challenge.clear();
                record.renewed = self.version.to_string();
            }
            Change::Challenge { .. } => record.challenge = format!("{by} 0"),
            Change::Release { how, .. } => {
                record.holder.clear();
                record.liveness.clear();
                record.challenge.clear();
                record.release = Some(*how);
            }
        }
        record.addresses = Arc::from("");
    }

    /// What the leader on this node would write next.
    fn plan(&self, rules: &Rules, node: &Node) -> Option<Write> {
        let lead = node.leadership.lead?;
        let valid = node.leadership.may_write(at(self.now)) || !rules.validity;
        if !valid || node.writer.pending.is_some() {
            return None;
        }
        let mut writer = node.writer.clone();
        self.begin_term(rules, &mut writer, lead.term, lead.unclean);
        writer.next_write()
    }

    fn send_planned(&mut self, rules: &Rules, index: usize) {
        let Some(lead) = self.nodes[index].leadership.lead else {
            return;
        };
        let mut writer = self.nodes[index].writer.clone();
        self.begin_term(rules, &mut writer, lead.term, lead.unclean);
        writer.pending = writer.next_write();
        self.nodes[index].writer = writer;
    }

    fn begin_term(&self, rules: &Rules, writer: &mut Writer, term: u64, unclean: bool) {
        if writer.term == term {
            return;
        }
        writer.term = term;
        if rules.barrier {
            writer.view = self.services;
        }
        writer.to_touch = writer
            .view
            .map(|service| rules.touching && unclean && service.address.is_none());
    }

    fn serve_service(&mut self, index: usize) {
        let Some(write) = self.nodes[index].writer.pending.take() else {
            return;
        };
        let Write::Service {
            service,
            version,
            address,
        } = write
        else {
            return;
        };
        let done = self.serve_status(service, version, address);
        let writer = &mut self.nodes[index].writer;
        // After a conflict the Service is read again.
        writer.view[service] = self.services[service];
        if (done && address.is_none()) || writer.view[service].address.is_some() {
            writer.to_touch[service] = false;
        }
    }

    /// A write that compares with what is no more fails whenever it arrives.
    fn forget_what_cannot_matter(&mut self) {
        let (lease, services) = (&self.lease, &self.services);
        self.late.retain(|write| match write {
            Write::Service {
                service, version, ..
            } => services[*service].version == *version,
            Write::Lease { of: None, .. } => true,
            Write::Lease {
                of: Some((uid, version)),
                ..
            } => lease
                .as_ref()
                .is_some_and(|lease| lease.uid == *uid && lease.resource_version == *version),
        });
        self.late.sort_by_key(|write| format!("{write:?}"));
    }

    /// How many processes, paused ones too, might write now.
    pub(crate) fn valid_leaders(&self, rules: &Rules) -> usize {
        let valid = |node: &&Node| match node.leadership.lead {
            Some(_) if !rules.validity => true,
            _ => node.leadership.may_write(at(self.now)),
        };
        self.nodes
            .iter()
            .filter(|node| node.candidate.is_some())
            .filter(valid)
            .count()
    }

    fn valid_running_leader(&self) -> bool {
        let now = at(self.now);
        self.nodes
            .iter()
            .any(|node| node.candidate.is_some() && !node.paused && node.leadership.may_write(now))
    }

    pub(crate) fn shares_an_address(&self) -> bool {
        let [first, second] = self.services;
        first.address.is_some() && first.address == second.address
    }

    /// Ticks since the leader crashed in which nobody led although somebody ran.
    pub(crate) fn without_leader(&self) -> u8 {
        self.without_leader
    }

    pub(crate) fn both_served_after_takeover(&self) -> bool {
        let taken_over = self.lease.as_ref().is_some_and(|lease| lease.term > 1);
        taken_over
            && self
                .services
                .iter()
                .all(|service| service.address.is_some())
    }
}

impl Node {
    fn identity(&self, index: usize) -> String {
        format!("n{index}_{}", self.incarnation)
    }
}

impl Writer {
    fn next_write(&self) -> Option<Write> {
        let write = |service: usize, address| Write::Service {
            service,
            version: self.view[service].version,
            address,
        };
        if let Some(service) = self.to_touch.iter().position(|touch| *touch) {
            return Some(write(service, None));
        }
        // Two leaders see different things first, so they do not serve the same Service first.
        let order: Vec<usize> = if self.term % 2 == 1 {
            vec![0, 1]
        } else {
            vec![1, 0]
        };
        let service = order
            .into_iter()
            .find(|service| self.view[*service].address.is_none())?;
        let taken = |address: &u8| {
            self.view
                .iter()
                .any(|service| service.address == Some(*address))
        };
        let address = (0..ADDRESSES).find(|address| !taken(address))?;
        Some(write(service, Some(address)))
    }
}

/// The real periods in ticks of 0.6 s, rounded up; what costs states and shows nothing is out of the way.
fn timing() -> Timing {
    let ticks = |count: u32| TICK * count;
    Timing {
        confirm: ticks(1),
        validity: ticks(2),
        challenge_wait: ticks(3),
        stranger_wait: ticks(1),
        renewal: ticks(20),
        stale: ticks(50),
        silence: ticks(1),
        jitter: Duration::ZERO,
        ignore_first: ticks(50),
        ignore_most: ticks(1_000),
        steady: ticks(17),
        write_spacing: ticks(2),
        retry: ticks(1),
        poll: ticks(2),
        grace: ticks(2),
        read_timeout: ticks(2),
        write_timeout: ticks(4),
    }
}

const TICK: Duration = Duration::from_secs(1);

fn at(tick: u8) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "an origin; no real time passes in the model"
    )]
    let start = *START.get_or_init(Instant::now);
    start + TICK * u32::from(tick)
}
