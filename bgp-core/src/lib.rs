//! A sans-IO BGP-4 speaker (RFC 4271): bytes and time in, bytes and events out.
//!
//! The crate opens no socket, reads no clock and draws no randomness of its own. An embedder owns a [`Speaker`],
//! tells it what happened ([`Speaker::handle`]), performs what it asks for ([`Speaker::poll_output`]) and calls it
//! again no later than [`Speaker::next_deadline`].
//!
//! | module | its one job |
//! |---|---|
//! | [`types`] | BGP's words with their own rules, no bytes |
//! | [`codec`] | the cursor and the buffer; the only code that indexes octets |
//! | [`attribute`] | path attributes: type, decode, encode |
//! | [`capability`] | OPEN capabilities, the same shape |
//! | [`message`] | the five messages and the framer |
//! | [`fsm`] | one TCP connection (RFC 4271 section 8) |
//! | [`peer`] | one neighbour and its at most two connections |
//! | [`rib`] | routes: Adj-RIB-In, Loc-RIB, Adj-RIB-Out, policy, decision |
//! | [`speaker`] | peers and routes together |

#![forbid(unsafe_code)]

pub mod attribute;
pub mod capability;
pub mod codec;
pub mod fsm;
pub mod message;
pub mod peer;
pub mod rib;
pub mod speaker;
pub mod types;

pub use message::Message;
pub use peer::PeerConfig;
pub use rib::{Policy, Route};
pub use speaker::{Input, Output, Speaker, SpeakerConfig};
pub use types::{Asn, Family, HoldTime, Nlri, Prefix, RouterId};
