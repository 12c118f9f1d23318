//! Random wants, answers, delays and strangers against a model of the API server and its watch.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// The plan wants something else of an object.
    Plan(usize, u32),
    /// Somebody else changes an object.
    Stranger(usize),
    /// An object is deleted, or made anew.
    Delete(usize),
    /// The watch shows what stands now, and all that is wanted is said.
    Round,
    /// A request reaches the server; the server does what it says or fails first.
    Arrives(usize, bool),
    /// Its answer comes back, or is lost.
    Answer(usize, bool),
    /// Time passes.
    Pass(u64),
    /// The lease is lost and won.
    StandDown,
    /// A Service is marked as taken over.
    Touch(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_usize, 0..3_u32).prop_map(|(object, content)| Step::Plan(object, content)),
        1 => (0..4_usize).prop_map(Step::Stranger),
        1 => (0..4_usize).prop_map(Step::Delete),
        4 => Just(Step::Round),
        5 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(request, good)| Step::Arrives(request, good)),
        5 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(request, good)| Step::Answer(request, good)),
        2 => (1..4_000_u64).prop_map(Step::Pass),
        1 => Just(Step::StandDown),
        1 => (0..2_usize).prop_map(Step::Touch),
    ]
}

#[derive(Clone, Debug)]
struct Stored {
    version: Version,
    content: u32,
}

struct Request {
    send: Send<Wanted>,
    outcome: Option<Outcome>,
}

struct World {
    desk: Desk,
    stored: BTreeMap<usize, Stored>,
    /// What the watch showed last.
    shown: BTreeMap<usize, Stored>,
    plan: [u32; 4],
    requests: Vec<Request>,
    next_version: u64,
    /// (object, version) of each write that changed an object.
    written: Vec<(usize, Version)>,
}

const NAMES: [&str; 4] = ["s0", "s1", "p0", "p1"];

fn target(object: usize) -> Target {
    if object < 2 { S } else { P }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            desk: Desk::new(),
            stored: BTreeMap::new(),
            shown: BTreeMap::new(),
            plan: [0; 4],
            requests: Vec::new(),
            next_version: 0,
            written: Vec::new(),
        };
        for object in 0..4 {
            world.put(object, None, 0);
        }
        world
    }

    fn put(&mut self, object: usize, uid: Option<String>, content: u32) {
        self.next_version += 1;
        let version = Version {
            uid: uid.unwrap_or_else(|| format!("u{}", self.next_version)),
            resource_version: self.next_version.to_string(),
        };
        self.stored.insert(object, Stored { version, content });
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Plan(object, content) => self.plan[object] = content,
            Step::Stranger(object) => {
                if let Some(Stored { version, content }) = self.stored.get(&object).cloned() {
                    self.put(object, Some(version.uid), content);
                }
            }
            Step::Delete(object) => {
                if self.stored.remove(&object).is_none() {
                    self.put(object, None, 0);
                }
            }
            Step::Round => self.round(),
            Step::Arrives(request, good) => self.arrive(request, good),
            Step::Answer(request, good) => self.answer(request, good),
            Step::Pass(milliseconds) => self.desk.pass(milliseconds),
            Step::StandDown => self.desk.outbox.stand_down(self.desk.now),
            Step::Touch(object) => self.touch(object),
        }
        self.hand_out();
        self.desk.outbox.check(self.requests.len());
    }

    fn round(&mut self) {
        self.shown = self.stored.clone();
        self.desk.outbox.begin_round();
        for (object, Stored { version, content }) in &self.shown {
            let wanted = self.plan[*object];
            if *content != wanted {
                let name = name(NAMES[*object]);
                self.desk.want(target(*object), &name, version, wanted);
            }
        }
        let shown = &self.shown;
        let find = |_, name: &ObjectName| {
            let object = NAMES.iter().position(|other| name.name == *other)?;
            shown.get(&object).map(|stored| stored.version.clone())
        };
        self.desk.outbox.settle(find, self.desk.now);
    }

    fn touch(&mut self, object: usize) {
        if let Some(Stored { version, content }) = self.shown.get(&object).cloned() {
            let content = wanted(&version, content);
            let name = name(NAMES[object]);
            self.desk
                .outbox
                .touch(&name, version, content, self.desk.now);
        }
    }

    fn hand_out(&mut self) {
        while let Some(send) = self.desk.outbox.next(self.desk.now) {
            let twice = self
                .requests
                .iter()
                .any(|request| request.send.key == send.key);
            assert!(!twice, "two requests for {} at once", send.key);
            let object = object(&send.key);
            if matches!(send.task, Task::Write(_)) {
                assert!(!self.desk.outbox.is_taking_over(), "marks come first");
                let shown = self.shown.get(&object).map(|stored| &stored.version);
                assert_eq!(
                    shown,
                    Some(&send.base),
                    "only what the watch shows is written onto"
                );
                let known_stale = self.written.contains(&(object, send.base.clone()));
                assert!(!known_stale, "written onto what we know we replaced");
            }
            self.requests.push(Request {
                send,
                outcome: None,
            });
        }
    }

    fn arrive(&mut self, index: usize, good: bool) {
        let Some(request) = self.requests.get_mut(index) else {
            return;
        };
        if request.outcome.is_some() {
            return;
        }
        if !good {
            request.outcome = Some(Outcome::Unknown);
            return;
        }
        let object = object(&request.send.key);
        let stored = self.stored.get(&object).cloned();
        request.outcome = Some(match (stored, &request.send.task) {
            (None, _) => Outcome::Gone,
            (Some(stored), Task::Look(_)) => Outcome::Done(stored.version.resource_version),
            (Some(stored), Task::Touch(_)) if stored.version.uid == request.send.base.uid => {
                self.next_version += 1;
                let resource_version = self.next_version.to_string();
                let version = Version {
                    resource_version: resource_version.clone(),
                    ..stored.version
                };
                self.stored.insert(object, Stored { version, ..stored });
                Outcome::Done(resource_version)
            }
            (Some(stored), _) if stored.version != request.send.base => Outcome::Conflict,
            (Some(stored), Task::Write(content) | Task::Touch(content)) => {
                assert_ne!(stored.content, content.number, "written twice");
                let content = content.number;
                self.next_version += 1;
                let resource_version = self.next_version.to_string();
                let uid = stored.version.uid;
                let version = Version {
                    uid,
                    resource_version: resource_version.clone(),
                };
                self.stored.insert(object, Stored { version, content });
                Outcome::Done(resource_version)
            }
        });
    }

    fn answer(&mut self, index: usize, good: bool) {
        if self
            .requests
            .get(index)
            .is_none_or(|request| request.outcome.is_none())
        {
            return;
        }
        let Request { send, outcome } = self.requests.remove(index);
        let outcome = outcome.filter(|_| good).unwrap_or(Outcome::Unknown);
        if matches!(outcome, Outcome::Done(_)) && matches!(send.task, Task::Write(_)) {
            self.written.push((object(&send.key), send.base.clone()));
        }
        self.desk
            .outbox
            .answered(&send.key, &outcome, self.desk.now);
    }

    /// From here on all goes well: in the end everything must be as planned.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.play(&Step::Round);
            while !self.requests.is_empty() {
                self.play(&Step::Arrives(0, true));
                self.play(&Step::Answer(0, true));
            }
            let now = self.desk.now;
            self.desk.now = self
                .desk
                .outbox
                .next_deadline(now)
                .unwrap_or_else(|| now + ms(1));
        }
        for (object, stored) in &self.stored {
            assert_eq!(
                stored.content, self.plan[*object],
                "{} is lost",
                NAMES[*object]
            );
        }
        assert!(self.desk.is_empty());
    }
}

fn object(key: &Key) -> usize {
    NAMES
        .iter()
        .position(|name| key.name.name == *name)
        .unwrap()
}

impl<P: PartialEq> Outbox<P> {
    /// Every entry stands where it should, and nowhere else.
    fn check(&self, under_way: usize) {
        assert_eq!(self.under_way, under_way);
        let entries = self.services.values().chain(self.pools.values());
        let placed = entries
            .clone()
            .filter(|entry| entry.place.is_some())
            .count();
        let lined_up: usize = self.lines.iter().map(BTreeMap::len).sum();
        assert_eq!(placed, lined_up + self.timers.len());
        assert_eq!(
            entries.filter(|entry| entry.is_to_be_marked()).count(),
            self.touches
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_written_twice_or_onto_what_is_known_to_be_outdated(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.play(step);
        }
        world.settle();
    }
}
