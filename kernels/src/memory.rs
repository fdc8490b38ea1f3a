//! Where memory comes from, and what becomes of it when it is freed.

use std::ffi::c_int;

pub use mimalloc::MiMalloc as Allocator;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings leave out.
const PURGE_DELAY: c_int = 15;

/// Has the [`Allocator`] keep memory that was freed for what is asked for next. It gives it back to the system otherwise, which
/// hands out fresh pages one by one and zeroes each: tens of thousands in a training step with small networks.
pub fn keep_freed_memory() {
    // SAFETY: a setting of the allocator, which is read each time that it is needed.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_the_purge_delay() {
        // SAFETY: settings of the allocator may be read at any time.
        let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // Ten milliseconds, as mimalloc.h says; the settings before and after it are 1 and 0.
        assert_eq!(before, 10);
    }
}
