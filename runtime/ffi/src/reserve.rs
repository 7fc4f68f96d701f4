//! The allocator of the C library: the system's, and a reserve for when that has nothing more.
//!
//! Memory whose size comes from input is asked for by functions that can fail. Besides, Rust programs make small allocations that
//! cannot: an `Arc`, a path, a name; when the system has no memory, they would end the process. Here they are served from a fixed
//! reserve instead, and the call that used it gives up before its results are kept ([`keepable`](crate::guard::keepable)), frees what it
//! made, and returns `NO_MEMORY`. The reserve is then whole again for the next call.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of the reserve.
const RESERVE: usize = 256 << 10;
/// It is given out in units of as many bytes, which is also the largest alignment.
const UNIT: usize = 128;
/// Most bytes that one allocation may take from it.
const LARGEST: usize = 8 << 10;
const UNITS: usize = RESERVE / UNIT;
const WORDS: usize = UNITS / 64;

#[global_allocator]
static ALLOCATOR: Reserve = Reserve {
    units: UnsafeCell::new(Units([0; RESERVE])),
    taken: UnsafeCell::new([0; WORDS]),
    n_taken: AtomicUsize::new(0),
    locked: AtomicBool::new(false),
};

thread_local! {
    /// Units that this thread's current call has taken and not given back.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// Begins a call: false when there is too little left to serve it.
pub(crate) fn begin() -> bool {
    HELD.set(0);
    ALLOCATOR.n_taken.load(Ordering::Relaxed) <= UNITS / 2
}

/// Units that the current call holds.
pub(crate) fn held() -> isize {
    HELD.get()
}

#[repr(C, align(128))]
struct Units([u8; RESERVE]);

struct Reserve {
    units: UnsafeCell<Units>,
    /// A bit for each unit, under the lock.
    taken: UnsafeCell<[u64; WORDS]>,
    n_taken: AtomicUsize,
    locked: AtomicBool,
}

// SAFETY: the bits are reached under the lock only, and a unit belongs to whoever its bit was set for.
unsafe impl Sync for Reserve {}

impl Reserve {
    /// Runs `f` with the bits to itself. It takes a few instructions, so others spin meanwhile.
    fn with_bits<T>(&self, f: impl FnOnce(&mut [u64; WORDS]) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = f(unsafe { &mut *self.taken.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    #[cold]
    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST || layout.align() > UNIT {
            return null_mut();
        }
        let n = layout.size().div_ceil(UNIT).max(1);
        let found = self.with_bits(|bits| {
            let is_free = |unit: usize, bits: &[u64; WORDS]| bits[unit / 64] >> (unit % 64) & 1 == 0;
            let mut run = 0;
            for unit in 0..UNITS {
                run = if is_free(unit, bits) { run + 1 } else { 0 };
                if run == n {
                    let first = unit + 1 - n;
                    (first..=unit).for_each(|unit| bits[unit / 64] |= 1 << (unit % 64));
                    return Some(first);
                }
            }
            None
        });
        let Some(first) = found else { return null_mut() };
        self.n_taken.fetch_add(n, Ordering::Relaxed);
        HELD.set(HELD.get() + n as isize);
        // SAFETY: the unit lies inside the reserve.
        unsafe { self.units.get().cast::<u8>().add(first * UNIT) }
    }

    fn has(&self, data: *mut u8) -> bool {
        data.addr().wrapping_sub(self.units.get().addr()) < RESERVE
    }

    #[cold]
    fn give_back(&self, data: *mut u8, layout: Layout) {
        let first = (data.addr() - self.units.get().addr()) / UNIT;
        let n = layout.size().div_ceil(UNIT).max(1);
        self.with_bits(|bits| (first..first + n).for_each(|unit| bits[unit / 64] &= !(1 << (unit % 64))));
        self.n_taken.fetch_sub(n, Ordering::Relaxed);
        HELD.set(HELD.get() - n as isize);
    }
}

// SAFETY: what the system gives is the system's; else units that nobody else has, aligned to 128 and large enough.
unsafe impl GlobalAlloc for Reserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let data = unsafe { System.alloc(layout) };
        if data.is_null() { self.take(layout) } else { data }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let mut data = unsafe { System.alloc_zeroed(layout) };
        if data.is_null() {
            data = self.take(layout);
            if !data.is_null() {
                // SAFETY: the units have as many bytes.
                unsafe { data.write_bytes(0, layout.size()) };
            }
        }
        data
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        if self.has(data) {
            return self.give_back(data, layout);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(data, layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.has(data) {
            // SAFETY: the caller's promise.
            let moved = unsafe { System.realloc(data, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller's promise: the size, rounded up to the alignment, is a possible one.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as in `alloc`, and both have as many bytes as are copied.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(data, layout.size().min(size));
                self.dealloc(data, layout);
            }
            moved
        }
    }
}
