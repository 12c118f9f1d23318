//! What the allocator keeps for itself. Thousands of objects are read in one go, and what that took must not stay ours.

/// Settles how the allocator works. To be called before there is a second thread.
pub fn begin() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // An arena for each thread keeps each thread's peak; a few threads share one well enough.
        // SAFETY: changes a parameter of the C library's allocator, which may be done at any time.
        let _taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Gives memory that nothing is in back to the system. Takes a few milliseconds at most.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: touches only what is free, under the allocator's own locks.
        let _released = unsafe { libc::malloc_trim(0) };
    }
}
