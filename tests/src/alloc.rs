//! An allocator for test programs: it counts what each thread holds, and refuses an allocation on request.
//!
//! A program installs it with `#[global_allocator] static ALLOCATOR: Counting = Counting;`. Without that, everything
//! here counts nothing and refuses nothing.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with an eye on it. Each thread has its own counters, so that tests side by side do not
/// disturb each other.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static REFUSAL: Cell<Refusal> = const { Cell::new(Refusal { least: usize::MAX, left: 0 }) };
}

/// Refuses one allocation of at least `least` bytes, after `left` others of that size.
#[derive(Clone, Copy)]
struct Refusal {
    least: usize,
    left: usize,
}

fn count(grown: usize, shrunk: usize) {
    // A thread that is ending has no counters any more.
    let _ = LIVE.try_with(|live| {
        live.set((live.get() + grown).saturating_sub(shrunk));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

/// Whether this allocation is the one to refuse.
fn is_refused(size: usize) -> bool {
    let decide = |cell: &Cell<Refusal>| {
        let mut refusal = cell.get();
        if size < refusal.least {
            return false;
        }
        match refusal.left.checked_sub(1) {
            Some(left) => refusal.left = left,
            None => refusal.least = usize::MAX,
        }
        cell.set(refusal);
        refusal.least == usize::MAX
    };
    REFUSAL.try_with(decide).unwrap_or(false)
}

// SAFETY: every call goes to the system's allocator unchanged, or returns null, which callers must expect; counting
// allocates nothing (const-initialised cells).
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's promises are those of `System.alloc`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        count(layout.size(), 0);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller's promises are those of `System.alloc_zeroed`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        count(layout.size(), 0);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the caller's promises are those of `System.dealloc`.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `work` gives, and the most bytes that this thread held at once during it, beyond what it held before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get().saturating_sub(before))
}

/// What `work` gives when, of its allocations of `least` bytes or more on this thread, the one after the first `n` is
/// refused; and whether it came to that.
pub fn refusing<T>(n: usize, least: usize, work: impl FnOnce() -> T) -> (T, bool) {
    REFUSAL.set(Refusal { least, left: n });
    let result = work();
    let refused = REFUSAL.replace(Refusal { least: usize::MAX, left: 0 }).least == usize::MAX;
    (result, refused)
}
