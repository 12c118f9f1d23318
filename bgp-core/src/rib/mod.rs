//! Routes; has never heard of messages or sessions.

mod policy;
mod route;

pub use policy::{Action, Match, Policy, PrefixMatch, Statement, Verdict};
pub use route::{Origination, Route, Source};
// helper "rib": adj_rib_in.rs, loc_rib.rs, adj_rib_out.rs, decision.rs, interner.rs
