//! Events on Services: bounded, slow, and nobody's loss when they are lost. Pure but for nothing.
//!
//! They are objects of `events.k8s.io/v1`: the current form, in which the API server itself fills in what the older one of
//! the core group asks of clients, and `kubectl describe` and `kubectl get events` show them all the same.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::cluster::ObjectName;
use crate::plan::events::Happening;
use crate::plan::status::FIELD_MANAGER;

/// So many wait at most; then the oldest go.
const MOST_WAITING: usize = 1_000;
/// So many may go at once after a quiet time.
const BURST: u32 = 25;
/// One for each such interval after that.
const INTERVAL: Duration = Duration::from_millis(100);
/// What was said is not said again for that long.
const REPEAT: Duration = Duration::from_secs(600);
/// So much of what was said is remembered at most.
const MOST_TOLD: usize = 10_000;
/// Requests at once.
const MOST_UNDER_WAY: usize = 2;
/// How long we are silent where we may not make Events.
const OFF: Duration = Duration::from_secs(300);
/// The API's limit for the text.
const MOST_TEXT: usize = 1_000;

/// An Event to be sent.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) service: Arc<ObjectName>,
    pub(super) uid: Arc<str>,
    pub(super) time: Timestamp,
    pub(super) happening: Happening,
}

impl Note {
    /// The body of the POST.
    pub(super) fn body(&self, instance: &str) -> Vec<u8> {
        let Happening {
            reason,
            action,
            is_warning,
            note,
        } = &self.happening;
        let note: String = note.chars().take(MOST_TEXT).collect();
        let ObjectName { namespace, name } = &*self.service;
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": format!("{name}-"), "namespace": namespace},
            "eventTime": format!("{:.6}", self.time),
            "reportingController": FIELD_MANAGER,
            "reportingInstance": instance,
            "action": action,
            "reason": reason,
            "type": if *is_warning { "Warning" } else { "Normal" },
            "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": name, "uid": &*self.uid},
            "note": note,
        });
        event.to_string().into_bytes()
    }
}

/// What came of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    Taken,
    /// We may not make Events.
    Forbidden,
    Lost,
}

/// The Events that wait.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<Note>,
    /// Digests of what was told. Two that are the same by chance cost one Event.
    told: HashSet<u64>,
    told_at: VecDeque<(Instant, u64)>,
    /// When the last one would have gone, had each kept its interval.
    paced: Option<Instant>,
    off_until: Option<Instant>,
    under_way: usize,
    pub(super) sent: u64,
    pub(super) dropped: u64,
    pub(super) repeated: u64,
}

impl Events {
    /// Adds an Event, unless it was told within ten minutes.
    pub(super) fn push(&mut self, note: Note, now: Instant) {
        while let Some((at, _)) = self.told_at.front()
            && (*at + REPEAT <= now || self.told_at.len() >= MOST_TOLD)
        {
            if let Some((_, told)) = self.told_at.pop_front() {
                self.told.remove(&told);
            }
        }
        let said = digest(&note);
        if !self.told.insert(said) {
            self.repeated += 1;
            return;
        }
        self.told_at.push_back((now, said));
        if self.is_off(now) {
            self.dropped += 1;
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(note);
    }

    /// The next Event to send, if one may be sent now; it is under way until it is [`answered`](Self::answered).
    pub(super) fn next(&mut self, now: Instant) -> Option<Note> {
        if self.under_way >= MOST_UNDER_WAY || self.opens_at(now).is_some() {
            return None;
        }
        let note = self.waiting.pop_front()?;
        if self.waiting.is_empty() {
            self.waiting.shrink_to_fit();
        }
        self.paced = Some(self.paced.map_or(now, |paced| paced.max(now)) + INTERVAL);
        self.under_way += 1;
        Some(note)
    }

    /// When [`next`](Self::next) should be asked again.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty() && self.under_way < MOST_UNDER_WAY)
            .then(|| self.opens_at(now).unwrap_or(now))
    }

    /// Whether it is the first refusal after a while, worth a line in the log.
    pub(super) fn answered(&mut self, reception: Reception, now: Instant) -> bool {
        self.under_way -= 1;
        match reception {
            Reception::Taken => self.sent += 1,
            Reception::Lost => self.dropped += 1,
            Reception::Forbidden => {
                self.dropped += 1 + self.waiting.len() as u64;
                self.waiting.clear();
                let was_off = self.is_off(now);
                self.off_until = Some(now + OFF);
                return !was_off;
            }
        }
        false
    }

    /// Forgets what waits: somebody else tells from now on.
    pub(super) fn clear(&mut self) {
        self.dropped += self.waiting.len() as u64;
        self.waiting.clear();
    }

    fn is_off(&self, now: Instant) -> bool {
        self.off_until.is_some_and(|until| now < until)
    }

    fn opens_at(&self, now: Instant) -> Option<Instant> {
        let paced = self
            .paced
            .and_then(|paced| paced.checked_sub(INTERVAL * (BURST - 1)));
        paced.filter(|opens| *opens > now)
    }
}

fn digest(note: &Note) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&note.uid, &note.happening).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the start of a virtual time")]
mod tests {
    use super::*;

    fn note(uid: &str, text: &str) -> Note {
        Note {
            service: Arc::new(ObjectName {
                namespace: "a".into(),
                name: "b".into(),
            }),
            uid: uid.into(),
            time: Timestamp::UNIX_EPOCH,
            happening: Happening {
                reason: "AddressAllocated",
                action: "Allocate",
                is_warning: false,
                note: text.into(),
            },
        }
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_ten_a_second() {
        let start = Instant::now();
        let mut events = Events::default();
        for number in 0..100 {
            events.push(note(&number.to_string(), "x"), start);
        }
        let take = |events: &mut Events, now| {
            let mut count = 0;
            while events.next(now).is_some() {
                events.answered(Reception::Taken, now);
                count += 1;
            }
            count
        };
        assert_eq!(take(&mut events, start), 25);
        assert_eq!(events.next_deadline(start), Some(start + INTERVAL));
        assert_eq!(take(&mut events, start + INTERVAL), 1);
        assert_eq!(take(&mut events, start + Duration::from_secs(2)), 19);
        assert_eq!(events.sent, 45);
    }

    #[test]
    fn too_many_cost_the_oldest() {
        let start = Instant::now();
        let mut events = Events::default();
        for number in 0..1_003 {
            events.push(note(&number.to_string(), "x"), start);
        }
        assert_eq!(events.dropped, 3);
        assert_eq!(&*events.next(start).unwrap().uid, "3");
    }

    #[test]
    fn the_same_is_told_again_only_after_ten_minutes() {
        let start = Instant::now();
        let mut events = Events::default();
        for (uid, text, after) in [
            ("1", "x", 0),
            ("1", "x", 599),
            ("1", "y", 599),
            ("2", "x", 599),
            ("1", "x", 600),
        ] {
            events.push(note(uid, text), start + Duration::from_secs(after));
        }
        assert_eq!((events.waiting.len(), events.repeated), (4, 1));
    }

    #[test]
    fn who_may_not_make_events_is_silent_for_a_while_and_says_so_once() {
        let start = Instant::now();
        let mut events = Events::default();
        for number in 0..5 {
            events.push(note(&number.to_string(), "x"), start);
        }
        events.next(start).unwrap();
        events.next(start).unwrap();
        assert!(events.next(start).is_none(), "two at once");
        assert!(events.answered(Reception::Forbidden, start));
        assert!(!events.answered(Reception::Forbidden, start));
        events.push(note("9", "x"), start);
        assert_eq!((events.dropped, events.next_deadline(start)), (6, None));
        events.push(note("10", "x"), start + OFF);
        assert!(events.next(start + OFF).is_some());
    }

    #[test]
    fn the_time_has_six_digits() {
        let body: serde_json::Value = serde_json::from_slice(&note("1", "x").body("k3s1")).unwrap();
        assert_eq!(body["eventTime"], "1970-01-01T00:00:00.000000Z");
    }
}
