//! One allocation for equal values.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Hands out the same [`Arc`] for equal values, so that a table of many routes holds few attribute sets.
///
/// Values that nobody else holds any more are dropped in sweeps whose cost is spread over the additions: at most about
/// twice as many values are kept as were alive at the last sweep.
#[derive(Debug)]
pub struct Interner<T> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

/// Below so many values a sweep is not worth its time.
const SMALLEST_SWEEP: usize = 64;

impl<T: Eq + Hash> Interner<T> {
    /// Holds nothing.
    pub fn new() -> Self {
        Self {
            values: HashSet::new(),
            sweep_at: SMALLEST_SWEEP,
        }
    }

    /// The shared form of a value.
    pub fn intern(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.values.get(&value) {
            return Arc::clone(known);
        }
        self.add(Arc::new(value))
    }

    /// As [`intern`](Self::intern), for a value that is shared already: the allocation is kept where it is the first.
    pub fn intern_shared(&mut self, value: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(value) {
            return Arc::clone(known);
        }
        self.add(Arc::clone(value))
    }

    /// Drops the values that nobody else holds.
    pub fn sweep(&mut self) {
        self.values.retain(|value| Arc::strong_count(value) > 1);
        self.sweep_at = SMALLEST_SWEEP.max(self.values.len() * 2);
        self.values.shrink_to(self.sweep_at);
    }

    /// Sweeps after so many holders have gone at once, unless there are far more values than that to look at.
    pub fn sweep_after(&mut self, gone: usize) {
        if self.values.len() <= gone.saturating_mul(4) {
            self.sweep();
        }
    }

    /// How many values are kept, dead ones included until the next sweep.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn add(&mut self, value: Arc<T>) -> Arc<T> {
        if self.values.len() >= self.sweep_at {
            self.sweep();
        }
        self.values.insert(Arc::clone(&value));
        value
    }
}

impl<T: Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_one_allocation() {
        let mut interner = Interner::new();
        let first = interner.intern("a".to_owned());
        assert!(Arc::ptr_eq(&first, &interner.intern("a".to_owned())));
        assert!(Arc::ptr_eq(
            &first,
            &interner.intern_shared(&Arc::new("a".to_owned()))
        ));
        assert!(!Arc::ptr_eq(&first, &interner.intern("b".to_owned())));
    }

    #[test]
    fn values_that_nobody_holds_do_not_pile_up() {
        let mut interner = Interner::new();
        let kept = interner.intern(u64::MAX);
        for value in 0..100_000_u64 {
            drop(interner.intern(value));
        }
        assert!(interner.len() <= SMALLEST_SWEEP);
        assert!(Arc::ptr_eq(&kept, &interner.intern(u64::MAX)));
        interner.sweep();
        assert_eq!(interner.len(), 1);
    }
}
