//! One process's part in the election, pure: the protocol of docs/decisions/0003-lease.md.
//!
//! Two requests may be under way at a time, a read and a write. A request that was given up may still take effect: reads
//! then have none, and every write is a compare-and-swap, so a late one fails unless nothing happened in between.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exchange::{Answer, Input, Output, Request};
use super::link::Link;
use super::record::{Change, Record, Release};
use super::timing::Timing;
use super::{Lead, Leadership};

/// One process that may lead.
///
/// [`handle`](Self::handle) one input, drain [`poll_output`](Self::poll_output), wait for the next input or until
/// [`next_deadline`](Self::next_deadline), which stands for [`Input::Tick`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    identity: String,
    timing: Timing,
    dice: u64,
    reachable: String,
    /// What the coordinator wants remembered.
    remember: Option<Arc<str>>,
    next_request: u64,
    known: Option<Known>,
    /// What the Lease last remembered, for when it is deleted.
    last_addresses: Arc<str>,
    /// The highest term ever seen here; `None` until a Lease was.
    highest_term: Option<u64>,
    read: Slot,
    write: Slot,
    /// The write under way or given up that would make us the holder.
    attempt: Option<Attempt>,
    term: Option<Term>,
    link: Option<Link>,
    watching: bool,
    /// A read is wanted as soon as possible.
    read_soon: bool,
    /// Nothing is written before a read showed what became of the last write.
    stale: bool,
    /// How many writes in a row failed otherwise than by a conflict.
    write_failures: u32,
    /// Requests fail at present.
    trouble: bool,
    /// Nobody is challenged or replaced before: after trouble the leader deserves the time to recover too.
    calm_until: Option<Instant>,
    release: Option<Release>,
    released: bool,
    published: Leadership,
    outputs: VecDeque<Output>,
    wake: Option<Instant>,
}

/// What we know the API server to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    /// `None`: there is no Lease.
    record: Option<Record>,
    /// Since when we know this very version.
    since: Instant,
    /// When `renewTime` was last seen to be another.
    moved: Instant,
    /// How much longer than others we wait, drawn anew for each version.
    patience: Duration,
}

/// One of the two requests that may be under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Slot {
    /// Which and when it was sent.
    pending: Option<(Request, Instant)>,
    /// When the last one was sent.
    sent: Option<Instant>,
    /// When the last one was answered or given up.
    ended: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    term: u64,
    from: Origin,
}

/// How a term came about, which decides what its holder must fear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// There never was a Lease, as far as we know.
    Nothing,
    /// The Lease we or others had was deleted.
    Deleted,
    /// The last holder gave it up.
    Released(Release),
    /// A challenge was not answered.
    Challenge,
}

/// We are the holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Term {
    number: u64,
    unclean: bool,
    /// A leader we could not ask may believe in itself until then.
    not_before: Option<Instant>,
    valid_until: Option<Instant>,
    renewed: Instant,
}

impl Candidate {
    /// A process called `identity`, which no other process ever was or will be. `seed` makes it wait differently from
    /// others.
    pub fn new(identity: String, seed: u64, timing: Timing) -> Self {
        Self {
            identity,
            timing,
            dice: seed,
            reachable: String::new(),
            remember: None,
            next_request: 0,
            known: None,
            last_addresses: Arc::from(""),
            highest_term: None,
            read: Slot::default(),
            write: Slot::default(),
            attempt: None,
            term: None,
            link: None,
            watching: false,
            read_soon: true,
            stale: false,
            write_failures: 0,
            trouble: false,
            calm_until: None,
            release: None,
            released: false,
            published: Leadership::default(),
            outputs: VecDeque::new(),
            wake: None,
        }
    }

    /// One input, then a full drain of [`poll_output`](Self::poll_output).
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Answered { request, answer } => self.answered(now, request, answer),
            Input::Seen(record) => self.seen(now, record),
            Input::Unwatched => {
                self.watching = false;
                self.read_soon = true;
            }
            Input::Heartbeat => {
                if let Some(link) = &mut self.link {
                    link.heartbeat(now, &self.timing);
                }
            }
            Input::LivenessLost => {
                if let Some(link) = &mut self.link {
                    link.lost(now, &self.timing);
                }
            }
            Input::Reachable(target) => self.reachable = target,
            Input::Remember(text) => self.remember = Some(text),
            Input::Release { how } => self.release = Some(how),
            Input::Tick => {}
        }
        self.decide(now);
    }

    /// What is to be done, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back at the latest. Right after a drain.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// The Lease at last sight.
    pub fn record(&self) -> Option<&Record> {
        self.known.as_ref()?.record.as_ref()
    }

    /// Feeds `state` with all that decides what this candidate will do from `now` on: two that feed the same behave
    /// alike. The numbers of requests, luck, and moments too long ago to matter are left out. For whoever searches all
    /// behaviours; as long as nothing is older than [`Timing::stale`].
    pub fn digest(&self, now: Instant, state: &mut impl Hasher) {
        let age = |moment: Instant, most: Duration| now.saturating_duration_since(moment).min(most);
        let timing = &self.timing;
        self.identity.hash(state);
        self.reachable.hash(state);
        self.remember.hash(state);
        self.highest_term.hash(state);
        let overtaken = |sent| self.write.ended.is_some_and(|ended| sent < ended);
        let read = self
            .read
            .pending
            .map(|(_, sent)| (age(sent, timing.read_timeout), overtaken(sent)));
        let write = self
            .write
            .pending
            .map(|(_, sent)| age(sent, timing.write_timeout));
        (read, write).hash(state);
        self.read
            .sent
            .map(|sent| age(sent, timing.poll.max(timing.confirm)))
            .hash(state);
        let pause = timing
            .write_spacing
            .max(timing.retry * if self.write_failures > 0 { 16 } else { 1 });
        self.write.sent.map(|sent| age(sent, pause)).hash(state);
        let wait = timing.challenge_wait + timing.stranger_wait + timing.jitter;
        let known = self
            .known
            .as_ref()
            .map(|known| (&known.record, age(known.since, wait), known.patience));
        known.hash(state);
        self.attempt.hash(state);
        let left =
            |moment: Option<Instant>| moment.map(|moment| moment.saturating_duration_since(now));
        let term = self.term.as_ref().map(|term| {
            let validity = (left(term.not_before), left(term.valid_until));
            (
                term.number,
                term.unclean,
                validity,
                age(term.renewed, timing.renewal),
            )
        });
        term.hash(state);
        self.link.as_ref().map(|link| link.left(now)).hash(state);
        (
            self.watching,
            self.read_soon,
            self.stale,
            self.write_failures,
            self.trouble,
        )
            .hash(state);
        (left(self.calm_until), self.release, self.released).hash(state);
    }

    fn answered(&mut self, now: Instant, request: Request, answer: Answer) {
        if let Some(sent) = self.read.end(now, request) {
            // What was asked before a write ended may or may not tell what became of it.
            let late = self.write.ended.is_some_and(|ended| sent < ended);
            match answer {
                Answer::Record(record) if !late => {
                    self.recovered(now);
                    self.stale = false;
                    self.accept(now, Some(record), Some(sent));
                }
                Answer::Absent if !late => {
                    self.recovered(now);
                    self.stale = false;
                    self.accept(now, None, Some(sent));
                }
                Answer::Record(_) | Answer::Absent => self.read_soon = true,
                Answer::Conflict | Answer::Failed => self.trouble = true,
            }
        } else if let Some(sent) = self.write.end(now, request) {
            match answer {
                Answer::Record(record) => {
                    self.write_failures = 0;
                    self.recovered(now);
                    self.accept(now, Some(record), Some(sent));
                }
                Answer::Absent | Answer::Conflict => {
                    self.write_failures = 0;
                    self.stale = true;
                    self.read_soon = true;
                }
                Answer::Failed => {
                    self.write_failures = self.write_failures.saturating_add(1);
                    self.stale = true;
                    self.trouble = true;
                }
            }
        }
    }

    fn seen(&mut self, now: Instant, record: Option<Record>) {
        self.watching = true;
        match record {
            // Who holds the Lease, or thinks it is gone, goes by what a quorum says.
            Some(record) if record.holder != self.identity && self.term.is_none() => {
                self.accept(now, Some(record), None);
            }
            record => {
                let version =
                    |record: Option<&Record>| record.map(|record| record.resource_version.clone());
                if version(record.as_ref()) != version(self.record()) {
                    self.read_soon = true;
                }
            }
        }
    }

    fn recovered(&mut self, now: Instant) {
        if self.trouble {
            self.trouble = false;
            self.calm_until = Some(now + self.timing.grace);
        }
    }

    /// Takes over what the API server has. `asked`: when the request was sent that this answers.
    fn accept(&mut self, now: Instant, record: Option<Record>, asked: Option<Instant>) {
        if let (Some(new), Some(old)) = (&record, self.record())
            && new.is_older_than(old)
        {
            return;
        }
        if let Some(record) = &record {
            self.highest_term = self.highest_term.max(Some(record.term));
        }
        match (&record, asked) {
            (Some(record), Some(asked)) if record.holder == self.identity => {
                self.hold(now, record, asked)
            }
            // While there is none we stay what we are: whoever creates it next is the holder.
            (None, _) => {}
            (Some(record), _) => {
                self.term = None;
                // Whoever leads by now knows better what is to be remembered.
                if !record.holder.is_empty() && record.holder != self.identity {
                    self.remember = None;
                }
            }
        }
        self.note_answered_challenge(now, record.as_ref());
        self.know(now, record);
    }

    /// A quorum showed us as the holder.
    fn hold(&mut self, now: Instant, record: &Record, asked: Instant) {
        let running = self
            .term
            .as_ref()
            .is_some_and(|term| term.number == record.term);
        if !running {
            let term = self.begin_term(now, record, asked);
            self.term = Some(term);
        }
        let renewed = self
            .record()
            .is_none_or(|old| old.renewed != record.renewed);
        if let Some(term) = &mut self.term
            && renewed
        {
            term.renewed = asked;
        }
        if let Some(term) = &mut self.term
            && record.challenge.is_empty()
            && term.not_before.is_none_or(|moment| now >= moment)
        {
            term.not_before = None;
            // The answer is never older than the question, so a challenge can only have come after `asked`.
            term.valid_until = term.valid_until.max(Some(asked + self.timing.validity));
        }
    }

    fn begin_term(&self, now: Instant, record: &Record, asked: Instant) -> Term {
        let from = match &self.attempt {
            Some(attempt) if attempt.term == record.term => Some(attempt.from),
            _ => None,
        };
        // Nobody else can have led between our last good answer and this one, if it came in time.
        let before = self
            .term
            .as_ref()
            .filter(|term| term.valid_until.is_some_and(|until| now < until));
        let careful = Some(now + self.timing.challenge_wait);
        let (unclean, not_before) = match (from, before) {
            (Some(Origin::Nothing | Origin::Released(Release::Settled)), _) => (false, None),
            (Some(Origin::Released(Release::Unsettled) | Origin::Challenge), _) => (true, None),
            (Some(Origin::Deleted), Some(before)) => (before.unclean, before.not_before),
            (Some(Origin::Deleted) | None, _) => (true, careful),
        };
        Term {
            number: record.term,
            unclean,
            not_before,
            valid_until: None,
            renewed: asked,
        }
    }

    fn note_answered_challenge(&mut self, now: Instant, new: Option<&Record>) {
        let (Some(old), Some(new)) = (self.record(), new) else {
            return;
        };
        let same_term = old.holder == new.holder && old.term == new.term && old.uid == new.uid;
        if same_term
            && !old.challenge.is_empty()
            && old.challenge != new.challenge
            && let Some(link) = &mut self.link
        {
            link.proved_alive(now, &self.timing);
        }
    }

    fn know(&mut self, now: Instant, record: Option<Record>) {
        let renewed = |record: &Option<Record>| {
            record
                .as_ref()
                .map(|record| (record.holder.clone(), record.renewed.clone()))
        };
        let mut moved = now;
        if let Some(known) = &self.known {
            let old = (known.record.as_ref()).map(|old| (&old.uid, &old.resource_version));
            if old == record.as_ref().map(|new| (&new.uid, &new.resource_version)) {
                return;
            }
            if renewed(&known.record) == renewed(&record) {
                moved = known.moved;
            }
        }
        if let Some(record) = &record {
            self.last_addresses = record.addresses.clone();
        }
        self.known = Some(Known {
            record,
            since: now,
            moved,
            patience: self.draw_patience(),
        });
    }

    fn decide(&mut self, now: Instant) {
        self.wake = None;
        self.give_up_requests(now);
        self.follow_link(now);
        if self.release.is_some() {
            self.decide_release(now);
        } else {
            match &self.known {
                None => {}
                Some(Known { record: None, .. }) => self.create(now),
                Some(Known {
                    record: Some(record),
                    ..
                }) if record.holder == self.identity => self.decide_as_holder(now),
                Some(_) => self.decide_as_follower(now),
            }
        }
        self.decide_read(now);
        self.publish();
    }

    /// Notes a moment at which to come back, and says whether it is here.
    fn due(&mut self, now: Instant, moment: Instant) -> bool {
        if now < moment {
            self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
        }
        now >= moment
    }

    fn give_up_requests(&mut self, now: Instant) {
        if let Some((request, sent)) = self.read.pending
            && self.due(now, sent + self.timing.read_timeout)
        {
            self.answered(now, request, Answer::Failed);
        }
        if let Some((request, sent)) = self.write.pending
            && self.due(now, sent + self.timing.write_timeout)
        {
            self.answered(now, request, Answer::Failed);
        }
    }

    /// Keeps the liveness connection to whoever else holds the Lease.
    fn follow_link(&mut self, now: Instant) {
        let leader = match self.record() {
            Some(record)
                if !record.holder.is_empty()
                    && record.holder != self.identity
                    && self.release.is_none() =>
            {
                Some((record.holder.clone(), record.liveness.clone()))
            }
            _ => None,
        };
        let Some((holder, target)) = leader else {
            if self.link.take().is_some() {
                self.connect(String::new(), String::new());
            }
            return;
        };
        match &mut self.link {
            Some(link) if link.holder == holder && link.target == target => {
                if let Some(moment) = link.retry_at
                    && self.due(now, moment)
                {
                    if let Some(link) = &mut self.link {
                        link.retry_at = None;
                    }
                    self.connect(holder, target);
                }
            }
            Some(link) if link.holder == holder => {
                link.moved(now, &target, &self.timing);
                self.connect(holder, target);
            }
            _ => {
                self.link = Some(Link::new(now, &holder, &target, &self.timing));
                self.connect(holder, target);
            }
        }
    }

    fn connect(&mut self, holder: String, target: String) {
        self.outputs
            .push_back(Output::ConnectLiveness { holder, target });
    }

    fn create(&mut self, now: Instant) {
        if !self.may_write()
            || !self.after_failures(now)
            || !self.after_last_write(now, self.timing.retry)
        {
            return;
        }
        let from = if self.highest_term.is_some() {
            Origin::Deleted
        } else {
            Origin::Nothing
        };
        self.acquire(now, None, from);
    }

    fn decide_as_holder(&mut self, now: Instant) {
        let (Some(record), Some(term)) = (self.record(), &self.term) else {
            return;
        };
        let challenged = !record.challenge.is_empty();
        let renewal = term.renewed + self.timing.renewal;
        let addresses = self.unsaid(record);
        let news = record.liveness != self.reachable || addresses.is_some();
        let record = record.clone();
        if !self.may_write() || !self.after_failures(now) {
            return;
        }
        if challenged
            || self.due(now, renewal)
            || (news && self.after_last_write(now, self.timing.write_spacing))
        {
            let liveness = self.reachable.clone();
            self.replace(
                now,
                record,
                Change::Renew {
                    liveness,
                    addresses,
                },
            );
        }
    }

    fn decide_as_follower(&mut self, now: Instant) {
        let Some(known) = self.known.clone() else {
            return;
        };
        let Some(record) = known.record else { return };
        if !self.may_write() || !self.after_failures(now) {
            return;
        }
        if let Some(how) = record.release {
            if self.due(now, known.since + known.patience / 2) {
                self.acquire(now, Some(record), Origin::Released(how));
            }
            return;
        }
        if let Some(moment) = self.calm_until
            && !self.due(now, moment)
        {
            return;
        }
        if record.challenge.is_empty() {
            let moment = self.suspicious_from(&record, known.moved) + known.patience;
            if self.due(now, moment) {
                let random = self.roll();
                let text = format!("{} {random:016x}", self.identity);
                self.replace(now, record, Change::Challenge { text });
            }
            return;
        }
        let own = record.challenge.split(' ').next() == Some(self.identity.as_str());
        let wait = if own {
            self.timing.challenge_wait
        } else {
            self.timing.challenge_wait + self.timing.stranger_wait + known.patience
        };
        if self.due(now, known.since + wait) {
            self.acquire(now, Some(record), Origin::Challenge);
        }
    }

    /// From when on the holder is to be challenged.
    fn suspicious_from(&self, record: &Record, moved: Instant) -> Instant {
        let stale = moved + self.timing.stale;
        match &self.link {
            Some(link) => stale.min(link.suspicious_from()),
            // Nobody holds it and nobody gave it up: a stranger's edit, of which the holder may not know yet.
            None if record.holder.is_empty() => moved,
            None => stale,
        }
    }

    fn decide_release(&mut self, now: Instant) {
        self.term = None;
        if self.released || self.write.pending.is_some() {
            return;
        }
        let Some(how) = self.release else { return };
        match self.record() {
            _ if self.stale => {}
            Some(record) if record.holder == self.identity => {
                let (term, addresses) = (record.term, self.unsaid(record));
                let record = record.clone();
                if self.after_failures(now) {
                    self.replace(
                        now,
                        record,
                        Change::Release {
                            term,
                            how,
                            addresses,
                        },
                    );
                }
            }
            _ => {
                self.released = true;
                self.outputs.push_back(Output::Released);
            }
        }
    }

    fn decide_read(&mut self, now: Instant) {
        if self.read.pending.is_some() || self.released {
            return;
        }
        let holding = self.term.is_some()
            || self
                .record()
                .is_some_and(|record| record.holder == self.identity);
        let every = if self.read_soon && !self.trouble {
            Some(self.timing.confirm / 20)
        } else if holding || self.stale || self.trouble || self.known.is_none() {
            Some(self.timing.confirm)
        } else if !self.watching {
            Some(self.timing.poll)
        } else {
            None
        };
        let Some(every) = every else { return };
        let moment = self.read.sent.map_or(now, |sent| sent + every);
        if self.due(now, moment) {
            self.read_soon = false;
            let request = self.number();
            self.read.start(now, request);
            self.due(now, now + self.timing.read_timeout);
            self.outputs.push_back(Output::Get { request });
        }
    }

    fn publish(&mut self) {
        let lead = self.term.as_ref().and_then(|term| {
            Some(Lead {
                term: term.number,
                unclean: term.unclean,
                valid_until: term.valid_until?,
            })
        });
        let holder = self.record().map_or("", |record| record.holder.as_str());
        if self.published.lead != lead || self.published.holder != holder {
            self.published = Leadership {
                holder: holder.to_owned(),
                lead,
            };
            self.outputs
                .push_back(Output::LeadershipChanged(self.published.clone()));
        }
    }

    fn may_write(&self) -> bool {
        self.write.pending.is_none() && !self.stale
    }

    /// Whether enough time has passed since a write that failed; more for each that failed before it.
    fn after_failures(&mut self, now: Instant) -> bool {
        match self.write_failures {
            0 => true,
            failures => {
                self.after_last_write(now, self.timing.retry * (1 << (failures - 1).min(4)))
            }
        }
    }

    fn after_last_write(&mut self, now: Instant, pause: Duration) -> bool {
        match self.write.sent {
            Some(sent) => self.due(now, sent + pause),
            None => true,
        }
    }

    fn acquire(&mut self, now: Instant, of: Option<Record>, from: Origin) {
        // The API server takes no higher number than that.
        let last = self.highest_term.filter(|term| *term < i32::MAX as u64);
        let term = last.map_or(1, |term| term + 1);
        self.attempt = Some(Attempt { term, from });
        let addresses = match &of {
            // What the last leader left stays until somebody has read it; what we knew in an earlier term is less.
            Some(_) => {
                self.remember = None;
                None
            }
            None => Some(
                self.remember
                    .clone()
                    .unwrap_or_else(|| self.last_addresses.clone()),
            ),
        };
        let change = Change::Acquire {
            term,
            liveness: self.reachable.clone(),
            addresses,
        };
        match of {
            Some(record) => self.replace(now, record, change),
            None => {
                let request = self.start_write(now);
                self.outputs.push_back(Output::Create { request, change });
            }
        }
    }

    fn replace(&mut self, now: Instant, of: Record, change: Change) {
        let request = self.start_write(now);
        self.outputs.push_back(Output::Replace {
            request,
            of,
            change,
        });
    }

    fn start_write(&mut self, now: Instant) -> Request {
        let request = self.number();
        self.write.start(now, request);
        self.due(now, now + self.timing.write_timeout);
        request
    }

    /// What is to be remembered and not there yet.
    fn unsaid(&self, record: &Record) -> Option<Arc<str>> {
        self.remember
            .clone()
            .filter(|text| *text != record.addresses)
    }

    fn number(&mut self) -> Request {
        self.next_request += 1;
        Request(self.next_request)
    }

    fn draw_patience(&mut self) -> Duration {
        let part = (self.roll() % 1_000) as u32;
        self.timing.jitter * part / 1_000
    }

    /// SplitMix64: enough to make processes differ.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Slot {
    fn start(&mut self, now: Instant, request: Request) {
        self.pending = Some((request, now));
        self.sent = Some(now);
    }

    /// When the request was sent, if it is the one under way.
    fn end(&mut self, now: Instant, request: Request) -> Option<Instant> {
        let (pending, sent) = self.pending?;
        if pending != request {
            return None;
        }
        self.pending = None;
        self.ended = Some(now);
        Some(sent)
    }
}

#[cfg(test)]
mod tests;
