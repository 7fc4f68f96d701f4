//! What this machine can do at most, measured: the limits that a model's speed is compared with.

use crate::kernels::peak::{Line, Loops};
use crate::kernels::{Isa, MAX_THREADS};
use std::io;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long a measurement lasts, at least.
const DURATION: Duration = Duration::from_millis(10);
/// Multiply-adds between looks at the clock.
const MULTIPLY_ADDS: usize = 1 << 20;

/// Measures the limits of this machine for one instruction set. A measurement takes some milliseconds; take several.
pub struct Machine {
    loops: Loops,
    lines: Vec<Line>,
}

impl Machine {
    /// Prepares measurements that read up to `bytes` of memory.
    ///
    /// # Errors
    /// When the memory is not to be had.
    ///
    /// # Panics
    /// When this CPU does not have `isa`.
    pub fn new(isa: Isa, bytes: usize) -> io::Result<Machine> {
        let loops = Loops::of(isa).expect("an instruction set of this CPU");
        let mut lines = Vec::new();
        let n = (bytes / size_of::<Line>()).max(1);
        lines.try_reserve_exact(n).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // Written, so that every page is there.
        lines.resize(n, Line([1; 8]));
        Ok(Machine { loops, lines })
    }

    /// Bytes per second at which `threads` threads together read the first `bytes`, each its own part of them, again and
    /// again: out of caches where they fit, else out of memory.
    ///
    /// # Panics
    /// When `threads` is 0 or above [`MAX_THREADS`].
    pub fn read(&self, bytes: usize, threads: usize) -> f64 {
        let lines = &self.lines[..(bytes / size_of::<Line>()).clamp(1, self.lines.len())];
        let part = lines.len().div_ceil(threads);
        rate(threads, |thread| {
            let part = lines.chunks(part).nth(thread).unwrap_or(&[]);
            (self.loops.read)(part);
            size_of_val(part)
        })
    }

    /// Operations on bytes per second of `threads` threads; a multiply-add is two.
    ///
    /// # Panics
    /// As [`Machine::read`].
    pub fn int8(&self, threads: usize) -> f64 {
        rate(threads, |_| 2 * self.loops.int8.run(MULTIPLY_ADDS))
    }

    /// Operations on `f32` per second; a multiply-add is two.
    ///
    /// # Panics
    /// As [`Machine::read`].
    pub fn f32(&self, threads: usize) -> f64 {
        rate(threads, |_| 2 * self.loops.f32.run(MULTIPLY_ADDS))
    }
}

/// What `threads` threads together do per second, each calling `f(thread)`, which says how much it did, for a while.
fn rate(threads: usize, f: impl Fn(usize) -> usize + Sync) -> f64 {
    assert!((1..=MAX_THREADS).contains(&threads), "{threads} threads");
    let barrier = Barrier::new(threads);
    let run = |thread| {
        f(thread); // fills caches
        barrier.wait();
        let (begun, mut done) = (Instant::now(), 0);
        while begun.elapsed() < DURATION {
            done += f(thread);
        }
        done as f64 / begun.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        run(0) + others.into_iter().map(|other| other.join().expect("a loop does not panic")).sum::<f64>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_a_computer() {
        let isa = Isa::available().last().expect("scalar at least");
        let machine = Machine::new(isa, 1 << 20).unwrap();
        for threads in [1, 2] {
            for limit in [machine.read(1 << 20, threads), machine.int8(threads), machine.f32(threads)] {
                assert!((1e7..1e14).contains(&limit), "{limit}");
            }
        }
    }

    #[test]
    fn few_lines_suffice_for_many_threads() {
        let machine = Machine::new(Isa::Scalar, 100).unwrap();
        assert!(machine.read(100, 3) > 0.0);
    }
}
