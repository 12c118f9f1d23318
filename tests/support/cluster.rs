//! A cluster for one test.
