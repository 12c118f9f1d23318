//! Which addresses Services had that are gone, so that one made again under the same name has its own back.
//!
//! GitOps tools delete a Service and make it again. Whoever waits for an address when it becomes free gets it: a Service
//! that is gone has no claim against one that is there. After that the address is handed out last, so that it is most
//! likely still free when its Service comes back, which is then served before everybody else. So is one that was gone
//! only between two looks.
//!
//! Whoever leads owns the memory through its `AddressBook`. Those who follow have one too and fill it by looking on, so
//! that a new leader knows what happened before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::is_ours;
use crate::cluster::{Kind, ObjectName, Service, Shared, Snapshot};
use crate::plan::Settings;

/// So many Services are remembered at most; more are forgotten, those gone longest first.
const MOST: usize = 2_000;
/// So many addresses of one Service.
const MOST_ADDRESSES: usize = 8;
/// The longest text that is written or read, in octets: half of what the annotations of one object may hold.
const LONGEST_TEXT: usize = 128 * 1024;
/// The longest namespace or name there is (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// The addresses of Services that are gone.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    released: BTreeMap<ObjectName, Released>,
    changes: u64,
    /// What was there when we looked last, for those who look on.
    seen: Option<Shared<BTreeMap<ObjectName, Arc<Service>>>>,
}

#[derive(Clone, Debug)]
struct Released {
    addresses: Vec<IpAddr>,
    at: Instant,
}

impl Memory {
    /// Changes whenever something is remembered or forgotten: time to write it down anew.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many Services are remembered.
    pub fn len(&self) -> usize {
        self.released.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.released.is_empty()
    }

    /// What a Service of that name had; nothing where none is remembered.
    pub fn addresses(&self, name: &ObjectName) -> &[IpAddr] {
        let released = self.released.get(name);
        released.map_or(&[], |released| &released.addresses)
    }

    /// Notes which Services are gone since it looked last: for those who do not plan, who see nothing else of them.
    ///
    /// A Service of another uid under the same name is another one: the first is gone. Nothing is noted while the snapshot
    /// is not complete or Services cannot be read.
    pub fn observe(&mut self, snapshot: &Snapshot, settings: &Settings, now: Instant) {
        if !snapshot.complete || snapshot.unreadable.contains_key(&Kind::Service) {
            return;
        }
        let before = self.seen.replace(snapshot.services.clone());
        let before = before.filter(|before| !before.is_same(&snapshot.services));
        // Both are in the order of names.
        let mut there = snapshot.services.values().peekable();
        for (name, service) in before.iter().flat_map(|before| before.iter()) {
            let is_same = |other: &&Arc<Service>| Arc::ptr_eq(other, service);
            if there.next_if(is_same).is_some() {
                continue;
            }
            while there.next_if(|other| other.meta.name < *name).is_some() {}
            let successor = there.next_if(|other| other.meta.name == *name);
            let stays = successor.is_some_and(|other| other.meta.uid == service.meta.uid);
            if !stays && is_ours(service, settings) {
                let addresses: Vec<IpAddr> = service
                    .ingress
                    .iter()
                    .filter_map(|entry| entry.ip)
                    .collect();
                self.remember(name, &addresses, now);
            }
        }
        self.expire(now, settings.address_memory);
    }

    /// Notes what present Services have, as far as there is room: for who stops and will not see which of them go meanwhile.
    pub fn note_present(&mut self, snapshot: &Snapshot, settings: &Settings, now: Instant) {
        for (name, service) in snapshot.services.iter() {
            if self.released.len() >= MOST {
                return;
            }
            let addresses: Vec<IpAddr> = service
                .ingress
                .iter()
                .filter_map(|entry| entry.ip)
                .collect();
            if is_ours(service, settings) && !self.released.contains_key(name) {
                self.remember(name, &addresses, now);
            }
        }
    }

    /// From now on somebody tells it.
    pub(super) fn stop_observing(&mut self) {
        self.seen = None;
    }

    /// The memory as a compact JSON text of at most 128 KiB, to be read by [`Memory::from_text`]; what does not fit is what
    /// is gone longest. `wall` is the present time in seconds since 1970, for `now` means nothing to another process.
    pub fn to_text(&self, now: Instant, wall: i64) -> String {
        let mut newest_first: Vec<_> = self.released.iter().collect();
        newest_first.sort_by_key(|(_, released)| std::cmp::Reverse(released.at));
        let (open, close) = (r#"{"released":["#, "]}");
        let mut text = open.to_owned();
        for (name, released) in newest_first {
            let age = now.saturating_duration_since(released.at).as_secs();
            let at = wall.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
            let entry = json!([
                name.namespace.to_string(),
                name.name.to_string(),
                at,
                released.addresses
            ]);
            let entry = entry.to_string();
            if text.len() + 1 + entry.len() + close.len() > LONGEST_TEXT {
                break;
            }
            if text.len() > open.len() {
                text.push(',');
            }
            text.push_str(&entry);
        }
        text + close
    }

    /// What [`Memory::to_text`] wrote down, perhaps in another process. Whatever cannot be read is left out, a text that is
    /// too long altogether: it costs no Service anything but its memory.
    pub fn from_text(text: &str, now: Instant, wall: i64) -> Self {
        let mut memory = Self::default();
        if text.len() > LONGEST_TEXT {
            return memory;
        }
        let read: Value = serde_json::from_str(text).unwrap_or_default();
        let entries = read.get("released").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let Some((name, at, addresses)) = read_entry(entry) else {
                continue;
            };
            let age = u64::try_from(wall.saturating_sub(at)).unwrap_or_default();
            // Where the clock cannot reach back that far it counts as gone just now.
            let at = now.checked_sub(Duration::from_secs(age)).unwrap_or(now);
            memory.remember(&name, &addresses, at);
        }
        memory
    }

    /// Takes over what another memory knows and this one does not.
    pub fn absorb(&mut self, other: Self) {
        for (name, released) in other.released {
            if !self.released.contains_key(&name) {
                self.remember(&name, &released.addresses, released.at);
            }
        }
    }

    /// Remembers what a Service had that is gone.
    pub(super) fn remember(&mut self, name: &ObjectName, addresses: &[IpAddr], at: Instant) {
        if addresses.is_empty() {
            return;
        }
        let mut addresses = addresses.to_vec();
        addresses.truncate(MOST_ADDRESSES);
        self.released
            .insert(name.clone(), Released { addresses, at });
        self.changes += 1;
        if self.released.len() > MOST {
            let oldest = self
                .released
                .iter()
                .min_by_key(|(_, released)| released.at)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| self.released.remove(&name));
        }
    }

    /// Forgets a Service that has what it asks for.
    pub(super) fn forget(&mut self, name: &ObjectName) {
        if self.released.remove(name).is_some() {
            self.changes += 1;
        }
    }

    /// Forgets what is gone for longer than this.
    pub(super) fn expire(&mut self, now: Instant, keep: Duration) {
        let before = self.released.len();
        self.released
            .retain(|_, released| now.saturating_duration_since(released.at) < keep);
        if self.released.len() != before {
            self.changes += 1;
        }
    }

    /// All addresses remembered.
    pub(super) fn all_addresses(&self) -> BTreeSet<IpAddr> {
        let released = self.released.values();
        released
            .flat_map(|released| released.addresses.iter().copied())
            .collect()
    }
}

fn read_entry(entry: &Value) -> Option<(ObjectName, i64, Vec<IpAddr>)> {
    let text = |value: &Value| {
        let text = value.as_str()?;
        (!text.is_empty() && text.len() <= LONGEST_NAME).then(|| text.to_owned())
    };
    let [namespace, name, at, addresses] = entry.as_array()?.as_slice() else {
        return None;
    };
    let name = ObjectName {
        namespace: text(namespace)?.into(),
        name: text(name)?.into(),
    };
    let addresses = addresses.as_array()?.iter();
    let addresses = addresses
        .take(MOST_ADDRESSES)
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect();
    Some((name, at.as_i64()?, addresses))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALL: i64 = 1_790_000_000;

    #[expect(
        clippy::disallowed_methods,
        reason = "where virtual time begins does not matter"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn name(index: usize) -> ObjectName {
        ObjectName {
            namespace: "team".into(),
            name: format!("service-{index}").into(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn what_is_written_down_is_read_by_another_process_at_another_time() {
        let now = start();
        let mut memory = Memory::default();
        memory.remember(&name(1), &[ip("10.0.0.1"), ip("fd00::1")], now);
        memory.remember(&name(2), &[ip("10.0.0.2")], now + seconds(50));
        let text = memory.to_text(now + seconds(60), WALL);
        let expected = r#"{"released":[["team","service-2",1789999990,["10.0.0.2"]],["team","service-1",1789999940,["10.0.0.1","fd00::1"]]]}"#;
        assert_eq!(text, expected);
        let later = start() + seconds(5000);
        let mut read = Memory::from_text(&text, later, WALL + 100);
        assert_eq!(read.addresses(&name(1)), [ip("10.0.0.1"), ip("fd00::1")]);
        read.expire(later, seconds(160));
        assert_eq!((read.addresses(&name(1)).len(), read.len()), (0, 1));
        read.expire(later + seconds(50), seconds(160));
        assert!(read.is_empty());
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_older_than_it_is() {
        let now = start();
        let text = format!(
            r#"{{"released":[["team","service-1",{},["10.0.0.1"]]]}}"#,
            WALL + 999
        );
        let mut memory = Memory::from_text(&text, now, WALL);
        memory.expire(now, seconds(1));
        assert_eq!(memory.addresses(&name(1)), [ip("10.0.0.1")]);
    }

    #[test]
    fn those_gone_longest_are_forgotten_first_and_the_text_stays_short() {
        let now = start();
        let mut memory = Memory::default();
        for index in 0..MOST + 5 {
            let at = now + seconds(index as u64);
            memory.remember(&name(index), &[ip("10.0.0.1")], at);
        }
        assert_eq!(memory.len(), MOST);
        assert!(memory.addresses(&name(4)).is_empty());
        assert!(!memory.addresses(&name(5)).is_empty());
        let many = [ip("2001:db8:1111:2222:3333:4444:5555:6666"); 2 * MOST_ADDRESSES];
        for index in 0..MOST {
            memory.remember(&name(index), &many, now + seconds(10_000 + index as u64));
        }
        let text = memory.to_text(now + seconds(20_000), WALL);
        assert!(text.len() <= LONGEST_TEXT && text.len() > LONGEST_TEXT - 1000);
        let read = Memory::from_text(&text, now, WALL);
        assert!(
            !read.addresses(&name(MOST - 1)).is_empty(),
            "the newest is there"
        );
        assert!(
            read.addresses(&name(0)).is_empty(),
            "the oldest did not fit"
        );
        assert_eq!(read.addresses(&name(MOST - 1)).len(), MOST_ADDRESSES);
    }

    #[test]
    fn garbage_is_left_out() {
        let now = start();
        for text in [
            "",
            "null",
            "[",
            r#"{"released":7}"#,
            r#"{"released":[7,[],["a"],["a","b","c",["10.0.0.1"]],["","b",1,["10.0.0.1"]],["a","b",1,["x",7]],["a","b",1e300,["10.0.0.1"]]]}"#,
        ] {
            assert!(Memory::from_text(text, now, WALL).is_empty(), "{text}");
        }
        let long = format!(
            r#"{{"released":[["a","{}",1,["10.0.0.1"]]]}}"#,
            "b".repeat(254)
        );
        assert!(Memory::from_text(&long, now, WALL).is_empty());
        let good = r#"["a","b",1,["10.0.0.1"]]"#;
        let beside_bad = format!(r#"{{"released":[[],{good}],"more":1}}"#);
        assert_eq!(Memory::from_text(&beside_bad, now, WALL).len(), 1);
        let far_too_long = format!(r#"{{"released":[{good}{}]}}"#, " ".repeat(LONGEST_TEXT));
        assert!(Memory::from_text(&far_too_long, now, WALL).is_empty());
        assert_eq!(
            Memory::from_text(
                &format!(r#"{{"released":[["a","b",{},["10.0.0.1"]]]}}"#, i64::MIN),
                now,
                WALL
            )
            .len(),
            1
        );
    }

    proptest! {
        #[test]
        fn no_text_harms(text in "(\\PC|[\\[\\]{}\",:0-9-]){0,200}") {
            Memory::from_text(&text, start(), WALL);
        }
    }
}
