//! Tells whoever waits that something visible changed, without saying what.

use tokio::sync::watch;

/// Counts changes. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Changes {
    version: watch::Sender<u64>,
}

impl Default for Changes {
    fn default() -> Self {
        // Zero is what a client knows that has seen nothing.
        Self {
            version: watch::channel(1).0,
        }
    }
}

impl Changes {
    /// Something changed.
    pub fn announce(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// The number of the last change.
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Waits until the version is another than `seen`, at once where it already is, and returns it. Another process's
    /// numbers (greater than ours) count as not seen.
    pub async fn after(&self, seen: u64) -> u64 {
        let mut versions = self.version.subscribe();
        // The sender is `self`, so waiting cannot fail; the current version would be the answer if it did.
        versions
            .wait_for(|version| *version != seen)
            .await
            .map_or(seen, |version| *version)
    }
}
