#![expect(clippy::disallowed_methods, reason = "the start of a virtual time")]

use super::*;

mod random;

const S: Target = Target::Service;
const P: Target = Target::Pool;

fn name(text: &str) -> ObjectName {
    ObjectName {
        namespace: "a".into(),
        name: text.into(),
    }
}

fn version(resource_version: &str) -> Version {
    Version {
        uid: "u".into(),
        resource_version: resource_version.into(),
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What is wanted is a number, of a version of an object.
#[derive(Debug)]
struct Wanted {
    version: Version,
    number: u32,
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

fn wanted(version: &Version, number: u32) -> Wanted {
    Wanted {
        version: version.clone(),
        number,
    }
}

/// An outbox and its time.
struct Desk {
    outbox: Outbox<Wanted>,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(4, 7),
            now: Instant::now(),
        }
    }

    /// The watch shows these objects, and this is wanted of them; of the others nothing.
    fn round(&mut self, wants: &[(Target, &str, &str, Option<u32>)]) {
        self.outbox.begin_round();
        for (target, object, seen, content) in wants {
            if let Some(number) = *content {
                self.want(*target, &name(object), &version(seen), number);
            }
        }
        let find = |target, name: &ObjectName| {
            let object = wants
                .iter()
                .find(|(t, object, ..)| *t == target && name.name == *object);
            object.map(|(_, _, seen, _)| version(seen))
        };
        self.outbox.settle(find, self.now);
    }

    fn want(&mut self, target: Target, name: &ObjectName, version: &Version, number: u32) {
        let same_object = |content: &Wanted| content.version == *version;
        let same = |content: &Wanted| content.number == number;
        if !self.outbox.is_settled(target, name, same_object, same) {
            let content = wanted(version, number);
            self.outbox
                .want(target, name, version.clone(), content, self.now);
        }
    }

    fn touch(&mut self, object: &str) {
        let version = version("1");
        let content = wanted(&version, 0);
        self.outbox.touch(&name(object), version, content, self.now);
    }

    /// What is handed out now, as `write a@1=5`, `touch a`, `look a`.
    fn sent(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(send) = self.outbox.next(self.now) {
            let object = &send.key.name.name;
            sent.push(match send.task {
                Task::Touch(_) => format!("touch {object}"),
                Task::Write(content) => {
                    format!(
                        "write {object}@{}={}",
                        send.base.resource_version, content.number
                    )
                }
                Task::Look(_) => format!("look {object}"),
            });
        }
        sent
    }

    fn answer(&mut self, target: Target, object: &str, outcome: Outcome) {
        let key = Key {
            target,
            name: Arc::new(name(object)),
        };
        self.outbox.answered(&key, &outcome, self.now);
    }

    fn done(&mut self, object: &str, version: &str) {
        self.answer(S, object, Outcome::Done(version.into()));
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += ms(milliseconds);
    }

    fn is_empty(&self) -> bool {
        self.outbox.services.is_empty() && self.outbox.pools.is_empty()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_was_written_is_not_written_again_while_the_watch_lags() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    assert_eq!(desk.sent(), ["write x@1=5"]);
    desk.round(&[(S, "x", "1", Some(5))]);
    assert_eq!(desk.sent(), NOTHING, "one at a time");
    desk.done("x", "2");
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.round(&[(S, "x", "1", Some(6))]);
    desk.pass(60_000);
    assert_eq!(desk.sent(), NOTHING);
    desk.round(&[(S, "x", "2", None)]);
    assert!(desk.is_empty());
}

#[test]
fn what_is_wanted_after_a_write_goes_out_once_the_watch_shows_it() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.round(&[(S, "x", "1", Some(6))]);
    desk.done("x", "2");
    assert_eq!(desk.sent(), NOTHING);
    desk.round(&[(S, "x", "2", Some(6))]);
    assert_eq!(desk.sent(), ["write x@2=6"]);
}

#[test]
fn a_write_that_the_watch_shows_before_its_answer_is_over_with_it() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.round(&[(S, "x", "2", None)]);
    desk.done("x", "2");
    assert!(desk.is_empty());
}

#[test]
fn a_conflict_waits_for_the_watch() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.answer(S, "x", Outcome::Conflict);
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.pass(1_999);
    assert_eq!(desk.sent(), NOTHING);
    desk.round(&[(S, "x", "3", Some(5))]);
    assert_eq!(desk.sent(), ["write x@3=5"]);
}

#[test]
fn a_conflict_whose_cause_the_watch_shows_already_costs_no_time() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.round(&[(S, "x", "2", Some(5))]);
    desk.answer(S, "x", Outcome::Conflict);
    assert_eq!(desk.sent(), ["write x@2=5"]);
}

#[test]
fn a_watch_that_stays_silent_after_a_conflict_makes_us_look() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.answer(S, "x", Outcome::Conflict);
    assert_eq!(
        desk.outbox.next_deadline(desk.now),
        Some(desk.now + FIRST_LOOK)
    );
    desk.pass(2_000);
    assert_eq!(desk.sent(), ["look x"]);
    desk.done("x", "3");
    desk.pass(3_999);
    assert_eq!(
        desk.sent(),
        NOTHING,
        "it is newer, so the watch will show it"
    );
    desk.pass(1);
    assert_eq!(desk.sent(), ["look x"]);
    desk.done("x", "1");
    assert_eq!(desk.sent(), ["write x@1=5"], "it was no conflict after all");
}

#[test]
fn an_unknown_result_is_tried_again_with_the_same_precondition() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(desk.sent(), ["write x@1=5"]);
        desk.answer(S, "x", Outcome::Unknown);
        let deadline = desk.outbox.next_deadline(desk.now).unwrap();
        waits.push((deadline - desk.now).as_millis());
        assert_eq!(desk.sent(), NOTHING);
        desk.now = deadline;
    }
    assert!((37..=50).contains(&waits[0]), "{waits:?}");
    assert!(
        (7_500..=10_000).contains(waits.last().unwrap()),
        "{waits:?}"
    );
    desk.sent();
    desk.answer(S, "x", Outcome::Conflict);
    desk.round(&[(S, "x", "2", None)]);
    assert!(desk.is_empty(), "it had happened");
}

#[test]
fn what_the_server_refuses_waits_for_another_object_or_another_plan() {
    let mut desk = Desk::new();
    for (seen, content) in [("1", 5), ("1", 6), ("2", 6)] {
        desk.round(&[(S, "x", seen, Some(content))]);
        assert_eq!(desk.sent(), [format!("write x@{seen}={content}")]);
        desk.answer(S, "x", Outcome::Refused);
        desk.round(&[(S, "x", seen, Some(content))]);
        desk.pass(100_000);
        assert_eq!(desk.sent(), NOTHING);
    }
}

#[test]
fn a_write_that_changes_nothing_is_not_repeated() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.done("x", "1");
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.pass(100_000);
    assert_eq!(desk.sent(), NOTHING);
    desk.round(&[(S, "x", "1", Some(6))]);
    assert_eq!(desk.sent(), ["write x@1=6"]);
}

#[test]
fn a_deleted_object_drops_what_was_queued() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5)), (S, "y", "1", Some(5))]);
    desk.sent();
    desk.answer(S, "x", Outcome::Unknown);
    desk.round(&[]);
    desk.answer(S, "y", Outcome::Unknown);
    assert!(desk.is_empty());
    assert_eq!(desk.outbox.next_deadline(desk.now), None);
}

#[test]
fn an_object_that_the_server_does_not_know_is_not_written_again_until_it_is_shown_anew() {
    let mut desk = Desk::new();
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.sent();
    desk.answer(S, "x", Outcome::Gone);
    desk.round(&[(S, "x", "1", Some(5))]);
    desk.pass(9_999);
    assert_eq!(desk.sent(), NOTHING);
    desk.pass(1);
    assert_eq!(desk.sent(), ["look x"]);
    desk.answer(S, "x", Outcome::Gone);
    desk.round(&[(S, "x", "9", Some(5))]);
    assert_eq!(desk.sent(), ["write x@9=5"]);
}

#[test]
fn services_come_before_pools_and_a_pool_does_not_wait_for_ever() {
    let mut desk = Desk::new();
    desk.outbox = Outbox::new(1, 7);
    desk.round(&[
        (P, "p", "1", Some(1)),
        (S, "x", "1", Some(5)),
        (S, "y", "1", Some(5)),
    ]);
    assert_eq!(desk.sent(), ["write x@1=5"]);
    desk.done("x", "2");
    assert_eq!(desk.sent(), ["write y@1=5"]);
    desk.pass(5_000);
    desk.round(&[
        (P, "p", "1", Some(1)),
        (S, "x", "2", Some(7)),
        (S, "y", "1", Some(5)),
    ]);
    desk.done("y", "2");
    assert_eq!(desk.sent(), ["write p@1=1"]);
}

#[test]
fn a_pool_is_written_at_once_and_then_once_a_second() {
    let mut desk = Desk::new();
    desk.round(&[(P, "p", "1", Some(1))]);
    assert_eq!(desk.sent(), ["write p@1=1"]);
    desk.answer(P, "p", Outcome::Done("2".into()));
    for (seen, content) in [("2", 2), ("2", 3)] {
        desk.pass(100);
        desk.round(&[(P, "p", seen, Some(content))]);
        assert_eq!(desk.sent(), NOTHING);
    }
    desk.pass(799);
    assert_eq!(desk.sent(), NOTHING);
    assert_eq!(desk.outbox.next_deadline(desk.now), Some(desk.now + ms(1)));
    desk.pass(1);
    assert_eq!(desk.sent(), ["write p@2=3"]);
    desk.answer(P, "p", Outcome::Done("3".into()));
    desk.round(&[(P, "p", "3", None)]);
    desk.pass(1_000);
    assert_eq!(desk.sent(), NOTHING);
    assert!(desk.is_empty());
}

#[test]
fn a_pool_that_is_falsified_again_and_again_is_put_right_once_a_second() {
    let mut desk = Desk::new();
    let start = desk.now;
    let mut writes = 0;
    let mut seen = 1;
    while desk.now < start + Duration::from_secs(10) {
        desk.round(&[(P, "p", &seen.to_string(), Some(1))]);
        writes += desk.sent().len();
        seen += 1;
        desk.answer(P, "p", Outcome::Done(seen.to_string()));
        seen += 1;
        desk.pass(10);
    }
    assert!((9..=10).contains(&writes), "{writes}");
}

#[test]
fn who_waited_longest_comes_first_and_failures_go_to_the_end() {
    let mut desk = Desk::new();
    desk.outbox = Outbox::new(1, 7);
    desk.round(&[(S, "x", "1", Some(5)), (S, "y", "1", Some(5))]);
    assert_eq!(desk.sent(), ["write x@1=5"]);
    desk.answer(S, "x", Outcome::Unknown);
    desk.pass(1_000);
    assert_eq!(desk.sent(), ["write y@1=5"]);
}

#[test]
fn objects_that_fail_take_at_most_half_of_the_places() {
    let mut desk = Desk::new();
    let names: Vec<String> = (0..6).map(|number| format!("bad{number}")).collect();
    let mut wants: Vec<_> = names
        .iter()
        .map(|name| (S, name.as_str(), "1", Some(5)))
        .collect();
    desk.round(&wants);
    for _ in 0..2 {
        for text in desk.sent() {
            let object = text.split([' ', '@']).nth(1).unwrap().to_owned();
            desk.answer(S, &object, Outcome::Unknown);
        }
    }
    wants.push((S, "good", "1", Some(5)));
    desk.pass(20_000);
    desk.round(&wants);
    let sent = desk.sent();
    assert_eq!(
        sent.iter().filter(|text| text.contains("bad")).count(),
        2,
        "{sent:?}"
    );
    assert!(sent.contains(&"write good@1=5".to_owned()));
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks_and_then_gets_less() {
    let mut desk = Desk::new();
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    let wants: Vec<_> = names
        .iter()
        .map(|name| (S, name.as_str(), "1", Some(5)))
        .collect();
    desk.round(&wants);
    assert_eq!(desk.sent().len(), 4);
    desk.answer(S, "s0", Outcome::Busy(Duration::from_secs(3)));
    for object in ["s1", "s2", "s3"] {
        desk.answer(S, object, Outcome::Unknown);
    }
    desk.pass(2_999);
    assert_eq!(desk.sent(), NOTHING);
    desk.pass(1);
    assert_eq!(desk.sent().len(), 2, "half as many at once");
}

#[test]
fn a_server_that_cannot_be_reached_is_tried_by_one_at_a_time() {
    let mut desk = Desk::new();
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    let wants: Vec<_> = names
        .iter()
        .map(|name| (S, name.as_str(), "1", Some(5)))
        .collect();
    desk.round(&wants);
    for text in desk.sent() {
        let object = text.split([' ', '@']).nth(1).unwrap().to_owned();
        desk.answer(S, &object, Outcome::Unreachable);
    }
    for _ in 0..10 {
        let deadline = desk.outbox.next_deadline(desk.now).unwrap();
        assert!(deadline - desk.now <= Duration::from_secs(2));
        desk.now = deadline;
        let sent = desk.sent();
        assert_eq!(sent.len(), 1);
        let object = sent[0].split([' ', '@']).nth(1).unwrap().to_owned();
        desk.answer(S, &object, Outcome::Unreachable);
    }
    desk.now = desk.outbox.next_deadline(desk.now).unwrap();
    let mut written = 0;
    loop {
        let sent = desk.sent();
        if sent.is_empty() {
            break;
        }
        for text in sent {
            let object = text.split([' ', '@']).nth(1).unwrap().to_owned();
            desk.done(&object, "2");
            written += 1;
        }
    }
    assert_eq!(written, 8, "and once it answers all go out");
}

#[test]
fn a_namespace_that_is_closed_to_us_harms_no_other() {
    let mut desk = Desk::new();
    desk.outbox = Outbox::new(1, 7);
    let now = desk.now;
    let other = ObjectName {
        namespace: "b".into(),
        name: "y".into(),
    };
    desk.outbox.begin_round();
    desk.want(S, &name("x"), &version("1"), 5);
    desk.want(S, &name("z"), &version("1"), 5);
    assert_eq!(desk.sent(), ["write x@1=5"]);
    desk.answer(S, "x", Outcome::Denied);
    desk.want(S, &other, &version("1"), 5);
    assert_eq!(desk.sent(), ["write y@1=5"]);
    let key = Key {
        target: S,
        name: Arc::new(other),
    };
    desk.outbox.answered(&key, &Outcome::Done("2".into()), now);
    assert_eq!(desk.sent(), NOTHING);
    desk.now = desk.outbox.next_deadline(now).unwrap();
    assert_eq!(desk.sent().len(), 1, "one tries");
}

#[test]
fn marks_of_a_takeover_come_alone_and_first() {
    let mut desk = Desk::new();

    desk.touch("x");
    desk.touch("y");
    desk.round(&[
        (S, "x", "1", Some(5)),
        (S, "y", "1", None),
        (S, "z", "1", Some(5)),
    ]);
    assert_eq!(desk.sent(), ["touch x", "touch y"]);
    desk.done("x", "2");
    desk.answer(S, "y", Outcome::Unknown);
    assert_eq!(desk.sent(), NOTHING);
    assert!(desk.outbox.is_taking_over());
    desk.pass(50);
    assert_eq!(desk.sent(), ["touch y"]);
    desk.done("y", "3");
    desk.round(&[
        (S, "x", "2", Some(5)),
        (S, "y", "3", Some(6)),
        (S, "z", "1", Some(5)),
    ]);
    assert!(!desk.outbox.is_taking_over());
    let sent = desk.sent();
    assert_eq!(sent, ["write z@1=5", "write x@2=5", "write y@3=6"]);
}

#[test]
fn nothing_is_given_before_the_watch_shows_what_came_before_the_marks() {
    let mut desk = Desk::new();
    desk.touch("x");
    desk.touch("y");
    assert_eq!(desk.sent(), ["touch x", "touch y"]);
    desk.done("x", "2");
    // In version 3 a write of the former leader's gave y the address that the plan has for x.
    desk.done("y", "4");
    desk.round(&[(S, "x", "2", Some(5)), (S, "y", "1", Some(6))]);
    assert_eq!(desk.sent(), NOTHING, "the watch does not show y's mark");
    desk.round(&[(S, "x", "2", Some(5)), (S, "y", "3", None)]);
    assert_eq!(desk.sent(), NOTHING, "nor does it now");
    assert!(desk.outbox.is_taking_over());
    desk.round(&[(S, "x", "2", Some(7)), (S, "y", "4", None)]);
    assert!(!desk.outbox.is_taking_over());
    assert_eq!(desk.sent(), ["write x@2=7"]);
}

#[test]
fn a_mark_whose_object_goes_before_it_is_seen_holds_nobody_up() {
    let mut desk = Desk::new();
    desk.touch("x");
    desk.touch("y");
    desk.sent();
    desk.done("x", "2");
    desk.done("y", "3");
    desk.outbox.begin_round();
    let other = |_: Target, name: &ObjectName| {
        (name.name == "y").then(|| Version {
            uid: "other".into(),
            resource_version: "2".into(),
        })
    };
    desk.outbox.settle(other, desk.now);
    assert!(!desk.outbox.is_taking_over());
    assert!(desk.is_empty());
}

#[test]
fn a_mark_that_was_set_and_seen_before_its_answer_was_lost_holds_nothing_up() {
    let mut desk = Desk::new();
    desk.touch("x");
    assert_eq!(desk.sent(), ["touch x"]);
    desk.answer(S, "x", Outcome::Unknown);
    desk.round(&[(S, "x", "2", Some(5))]);
    desk.pass(50);
    assert_eq!(desk.sent(), ["touch x"]);
    // It says the same again, so nothing changes.
    desk.done("x", "2");
    assert!(!desk.outbox.is_taking_over());
    assert_eq!(desk.sent(), ["write x@2=5"]);
}

#[test]
fn a_mark_of_an_earlier_term_is_none_of_this_one() {
    let mut desk = Desk::new();
    desk.touch("x");
    assert_eq!(desk.sent(), ["touch x"]);
    desk.outbox.stand_down(desk.now);
    desk.touch("x");
    desk.done("x", "2");
    assert!(desk.outbox.is_taking_over());
    assert_eq!(desk.sent(), ["touch x"]);
}

#[test]
fn a_mark_that_cannot_be_set_is_given_up_once_nothing_can_be_in_the_air() {
    let mut desk = Desk::new();
    let start = desk.now;
    desk.touch("x");
    desk.round(&[(S, "x", "1", Some(5)), (S, "z", "1", Some(5))]);
    while desk.now < start + MARK_PATIENCE - LONGEST_WAIT {
        assert_eq!(desk.sent(), ["touch x"]);
        desk.answer(S, "x", Outcome::Unknown);
        desk.pass(LONGEST_WAIT.as_millis() as u64);
    }
    assert!(desk.outbox.is_taking_over());
    desk.pass(LONGEST_WAIT.as_millis() as u64);
    assert_eq!(desk.sent(), ["touch x"]);
    desk.answer(S, "x", Outcome::Unknown);
    assert!(!desk.outbox.is_taking_over());
    assert!(desk.sent().contains(&"write z@1=5".to_owned()));
}

#[test]
fn a_mark_on_an_object_that_is_gone_holds_nobody_up() {
    let mut desk = Desk::new();

    for object in ["x", "y", "z"] {
        desk.touch(object);
    }
    assert_eq!(desk.sent().len(), 3);
    desk.answer(S, "x", Outcome::Gone);
    desk.answer(S, "y", Outcome::Refused);
    desk.round(&[(S, "x", "1", None), (S, "y", "1", None)]);
    assert!(!desk.outbox.is_taking_over());
    desk.answer(S, "z", Outcome::Unknown);
    assert!(!desk.outbox.is_taking_over());
}

#[test]
fn standing_down_forgets_what_was_wanted_and_not_what_was_done() {
    let mut desk = Desk::new();
    let now = desk.now;
    desk.touch("t");
    desk.outbox.stand_down(now);
    desk.round(&[(S, "x", "1", Some(5)), (S, "y", "1", Some(5))]);
    assert_eq!(desk.sent().len(), 2);
    desk.done("x", "2");
    desk.outbox.stand_down(now);
    desk.answer(S, "y", Outcome::Unknown);
    desk.pass(60_000);
    assert_eq!(desk.sent(), NOTHING);
    desk.round(&[(S, "x", "1", Some(5)), (S, "y", "1", Some(5))]);
    assert_eq!(desk.sent(), ["write y@1=5"]);
}
