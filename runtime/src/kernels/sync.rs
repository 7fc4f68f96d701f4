//! What the thread team synchronizes by: the standard library's means, or those of loom, which runs a test through every
//! order in which its threads may meet (`make loom`).

use std::time::{Duration, Instant};

#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};
#[cfg(not(loom))]
pub(super) use std::{
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, fence},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

/// The standard library's cell by loom's functions.
#[cfg(not(loom))]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Looks at `f` again and again, for some hundred cycles; loom looks once.
pub(super) fn spin<R>(mut f: impl FnMut() -> Option<R>) -> Option<R> {
    let looks = if cfg!(loom) { 1 } else { 64 };
    (0..looks).find_map(|_| {
        std::hint::spin_loop();
        f()
    })
}

/// Spins until `f` gives something, at most for `limit`. Tells how long it took, which is nothing for loom.
pub(super) fn spin_for<R>(limit: Duration, mut f: impl FnMut() -> Option<R>) -> (Option<R>, Duration) {
    let start = Instant::now();
    loop {
        let found = spin(&mut f);
        let elapsed = since(start);
        if found.is_some() || elapsed >= limit || cfg!(loom) {
            return (found, elapsed);
        }
    }
}

/// Time since `start`; time stands still for loom, whose runs must not depend on it.
pub(super) fn since(start: Instant) -> Duration {
    if cfg!(loom) { Duration::ZERO } else { start.elapsed() }
}
