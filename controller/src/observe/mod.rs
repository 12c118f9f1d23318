//! The state of a running Fairway, for people and their tools.

pub mod shapes;
