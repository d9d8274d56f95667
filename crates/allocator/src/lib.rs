//! The memory allocator of Transplant's programs.
//!
//! Training frees and takes the same large blocks in every step. The system's allocator returns them to the system, and
//! getting them back, zeroed page by page, costs up to a quarter of a step. A program that links this crate uses mimalloc,
//! and one that calls [`keep_freed_memory`] keeps what was freed.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's option `purge_delay`: milliseconds until freed memory returns to the system, or -1 for never. The bindings leave
/// it out; it stands before `use_numa_nodes`, as the test shows.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed blocks for the next request instead of returning them to the system. Call it once, first thing.
pub fn keep_freed_memory() {
    #[allow(unsafe_code, reason = "mimalloc's options have no safe interface")]
    // SAFETY: the option exists in every mimalloc since 2.1, takes any integer, and may be set at any time.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_purge_delay() {
        assert_eq!(libmimalloc_sys::mi_option_use_numa_nodes - 1, PURGE_DELAY);
        keep_freed_memory();
        #[allow(unsafe_code, reason = "mimalloc's options have no safe interface")]
        // SAFETY: reading an option that exists has no further condition.
        let value = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(value, -1);
    }
}
