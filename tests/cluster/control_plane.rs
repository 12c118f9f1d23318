//! The control plane of the lab itself works.
