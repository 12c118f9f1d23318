//! Routes; has never heard of messages or sessions.

mod adj_rib_in;
mod adj_rib_out;
mod decision;
mod interner;
mod loc_rib;
mod path;
mod policy;
mod route;
mod table;

pub(crate) use adj_rib_out::{AdjRibOut, Outgoing};
pub(crate) use decision::local_pref;
pub(crate) use table::PrefixMap;

pub use adj_rib_in::{AdjRibIn, Announced};
pub use decision::{Ranked, Step, best, rank};
pub use interner::Interner;
pub use loc_rib::{Changed, LocRib};
pub use policy::{
    Action, CompiledPolicy, Decision, Match, Policy, PrefixMatch, Statement, Verdict,
};
pub use route::{Origination, Route, Source};

#[cfg(test)]
pub(crate) mod testing;
