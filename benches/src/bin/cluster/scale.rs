//! How much is measured, and how strictly it is judged.

use std::time::Duration;

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Services created one after the other.
    pub(crate) samples: usize,
    /// Services there are in the second half of the latency scenario.
    pub(crate) present: usize,
    /// Services that wait when the program starts.
    pub(crate) backlog: usize,
    /// Services that have their addresses when the program is started again.
    pub(crate) restart: usize,
    /// For how long nothing may be written after a restart.
    pub(crate) silence: Duration,
    /// Services there are while nothing happens.
    pub(crate) idle: usize,
    /// For how long nothing happens.
    pub(crate) idle_time: Duration,
    /// Few and many Services, for memory.
    pub(crate) few: usize,
    pub(crate) many: usize,
    /// For how long it is waited that the program has nothing more to write, before something is counted.
    pub(crate) patience: Duration,
    /// Whether milliseconds and the like are judged. Where the machine is shared, only counts and ratios are.
    pub(crate) strict: bool,
}

impl Scale {
    /// What the figures are about.
    pub(crate) const FULL: Self = Self {
        samples: 300,
        present: 1000,
        backlog: 5000,
        restart: 10_000,
        silence: Duration::from_secs(15),
        idle: 100,
        idle_time: Duration::from_secs(60),
        few: 20,
        many: 5000,
        patience: Duration::from_secs(120),
        strict: true,
    };

    /// For the gate: a minute or two, and nothing in it depends on how busy the machine is.
    pub(crate) const QUICK: Self = Self {
        samples: 40,
        present: 100,
        backlog: 400,
        restart: 400,
        silence: Duration::from_secs(3),
        idle: 20,
        idle_time: Duration::from_secs(15),
        few: 20,
        many: 400,
        patience: Duration::from_secs(10),
        strict: false,
    };
}
