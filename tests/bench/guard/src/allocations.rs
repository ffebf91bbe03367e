//! Counting allocations.
#![allow(unsafe_code, reason = "only an allocator sees every allocation")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    COUNT.set(COUNT.get() + 1);
    BYTES.set(BYTES.get() + bytes as u64);
}

// SAFETY: Everything is the system's allocator's; the counters are plain numbers of this thread and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: The caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: The caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: The caller's promise is the same.
        unsafe { System.dealloc(block, layout) }
    }

    /// A block that grows counts as a new one of its new size: it may be copied.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: The caller's promise is the same.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The allocations of one run, and their bytes.
pub(crate) fn of(case: &mut dyn FnMut()) -> (u64, u64) {
    let before = (COUNT.get(), BYTES.get());
    case();
    (COUNT.get() - before.0, BYTES.get() - before.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn an_allocation_is_seen_and_one_that_grows_again() {
        assert_eq!(of(&mut || ()), (0, 0));
        assert_eq!(of(&mut || drop(black_box(Vec::<u8>::with_capacity(100)))), (1, 100));
        let grown = of(&mut || {
            let mut bytes = black_box(Vec::<u8>::with_capacity(8));
            bytes.reserve_exact(64);
            black_box(bytes);
        });
        assert_eq!(grown, (2, 72));
    }
}
