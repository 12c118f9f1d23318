//! What waits to be written, and when which of it may be sent. Pure: no IO, no clock, no randomness but a seed.
//!
//! One entry for each object about which something is to be done or to be remembered; an object that is as it should be has
//! none. At most one request for each object is under way. A write carries the version of the object it was made for, so
//! what is known to be outdated is never sent:
//!
//! | state of an entry | ends when |
//! |---|---|
//! | ready | it is handed out by [`Outbox::next`] |
//! | under way | [`Outbox::answered`] is called for it |
//! | waiting | its time has come (a failure: 50 ms, doubling up to 10 s) |
//! | written | the watch shows any other version than the one that was written onto |
//! | outdated (the server said so) | the same; a look at the object tells when that takes long |
//! | refused (the server will not have this content) | the object or what is wanted changes |
//!
//! Order: marks of a takeover alone until all of them are answered and the watch shows them; then looks, Services, pools. Among Services, and among
//! pools, who has waited longest comes first; what failed before gets in line at the end, and at most half of the places.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::ObjectName;

use super::pace::{Jitter, Pace};

/// At most that often is a pool's status written: cilium.md 1.10.
pub(super) const POOL_INTERVAL: Duration = Duration::from_secs(1);
/// The first wait after a failure; it doubles up to [`LONGEST_WAIT`].
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait after failures.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long the watch may take to show what a conflict was about before we look ourselves.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The same where the server said that the object is gone.
const FIRST_LOOK_FOR_GONE: Duration = Duration::from_secs(10);
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// A mark that could not be set for that long is given up: an API server ends every request within a minute, so by then
/// nothing that a former leader sent is under way.
const MARK_PATIENCE: Duration = Duration::from_secs(75);
/// A pool that has waited that long is no longer behind all Services.
const POOL_PATIENCE: Duration = Duration::from_secs(5);

/// What has a status that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    Service,
    Pool,
}

/// An object, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) target: Target,
    pub(super) name: Arc<ObjectName>,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.target {
            Target::Service => "Service",
            Target::Pool => "CiliumLoadBalancerIPPool",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// One version of one incarnation of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) uid: String,
    pub(super) resource_version: String,
}

impl Version {
    /// Whether this version is at least as new as another one, as far as they can be compared.
    fn is_not_before(&self, other: &str) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        match (number(&self.resource_version), number(other)) {
            (Some(ours), Some(theirs)) => ours >= theirs,
            _ => true,
        }
    }
}

/// What is to be done with an object.
#[derive(Debug)]
pub(super) enum Task<P> {
    /// Mark it as taken over, whatever version it has by now.
    Touch(Arc<P>),
    /// Write its status, provided it still has this version.
    Write(Arc<P>),
    /// See which version it has; with what waits for the answer.
    Look(Arc<P>),
}

/// One request to be sent now.
#[derive(Debug)]
pub(super) struct Send<P> {
    pub(super) key: Key,
    /// The version that the watch showed when this was wanted.
    pub(super) base: Version,
    pub(super) task: Task<P>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done; a look found the object. Its version by now.
    Done(String),
    /// The object has another version by now, or another one has its name.
    Conflict,
    /// There is no such object.
    Gone,
    /// The server will not have this content, ever.
    Refused,
    /// The server asks to slow down.
    Busy(Duration),
    /// Nobody knows whether it was done.
    Unknown,
    /// It reached nobody, so it was not done.
    Unreachable,
    /// The server does not know us (401).
    Unauthenticated,
    /// We may not do this here (403 of the authorizer).
    Denied,
}

/// The entries, and how fast they may go.
#[derive(Debug)]
pub(super) struct Outbox<P> {
    services: HashMap<Arc<ObjectName>, Entry<P>>,
    pools: HashMap<Arc<ObjectName>, Entry<P>>,
    /// Ready entries by [`Line`], those waiting longest first, with the moment they got in line.
    lines: [BTreeMap<u64, (Key, Instant)>; LINES],
    timers: BTreeMap<(Instant, u64), Key>,
    next_number: u64,
    round: u64,
    pace: Pace,
    jitter: Jitter,
    under_way: usize,
    retries_under_way: usize,
    /// Objects whose mark is wanted, or set and not seen yet. Nothing else is sent before there are none: what a former
    /// leader wrote just before the mark is known only by then.
    touches: usize,
    /// When the first of these marks was wanted.
    touches_since: Option<Instant>,
}

#[derive(Debug)]
struct Entry<P> {
    /// What the watch showed last.
    seen: Version,
    /// What is to be written onto `seen`.
    wanted: Option<Arc<P>>,
    /// The mark that comes before.
    touch: Option<Arc<P>>,
    /// The version in which the mark stands, which the watch has yet to show.
    marked: Option<String>,
    state: State<P>,
    /// Failures in a row.
    failures: u32,
    /// Pools: not to be written earlier.
    not_before: Option<Instant>,
    place: Option<Place>,
    round: u64,
}

#[derive(Debug)]
enum State<P> {
    Ready,
    UnderWay {
        base: Version,
        what: What,
        is_retry: bool,
        content: Option<Arc<P>>,
        checks: u32,
    },
    Waiting {
        until: Instant,
    },
    Written {
        base: Version,
        content: Option<Arc<P>>,
    },
    Outdated {
        base: Version,
        look_at: Instant,
        checks: u32,
    },
    Refused {
        base: Version,
        content: Arc<P>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Touch,
    Write,
    Look,
}

/// Where an entry stands; the number is its place in line or tells timers of the same moment apart.
#[derive(Clone, Copy, Debug)]
enum Place {
    Line(Line, u64),
    Timer(Instant, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Touches,
    Looks,
    Services,
    ServicesAgain,
    Pools,
    PoolsAgain,
}
const LINES: usize = 6;

impl<P: PartialEq> Outbox<P> {
    /// `limit`: requests at once; `seed`: of the jitter of waits.
    pub(super) fn new(limit: usize, seed: u64) -> Self {
        Self {
            services: HashMap::new(),
            pools: HashMap::new(),
            lines: Default::default(),
            timers: BTreeMap::new(),
            next_number: 0,
            round: 0,
            pace: Pace::new(limit),
            jitter: Jitter::new(seed),
            under_way: 0,
            retries_under_way: 0,
            touches: 0,
            touches_since: None,
        }
    }

    /// Begins to say anew all that is wanted; [`settle`](Self::settle) ends it.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Whether the very same is wanted already of the very same object, or is known to need no writing. Then it counts as
    /// said. A quick look: `false` only means that [`want`](Self::want) has to look closely.
    pub(super) fn is_settled(
        &mut self,
        target: Target,
        name: &ObjectName,
        same_object: impl Fn(&P) -> bool,
        same: impl Fn(&P) -> bool,
    ) -> bool {
        let round = self.round;
        let Some(entry) = self.map(target).get_mut(name) else {
            return false;
        };
        let settled = match &entry.state {
            State::Written { content, .. } => content.as_deref().is_some_and(same_object),
            State::Refused { content, .. } => same_object(content) && same(content),
            _ => {
                let wanted = entry.wanted.as_deref();
                wanted.is_some_and(|wanted| same_object(wanted) && same(wanted))
            }
        };
        if settled {
            entry.round = round;
        }
        settled
    }

    /// Wants something to be written onto the version that the watch shows, in place of what was wanted before.
    pub(super) fn want(
        &mut self,
        target: Target,
        name: &ObjectName,
        seen: Version,
        content: P,
        now: Instant,
    ) {
        let key = self.key(target, name);
        let round = self.round;
        let entry = self.entry(&key, &seen);
        entry.round = round;
        let holds = match &entry.state {
            State::Written { base, .. } => *base == seen,
            State::Refused {
                base,
                content: refused,
            } => *base == seen && **refused == content,
            _ => false,
        };
        let Some(entry) = self.map(target).get_mut(name) else {
            return;
        };
        let is_shown = entry.see(seen);
        entry.wanted = (!holds).then(|| Arc::new(content));
        if matches!(&entry.state, State::Refused { .. }) && !holds {
            entry.state = State::Ready;
        }
        self.touches -= usize::from(is_shown);
        self.replace(&key, now, false);
    }

    /// Ends a round: of objects for which nothing was wanted in it nothing is written. `seen` knows the version of an
    /// object that the watch shows, `None` where it is gone.
    pub(super) fn settle(
        &mut self,
        mut seen: impl FnMut(Target, &ObjectName) -> Option<Version>,
        now: Instant,
    ) {
        let round = self.round;
        let mut rest: Vec<Key> = Vec::new();
        for target in [Target::Service, Target::Pool] {
            let unsaid = self
                .map(target)
                .iter()
                .filter(|(_, entry)| entry.round != round);
            rest.extend(unsaid.map(|(name, _)| Key {
                target,
                name: Arc::clone(name),
            }));
        }
        for key in rest {
            let version = seen(key.target, &key.name);
            let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
                continue;
            };
            entry.wanted = None;
            if matches!(entry.state, State::Refused { .. }) {
                entry.state = State::Ready;
            }
            match version {
                Some(version) => {
                    let is_shown = entry.see(version);
                    self.touches -= usize::from(is_shown);
                }
                None => self.forget_gone(&key),
            }
            self.replace(&key, now, false);
        }
    }

    /// Wants a mark on an object before anything else is written, to whatever version it has.
    pub(super) fn touch(&mut self, name: &ObjectName, seen: Version, content: P, now: Instant) {
        let key = self.key(Target::Service, name);
        let entry = self.entry(&key, &seen);
        let is_first = !entry.is_to_be_marked();
        entry.see(seen);
        entry.touch = Some(Arc::new(content));
        entry.marked = None;
        if !matches!(entry.state, State::UnderWay { .. }) {
            entry.state = State::Ready;
        }
        if self.touches == 0 {
            self.touches_since = Some(now);
        }
        self.touches += usize::from(is_first);
        self.replace(&key, now, false);
    }

    /// Forgets all that is wanted. What is under way, and what was written and not seen yet, stays known.
    pub(super) fn stand_down(&mut self, now: Instant) {
        for target in [Target::Service, Target::Pool] {
            let keys: Vec<_> = self.map(target).keys().cloned().collect();
            for name in keys {
                let key = Key { target, name };
                if let Some(entry) = self.map(target).get_mut(&*key.name) {
                    entry.wanted = None;
                    entry.touch = None;
                    entry.marked = None;
                    if matches!(entry.state, State::Refused { .. }) {
                        entry.state = State::Ready;
                    }
                }
                self.replace(&key, now, false);
            }
        }
        self.touches = 0;
    }

    /// The next request to send, if one may be sent now. It is under way from here on, until it is
    /// [`answered`](Self::answered).
    pub(super) fn next(&mut self, now: Instant) -> Option<Send<P>> {
        self.wake(now);
        loop {
            if self.under_way >= self.pace.limit() || !self.pace.is_open(now) {
                return None;
            }
            let line = self.choose(now)?;
            let (_, (key, _)) = self.lines[line as usize].pop_first()?;
            if line == Line::Touches || line == Line::Looks {
                return self.hand_out(&key, line);
            }
            // A namespace that is closed to us is tried by one request at a time; the others of it come back later.
            let again = self.pace.closed_until(&key, now);
            let Some(until) = again else {
                return self.hand_out(&key, line);
            };
            let number = self.number();
            if let Some(entry) = self.map(key.target).get_mut(&*key.name) {
                entry.state = State::Waiting { until };
                entry.place = Some(Place::Timer(until, number));
                self.timers.insert((until, number), key);
            }
        }
    }

    /// What came of a request that was handed out.
    pub(super) fn answered(&mut self, key: &Key, outcome: &Outcome, now: Instant) {
        let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
            return;
        };
        let State::UnderWay {
            base,
            what,
            is_retry,
            content,
            checks,
        } = std::mem::replace(&mut entry.state, State::Ready)
        else {
            return;
        };
        self.under_way -= 1;
        self.retries_under_way -= usize::from(is_retry);
        self.pace.answered(key, outcome, now, &mut self.jitter);
        let answer = Answer {
            base,
            content,
            checks,
            outcome,
        };
        match what {
            What::Touch => self.touch_answered(key, &answer, now),
            What::Write => self.write_answered(key, answer, now),
            What::Look => self.look_answered(key, answer, now),
        }
        self.replace(key, now, true);
    }

    /// When [`next`](Self::next) should be asked again although nothing happened.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        let lined_up = self.lines.iter().any(|line| !line.is_empty());
        let opens = self.pace.opens_at(now).filter(|_| lined_up);
        // Nothing gets out before the pace allows it, so a timer that ends earlier need not wake anybody.
        opens.or(timer)
    }

    /// Entries that something is wanted of and that are not under way.
    pub(super) fn queued(&self) -> usize {
        let waits = |entry: &&Entry<P>| {
            (entry.wanted.is_some() || entry.touch.is_some())
                && !matches!(entry.state, State::UnderWay { .. })
        };
        self.services.values().filter(waits).count() + self.pools.values().filter(waits).count()
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// How many requests may be under way at once by now.
    pub(super) fn limit(&self) -> usize {
        self.pace.limit()
    }

    /// Whether marks of a takeover are still to be answered, or to be seen.
    pub(super) fn is_taking_over(&self) -> bool {
        self.touches > 0
    }

    /// Whether no write is ready to be sent or under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way == 0 && self.lines.iter().all(BTreeMap::is_empty)
    }

    fn map(&mut self, target: Target) -> &mut HashMap<Arc<ObjectName>, Entry<P>> {
        match target {
            Target::Service => &mut self.services,
            Target::Pool => &mut self.pools,
        }
    }

    fn key(&mut self, target: Target, name: &ObjectName) -> Key {
        let known = self.map(target).get_key_value(name);
        let name = known.map_or_else(|| Arc::new(name.clone()), |(name, _)| Arc::clone(name));
        Key { target, name }
    }

    fn entry(&mut self, key: &Key, seen: &Version) -> &mut Entry<P> {
        let map = match key.target {
            Target::Service => &mut self.services,
            Target::Pool => &mut self.pools,
        };
        map.entry(Arc::clone(&key.name)).or_insert_with(|| Entry {
            seen: seen.clone(),
            wanted: None,
            touch: None,
            marked: None,
            state: State::Ready,
            failures: 0,
            not_before: None,
            place: None,
            round: 0,
        })
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// An object is gone: nothing is wanted of it, and nothing need be remembered once no request is under way.
    fn forget_gone(&mut self, key: &Key) {
        let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
            return;
        };
        entry.failures = 0;
        entry.seen = Version::default();
        if !matches!(entry.state, State::UnderWay { .. }) {
            entry.state = State::Ready;
        }
        if entry.is_to_be_marked() {
            entry.touch = None;
            entry.marked = None;
            self.touches -= 1;
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first_entry() {
            if timer.key().0 > now {
                return;
            }
            let key = timer.remove();
            if let Some(entry) = self.map(key.target).get_mut(&*key.name) {
                entry.place = None;
                if matches!(entry.state, State::Waiting { until } if until <= now) {
                    entry.state = State::Ready;
                }
            }
            self.replace(&key, now, false);
        }
    }

    fn choose(&self, now: Instant) -> Option<Line> {
        let head = |line: Line| {
            self.lines[line as usize]
                .first_key_value()
                .map(|(number, (_, since))| (*number, *since, line))
        };
        if self.touches > 0 {
            return head(Line::Touches).map(|head| head.2);
        }
        if let Some(look) = head(Line::Looks) {
            return Some(look.2);
        }
        let may_retry = self.retries_under_way < self.pace.limit().div_ceil(2);
        let longest = |fresh: Line, again: Line| {
            let again = head(again).filter(|_| may_retry);
            [head(fresh), again].into_iter().flatten().min()
        };
        let service = longest(Line::Services, Line::ServicesAgain);
        let pool = longest(Line::Pools, Line::PoolsAgain);
        let pool_first = pool.filter(|(_, since, _)| {
            service.is_none() || now.saturating_duration_since(*since) >= POOL_PATIENCE
        });
        pool_first.or(service).map(|head| head.2)
    }

    fn hand_out(&mut self, key: &Key, line: Line) -> Option<Send<P>> {
        let entry = self.map(key.target).get_mut(&*key.name)?;
        entry.place = None;
        let base = entry.seen.clone();
        let is_retry = matches!(line, Line::ServicesAgain | Line::PoolsAgain);
        let (what, content, checks, base) = match (line, &entry.state) {
            (Line::Touches, _) => (What::Touch, entry.touch.clone(), 0, base),
            (Line::Looks, State::Outdated { base, checks, .. }) => {
                (What::Look, entry.wanted.clone(), *checks, base.clone())
            }
            _ => (What::Write, entry.wanted.clone(), 0, base),
        };
        // An entry without content stands in none of these lines.
        let for_task = Arc::clone(content.as_ref()?);
        let task = match what {
            What::Touch => Task::Touch(for_task),
            What::Write => Task::Write(for_task),
            What::Look => Task::Look(for_task),
        };
        entry.state = State::UnderWay {
            base: base.clone(),
            what,
            is_retry,
            content,
            checks,
        };
        self.under_way += 1;
        self.retries_under_way += usize::from(is_retry);
        Some(Send {
            key: key.clone(),
            base,
            task,
        })
    }

    fn touch_answered(&mut self, key: &Key, answer: &Answer<'_, P>, now: Instant) {
        let wait = self.wait(key);
        let is_late = self
            .touches_since
            .is_some_and(|since| now >= since + MARK_PATIENCE);
        let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
            return;
        };
        // What was sent in an earlier term says nothing about this one.
        let is_this = matches!((&entry.touch, &answer.content), (Some(is), Some(sent)) if Arc::ptr_eq(is, sent));
        if !is_this {
            return;
        }
        match answer.outcome {
            Outcome::Done(version) => {
                entry.touch = None;
                entry.failures = 0;
                let is_seen = entry.seen.resource_version == *version
                    || (entry.seen != answer.base && entry.seen.is_not_before(version));
                if is_seen {
                    self.touches -= 1;
                    return;
                }
                // Whatever stands in the object now, the watch has yet to show it.
                entry.wanted = None;
                entry.marked = Some(version.clone());
                entry.state = State::Written {
                    base: entry.seen.clone(),
                    content: None,
                };
            }
            Outcome::Gone | Outcome::Refused => {
                entry.touch = None;
                entry.failures = 0;
                self.touches -= 1;
            }
            // Without a resourceVersion nothing but another incarnation conflicts for long, and that one needs no mark.
            Outcome::Conflict if entry.seen.uid != answer.base.uid || entry.failures >= 3 => {
                entry.touch = None;
                entry.failures = 0;
                self.touches -= 1;
            }
            Outcome::Unreachable | Outcome::Unauthenticated => {}
            Outcome::Conflict | Outcome::Unknown | Outcome::Denied if is_late => {
                entry.touch = None;
                self.touches -= 1;
            }
            Outcome::Conflict | Outcome::Unknown | Outcome::Denied => {
                entry.failures = entry.failures.saturating_add(1);
                entry.state = State::Waiting { until: now + wait };
            }
            Outcome::Busy(time) => entry.state = State::Waiting { until: now + *time },
        }
    }

    fn write_answered(&mut self, key: &Key, answer: Answer<'_, P>, now: Instant) {
        let wait = self.wait(key);
        let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
            return;
        };
        if key.target == Target::Pool {
            entry.not_before = Some(now + POOL_INTERVAL);
        }
        let is_seen = entry.seen != answer.base;
        let outdated = |first: Duration| State::Outdated {
            base: answer.base.clone(),
            look_at: now + first,
            checks: 0,
        };
        match answer.outcome {
            Outcome::Done(version) => {
                entry.failures = 0;
                let unchanged = *version == answer.base.resource_version;
                match answer.content {
                    // The server takes it and changes nothing: it would do so again.
                    Some(content) if unchanged => entry.refuse(answer.base, content),
                    _ if is_seen => {}
                    content => {
                        entry.wanted = None;
                        entry.state = State::Written {
                            base: answer.base,
                            content,
                        };
                    }
                }
            }
            Outcome::Conflict if !is_seen => entry.state = outdated(FIRST_LOOK),
            Outcome::Gone if !is_seen => entry.state = outdated(FIRST_LOOK_FOR_GONE),
            Outcome::Conflict | Outcome::Gone => {}
            Outcome::Refused => {
                entry.failures = 0;
                if let Some(content) = answer.content {
                    entry.refuse(answer.base, content);
                }
            }
            Outcome::Busy(time) => entry.state = State::Waiting { until: now + *time },
            Outcome::Unknown => {
                entry.failures = entry.failures.saturating_add(1);
                entry.state = State::Waiting { until: now + wait };
            }
            Outcome::Unreachable | Outcome::Unauthenticated | Outcome::Denied => {}
        }
    }

    fn look_answered(&mut self, key: &Key, answer: Answer<'_, P>, now: Instant) {
        let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
            return;
        };
        if entry.seen != answer.base {
            return;
        }
        if matches!(answer.outcome, Outcome::Done(version) if *version == answer.base.resource_version)
        {
            return;
        }
        let checks = answer.checks + 1;
        let wait = FIRST_LOOK.saturating_mul(1 << checks.min(5));
        entry.state = State::Outdated {
            base: answer.base,
            look_at: now + wait.min(LONGEST_LOOK),
            checks,
        };
    }

    fn wait(&mut self, key: &Key) -> Duration {
        let failures = self
            .map(key.target)
            .get(&*key.name)
            .map_or(0, |entry| entry.failures);
        self.jitter.wait(failures, FIRST_WAIT, LONGEST_WAIT)
    }

    /// Puts an entry where it belongs after a change, or drops it where nothing is left to do or to remember. `to_the_end`:
    /// whatever it waited before, it gets in line anew.
    fn replace(&mut self, key: &Key, now: Instant, to_the_end: bool) {
        let Some(entry) = self.map(key.target).get_mut(&*key.name) else {
            return;
        };
        let place = entry.place.take();
        let belongs = entry.belongs(key.target, now);
        let is_there = match (place, &belongs) {
            (Some(Place::Line(is, _)), Belongs::Line(should)) => is == *should && !to_the_end,
            (Some(Place::Timer(is, _)), Belongs::Timer(should)) => is == *should,
            (None, Belongs::Nowhere) => true,
            _ => false,
        };
        if is_there {
            entry.place = place;
            return;
        }
        match place {
            Some(Place::Line(line, number)) => drop(self.lines[line as usize].remove(&number)),
            Some(Place::Timer(at, number)) => drop(self.timers.remove(&(at, number))),
            None => {}
        }
        let number = self.number();
        let place = match belongs {
            Belongs::Line(line) => {
                self.lines[line as usize].insert(number, (key.clone(), now));
                Some(Place::Line(line, number))
            }
            Belongs::Timer(at) => {
                self.timers.insert((at, number), key.clone());
                Some(Place::Timer(at, number))
            }
            Belongs::Nowhere => None,
            Belongs::Dropped => {
                let entries = self.map(key.target);
                entries.remove(&*key.name);
                // After thousands were written at once the room for them is not needed any more.
                if entries.is_empty() {
                    entries.shrink_to_fit();
                }
                return;
            }
        };
        if let Some(entry) = self.map(key.target).get_mut(&*key.name) {
            entry.place = place;
        }
    }
}

struct Answer<'a, P> {
    base: Version,
    content: Option<Arc<P>>,
    checks: u32,
    outcome: &'a Outcome,
}

enum Belongs {
    Line(Line),
    Timer(Instant),
    Nowhere,
    Dropped,
}

impl<P: PartialEq> Entry<P> {
    /// Whether its mark is wanted, or set and not seen yet.
    fn is_to_be_marked(&self) -> bool {
        self.touch.is_some() || self.marked.is_some()
    }

    /// The watch shows a version. Whether that is the first to show the mark.
    fn see(&mut self, version: Version) -> bool {
        let is_other = self.seen.uid != version.uid;
        if is_other {
            self.failures = 0;
        }
        let is_shown = (self.marked.as_deref())
            .is_some_and(|marked| is_other || version.is_not_before(marked));
        if is_shown {
            self.marked = None;
        }
        let moved = match &self.state {
            State::Written { base, .. }
            | State::Outdated { base, .. }
            | State::Refused { base, .. } => *base != version,
            _ => false,
        };
        if moved {
            self.state = State::Ready;
        }
        self.seen = version;
        is_shown
    }

    /// The server will not have this content on this version. Something else is wanted meanwhile? Then that is tried.
    fn refuse(&mut self, base: Version, content: Arc<P>) {
        let same = self.seen == base
            && self
                .wanted
                .as_deref()
                .is_none_or(|wanted| *wanted == *content);
        if same {
            self.wanted = None;
            self.state = State::Refused { base, content };
        }
    }

    fn belongs(&self, target: Target, now: Instant) -> Belongs {
        match &self.state {
            State::UnderWay { .. } | State::Written { .. } | State::Refused { .. } => {
                Belongs::Nowhere
            }
            State::Waiting { until } if self.touch.is_some() || self.wanted.is_some() => {
                Belongs::Timer(*until)
            }
            State::Outdated { .. } if self.wanted.is_none() => Belongs::Nowhere,
            State::Outdated { look_at, .. } if *look_at <= now => Belongs::Line(Line::Looks),
            State::Outdated { look_at, .. } => Belongs::Timer(*look_at),
            State::Ready | State::Waiting { .. } if self.touch.is_some() => {
                Belongs::Line(Line::Touches)
            }
            State::Ready | State::Waiting { .. } => {
                let later = self.not_before.filter(|at| *at > now);
                let again = self.failures > 0;
                match (later, target) {
                    (Some(at), _) => Belongs::Timer(at),
                    _ if self.wanted.is_none() && self.marked.is_some() => Belongs::Nowhere,
                    _ if self.wanted.is_none() => Belongs::Dropped,
                    (None, Target::Service) if again => Belongs::Line(Line::ServicesAgain),
                    (None, Target::Service) => Belongs::Line(Line::Services),
                    (None, Target::Pool) if again => Belongs::Line(Line::PoolsAgain),
                    (None, Target::Pool) => Belongs::Line(Line::Pools),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
