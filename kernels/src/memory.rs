//! What becomes of memory that is freed.

/// Has the C library keep memory that was freed for what is asked for next, where that is glibc. It gives much of it back to
/// the system otherwise, which hands out fresh pages one by one and zeroes each: tens of thousands in a training step with
/// small networks.
///
/// Pieces of 32 MB and more still come from the system and go back.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The most that glibc accepts.
        const LARGE: libc::c_int = 1 << 25;
        // SAFETY: settings of the allocator, which may be changed at any time.
        unsafe {
            let _ = libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            let _ = libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            let _ = libc::mallopt(libc::M_TOP_PAD, LARGE);
        }
    }
}
