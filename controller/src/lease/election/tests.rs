use super::*;

const SELF: &str = "one_1";

/// A candidate, the moment it is, and what it wants done.
struct Play {
    candidate: Candidate,
    now: Instant,
    outputs: Vec<Output>,
}

impl Play {
    fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an origin; time is virtual from here on"
        )]
        let now = Instant::now();
        let candidate = Candidate::new(SELF.to_owned(), 7, Timing::default());
        let mut play = Self {
            candidate,
            now,
            outputs: Vec::new(),
        };
        play.tell(Input::Reachable("192.0.2.1:4000".to_owned()));
        play
    }

    fn tell(&mut self, input: Input) {
        self.candidate.handle(self.now, input);
        self.outputs = std::iter::from_fn(|| self.candidate.poll_output()).collect();
    }

    /// Answers the read under way.
    fn reads(&mut self, answer: Answer) {
        let (request, _) = self.candidate.read.pending.expect("no read under way");
        self.tell(Input::Answered { request, answer });
    }

    fn writes(&mut self, answer: Answer) {
        let (request, _) = self.candidate.write.pending.expect("no write under way");
        self.tell(Input::Answered { request, answer });
    }

    /// Lets time pass, deadline after deadline; gives all that was wanted meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut all = Vec::new();
        for _ in 0..1_000 {
            match self.candidate.next_deadline() {
                Some(moment) if moment <= end => self.now = self.now.max(moment),
                _ => {
                    self.now = end;
                    return all;
                }
            }
            self.tell(Input::Tick);
            all.append(&mut self.outputs);
        }
        panic!("it never rests");
    }

    fn change(&self) -> Option<&Change> {
        self.outputs.iter().find_map(|output| match output {
            Output::Create { change, .. } | Output::Replace { change, .. } => Some(change),
            _ => None,
        })
    }

    fn leads(&self) -> bool {
        self.candidate.published.may_write(self.now)
    }

    /// The leader of a Lease it made.
    fn leader() -> Self {
        let mut play = Self::new();
        play.reads(Answer::Absent);
        play.writes(Answer::Record(lease(SELF, 1, 10)));
        play
    }

    /// Follows `two_2`, whose heartbeats come.
    fn follower() -> Self {
        let mut play = Self::new();
        play.reads(Answer::Record(lease("two_2", 4, 10)));
        play.tell(Input::Seen(Some(lease("two_2", 4, 10))));
        play.tell(Input::Heartbeat);
        play
    }
}

fn lease(holder: &str, term: u64, version: u64) -> Record {
    Record {
        uid: "uid".to_owned(),
        resource_version: version.to_string(),
        holder: holder.to_owned(),
        term,
        renewed: format!("renewed {version}"),
        liveness: if holder == SELF {
            "192.0.2.1:4000"
        } else {
            "192.0.2.2:4000"
        }
        .to_owned(),
        ..Record::default()
    }
}

fn challenged(record: Record, by: &str, version: u64) -> Record {
    Record {
        challenge: format!("{by} 1"),
        resource_version: version.to_string(),
        ..record
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn an_absent_lease_is_created_and_led_without_waiting() {
    let play = Play::leader();
    assert!(play.leads());
    assert_eq!(
        play.candidate
            .published
            .lead
            .map(|lead| (lead.term, lead.unclean)),
        Some((1, false))
    );
}

#[test]
fn validity_counts_from_the_question_and_runs_out_by_itself() {
    let mut play = Play::leader();
    let before = play.candidate.published.lead.unwrap().valid_until;
    play.pass(ms(400));
    let asked = play.now;
    play.now += ms(700);
    play.reads(Answer::Record(lease(SELF, 1, 10)));
    let after = play.candidate.published.lead.unwrap().valid_until;
    assert_eq!(after, asked + ms(1_200));
    assert!(after > before);
    play.pass(ms(2_000));
    assert!(!play.leads());
    play.reads(Answer::Record(lease(SELF, 1, 10)));
    assert!(play.leads(), "still the holder, so it comes back");
}

#[test]
fn a_challenge_is_answered_at_once_and_counts_as_no_confirmation() {
    let mut play = Play::leader();
    play.pass(ms(400));
    let until = play.candidate.published.lead.unwrap().valid_until;
    play.reads(Answer::Record(challenged(lease(SELF, 1, 10), "two_2", 11)));
    assert!(matches!(play.change(), Some(Change::Renew { .. })));
    assert_eq!(play.candidate.published.lead.unwrap().valid_until, until);
    play.writes(Answer::Record(lease(SELF, 1, 12)));
    assert!(play.candidate.published.lead.unwrap().valid_until > until);
}

#[test]
fn another_holder_ends_it_at_once() {
    let mut play = Play::leader();
    play.pass(ms(400));
    play.reads(Answer::Record(lease("two_2", 2, 12)));
    assert!(play.candidate.published.lead.is_none());
    assert_eq!(play.candidate.published.holder, "two_2");
}

#[test]
fn a_follower_at_rest_asks_for_nothing() {
    let mut play = Play::follower();
    for round in 0..200 {
        play.tell(Input::Heartbeat);
        assert!(play.outputs.is_empty(), "{:?}", play.outputs);
        // The leader renews every 12 s.
        play.tell(Input::Seen(Some(lease("two_2", 4, 10 + round / 40))));
        assert_eq!(play.pass(ms(300)), []);
    }
}

#[test]
fn a_broken_connection_is_challenged_and_then_replaced() {
    let mut play = Play::follower();
    play.tell(Input::LivenessLost);
    let lost = play.now;
    play.pass(ms(100));
    let challenge = challenged(lease("two_2", 4, 10), SELF, 11);
    play.writes(Answer::Record(challenge.clone()));
    let acknowledged = play.now;
    play.pass(ms(1_799));
    assert!(
        play.candidate.write.pending.is_none(),
        "the leader has 1.8 s to answer"
    );
    play.pass(ms(1));
    play.writes(Answer::Record(lease(SELF, 5, 12)));
    assert!(play.leads() && play.now == acknowledged + ms(1_800));
    assert!(play.now - lost < ms(2_000));
    assert!(play.candidate.published.lead.unwrap().unclean);
}

#[test]
fn an_unreachable_port_is_doubted_ever_less_often() {
    let mut play = Play::follower();
    play.tell(Input::LivenessLost);
    let (mut version, mut challenges) = (10, Vec::new());
    let end = play.now + Duration::from_secs(3_600);
    while play.now < end {
        play.pass(ms(250));
        // The leader renews every 12 s, and answers when it is challenged.
        version += 2;
        if play.candidate.write.pending.is_some() {
            challenges.push(play.now);
            play.writes(Answer::Record(challenged(
                lease("two_2", 4, version - 2),
                SELF,
                version - 1,
            )));
        }
        play.tell(Input::Seen(Some(lease("two_2", 4, version))));
        play.tell(Input::LivenessLost);
    }
    let gaps: Vec<u64> = challenges
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert!(challenges.len() <= 12, "{gaps:?}");
    assert!(
        gaps[0] >= 30 && gaps.is_sorted() && gaps.last().is_some_and(|gap| *gap >= 600),
        "{gaps:?}"
    );
}

#[test]
fn what_was_released_is_taken_at_once_and_what_was_emptied_is_not() {
    let released = Record {
        release: Some(Release::Settled),
        ..lease("", 4, 11)
    };
    let mut play = Play::follower();
    play.tell(Input::Seen(Some(released)));
    play.pass(ms(60));
    play.writes(Answer::Record(lease(SELF, 5, 12)));
    assert!(play.leads() && !play.candidate.published.lead.unwrap().unclean);

    let mut play = Play::follower();
    play.tell(Input::Seen(Some(lease("", 4, 11))));
    let wanted = play.pass(ms(110));
    assert!(
        wanted.iter().any(|output| matches!(
            output,
            Output::Replace {
                change: Change::Challenge { .. },
                ..
            }
        )),
        "{wanted:?}"
    );
}

#[test]
fn whoever_recreates_a_lease_that_others_had_waits_until_they_are_done() {
    let mut play = Play::follower();
    play.tell(Input::Seen(None));
    play.pass(ms(50));
    play.reads(Answer::Absent);
    play.writes(Answer::Record(lease(SELF, 5, 20)));
    let created = play.now;
    assert!(!play.leads());
    while !play.leads() {
        play.pass(ms(50));
        if play.candidate.read.pending.is_some() {
            play.reads(Answer::Record(lease(SELF, 5, 20)));
        }
    }
    assert!(play.now >= created + ms(1_800));
    assert!(play.candidate.published.lead.unwrap().unclean);
}

#[test]
fn after_trouble_the_leader_gets_time_to_recover_too() {
    let mut play = Play::follower();
    play.tell(Input::LivenessLost);
    play.pass(ms(100));
    play.writes(Answer::Failed);
    play.pass(ms(5_000));
    play.reads(Answer::Record(lease("two_2", 4, 10)));
    let back = play.now;
    play.pass(ms(999));
    assert!(play.candidate.write.pending.is_none());
    play.pass(ms(200));
    assert!(play.candidate.write.pending.is_some() && play.now >= back + ms(1_000));
}

#[test]
fn an_answer_to_a_question_from_before_the_last_write_says_nothing() {
    let mut play = Play::leader();
    play.pass(ms(400));
    play.tell(Input::Remember("text".into()));
    play.pass(ms(600));
    play.writes(Answer::Record(lease(SELF, 1, 13)));
    play.reads(Answer::Record(lease("two_2", 9, 9)));
    assert!(play.candidate.published.lead.is_some());
}

#[test]
fn a_released_candidate_stays_out() {
    let mut play = Play::leader();
    play.tell(Input::Release {
        how: Release::Settled,
    });
    assert!(
        play.candidate.published.lead.is_none(),
        "before anybody else knows"
    );
    play.writes(Answer::Record(Record {
        release: Some(Release::Settled),
        ..lease("", 1, 11)
    }));
    assert!(play.outputs.contains(&Output::Released));
    assert_eq!(play.pass(Duration::from_secs(60)), []);
}

#[test]
fn what_the_last_leader_left_is_not_replaced_by_what_we_knew_before_it_led() {
    let mut play = Play::leader();
    play.tell(Input::Remember("ours".into()));
    play.pass(ms(1_100));
    play.writes(Answer::Record(Record {
        addresses: "ours".into(),
        ..lease(SELF, 1, 11)
    }));
    for (holder, release) in [("two_2", None), ("", Some(Release::Settled))] {
        let left = Record {
            release,
            addresses: "theirs".into(),
            ..lease(holder, 2, 12)
        };
        if play.candidate.read.pending.is_none() {
            play.pass(ms(400));
        }
        play.reads(Answer::Record(left));
    }
    let acquires = |output: &Output| {
        let Output::Replace { change, .. } = output else {
            return false;
        };
        matches!(
            change,
            Change::Acquire {
                addresses: None,
                ..
            }
        )
    };
    let wanted: Vec<_> = play
        .outputs
        .clone()
        .into_iter()
        .chain(play.pass(ms(100)))
        .collect();
    assert!(wanted.iter().any(acquires), "{wanted:?}");
    play.writes(Answer::Record(Record {
        addresses: "theirs".into(),
        ..lease(SELF, 3, 13)
    }));
    play.pass(ms(1_500));
    assert!(play.candidate.write.pending.is_none(), "nor later");
}

#[test]
fn refused_writes_are_repeated_ever_more_slowly() {
    let mut play = Play::new();
    play.reads(Answer::Absent);
    let mut writes = 0;
    for _ in 0..600 {
        if play.candidate.write.pending.is_some() {
            writes += 1;
            play.writes(Answer::Failed);
        }
        if play.candidate.read.pending.is_some() {
            play.reads(Answer::Absent);
        }
        play.pass(ms(100));
    }
    assert!((8..20).contains(&writes), "{writes} in a minute");
}
