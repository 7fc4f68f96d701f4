//! A team of threads that works on one range of items at a time.
//!
//! Threads live as long as the team. A job is announced by one atomic word, the gate; a worker that is awake joins by
//! incrementing the gate's count, takes chunks of items, and leaves. Every member begins with chunks of its own, the same
//! ones for every token, whose weights lie in caches near its core; then it helps the others.
//!
//! Three facts keep the team fast on a busy machine: the caller works too and closes the gate when no items are left, so a worker that the system has not scheduled is never
//! waited for; whoever waits spins for a bounded time, then sleeps; and after waiting for a worker that lost its core in
//! the middle of an item, the caller works alone for a while. Which thread computes an item never shows in the
//! result, since every item is computed alone.

use super::affinity;
use super::memory::Buffer;
use super::strip::Split;
use super::sync::*;
use super::thread::Thread;
use std::any::Any;
use std::ops::{Range, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// Most threads of a team.
pub const MAX_THREADS: usize = 256;
/// How long an idle worker spins for the next job, and how long the caller spins for the last workers. It covers
/// the serial parts of a step and the sampling of a token, and no more.
const SPIN: Duration = Duration::from_micros(60);
/// What a job costs is told in bytes of weights; a thread streams about this many in a nanosecond, from its caches.
const BYTES_PER_NS: usize = 40;
/// Bytes below which a job is not worth the half microsecond that sharing takes.
const WORTH_SHARING: usize = 64 << 10;
/// Chunks per thread, few for a short job and more for a long one: enough to even out threads of unequal speed.
const CHUNKS: RangeInclusive<usize> = 2..=16;
/// Bytes of work that a chunk should have before there are more of them.
const CHUNK: usize = 64 << 10;
/// Sharing a job of memory's speed saves a third of its time or more. When waiting for workers that the system had taken
/// off their cores costs more than one part in `GAIN` of what was shared, the caller works alone,
const GAIN: usize = 3;
/// for this many times the wait: trying again then costs a small part of its time, however busy the machine is.
const ALONE: usize = 16;
/// Most bytes to work alone, about 100 ms.
const ALONE_MAX: usize = 4 << 30;

// The gate: epoch in the upper half; below it two flags and the count of workers inside.
const OPEN: u64 = 1 << 31;
const WAITING: u64 = 1 << 30;
const STOP: u64 = 1 << 29;
const COUNT: u64 = (1 << 16) - 1;

/// A job without its types. Workers read it between entering and leaving the gate.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), Range<usize>, &mut [f32]),
    items: usize,
    chunk: usize,
}

/// All that a worker needs to join, on one cache line: it moves between two cores a handful of times per job.
#[repr(align(128))] // lines are fetched in pairs
struct Board {
    gate: AtomicU64,
    job: UnsafeCell<Job>,
}

struct Shared {
    board: Board,
    /// For each member of the team, the first of its own chunks that nobody has taken.
    cursors: Box<[AtomicUsize]>,
    sleepers: AtomicU32,
    /// Workers sleep here.
    idle: (Mutex<()>, Condvar),
    /// The caller sleeps here.
    done: (Mutex<()>, Condvar),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only while the gate is closed and empty, and read only by threads that are counted inside the
// gate; the gate's release and acquire operations order the two.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed inside the gate, while `Team::run` keeps its target alive.
unsafe impl Send for Shared {}

/// A team of threads; the caller of [`Team::run`] is its first member.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    scratch: Buffer<f32>,
    epoch: u32,
    /// Bytes of work shared since the last long wait for a worker.
    shared_bytes: usize,
    /// Bytes of work to do alone before sharing again.
    alone_bytes: usize,
}

/// What a member of the team is given besides its part of the output.
pub struct Work<'a> {
    /// The items to compute.
    pub items: Range<usize>,
    /// Scratch memory of this thread; holds whatever was left in it.
    pub scratch: &'a mut [f32],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Team {
    /// Starts a thread for each but the first of the scratch memories; that one is the caller's. With `pins`, thread `i`, of
    /// which the caller is the first, is bound to the CPU `pins[i]`, and so on in turn.
    ///
    /// # Errors
    /// What the system says when it refuses a thread or a binding; an error when `pins` names no CPU.
    ///
    /// # Panics
    /// When there are no scratch memories, or more than [`MAX_THREADS`].
    pub fn new(scratch: Vec<Buffer<f32>>, pins: Option<&[usize]>) -> std::io::Result<Team> {
        let n_threads = scratch.len();
        assert!((1..=MAX_THREADS).contains(&n_threads), "a team of {n_threads}");
        // SAFETY: it does nothing.
        unsafe fn nothing(_: *const (), _: Range<usize>, _: &mut [f32]) {}
        let shared = Arc::new(Shared {
            board: Board {
                gate: AtomicU64::new(0),
                job: UnsafeCell::new(Job { data: std::ptr::null(), call: nothing, items: 0, chunk: 1 }),
            },
            cursors: (0..n_threads).map(|_| AtomicUsize::new(0)).collect(),
            sleepers: AtomicU32::new(0),
            idle: (Mutex::new(()), Condvar::new()),
            done: (Mutex::new(()), Condvar::new()),
            panic: Mutex::new(None),
        });
        let mut scratch = scratch.into_iter();
        let mut team = Team {
            shared,
            workers: Vec::new(),
            scratch: scratch.next().expect("one for each thread"),
            epoch: 0,
            shared_bytes: 0,
            alone_bytes: 0,
        };
        // A new thread has its creator's binding; the caller binds itself in turn, to its own CPU last.
        let bind = |thread: usize| match pins {
            None => Ok(()),
            Some([]) => Err(std::io::Error::other("the system does not tell which cores to bind threads to")),
            Some(pins) => affinity::bind(pins[thread % pins.len()]),
        };
        for (thread, mut scratch) in (1..).zip(scratch) {
            bind(thread)?;
            let shared = team.shared.clone();
            team.workers.push(Thread::start(thread, move || shared.serve(thread, &mut scratch))?);
        }
        bind(0)?;
        Ok(team)
    }

    /// Threads, the caller included.
    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Computes items `0..items`, each exactly once, and returns when all are done.
    ///
    /// `cost` is about the bytes (or operations) of one item; small jobs stay with the caller. `f` gets the
    /// items and their part of `out`.
    ///
    /// # Panics
    /// When `f` panics on any thread, with its payload, after all threads have left the job.
    pub fn run<P, F>(&mut self, items: usize, cost: usize, out: P, f: F)
    where
        P: Split,
        F: Fn(Work, P::Part) + Sync,
    {
        if items == 0 {
            return;
        }
        let total = items.saturating_mul(cost);
        if self.n_threads() == 1 || items == 1 || total < WORTH_SHARING || self.alone_bytes > 0 {
            self.alone_bytes = self.alone_bytes.saturating_sub(total);
            // SAFETY: `out` is consumed, so this is its only part.
            let part = unsafe { out.part(0..items) };
            return f(Work { items: 0..items, scratch: &mut self.scratch }, part);
        }
        let chunks =
            (total / CHUNK / self.n_threads()).clamp(*CHUNKS.start(), *CHUNKS.end()) * self.n_threads();
        let task = (out, f);
        let job =
            Job { data: (&raw const task).cast(), call: call::<P, F>, items, chunk: items.div_ceil(chunks) };
        self.epoch = self.epoch.wrapping_add(1);
        // SAFETY: the previous `run` closed the gate and saw it empty, so no worker reads the job now.
        unsafe { self.shared.announce(self.epoch, job) };
        let mut closing = Closing { shared: &self.shared, waited: Duration::ZERO };
        // SAFETY: `task` lives until `closing` is dropped, which is after the last worker has left.
        unsafe { self.shared.take_chunks(job, 0, &mut self.scratch) };
        closing.close();
        let waited = closing.waited;
        drop(closing);
        self.weigh(total, waited);
        if let Some(payload) = lock(&self.shared.panic).take() {
            resume_unwind(payload);
        }
    }

    /// Decides after a job of `total` bytes and a wait for the last worker whether to go on sharing.
    fn weigh(&mut self, total: usize, waited: Duration) {
        self.shared_bytes = self.shared_bytes.saturating_add(total);
        let lost = (waited.as_nanos() as usize).saturating_mul(BYTES_PER_NS);
        // A worker that runs is at most one chunk behind; one that takes longer than the whole job has lost its core.
        if waited > SPIN && lost > total {
            if lost.saturating_mul(GAIN) > self.shared_bytes {
                self.alone_bytes = lost.saturating_mul(ALONE).min(ALONE_MAX);
            }
            self.shared_bytes = 0;
        }
    }
}

/// Runs the closure behind a job's pointer.
///
/// # Safety
/// `data` points to a live `(P, F)`, and each item is asked for once.
unsafe fn call<P: Split, F: Fn(Work, P::Part) + Sync>(
    data: *const (),
    items: Range<usize>,
    scratch: &mut [f32],
) {
    // SAFETY: the caller's promise.
    let (out, f) = unsafe { &*data.cast::<(P, F)>() };
    // SAFETY: the caller's promise.
    let part = unsafe { out.part(items.clone()) };
    f(Work { items, scratch }, part);
}

/// Closes the gate and waits for those inside, also when the caller's own share panics.
struct Closing<'a> {
    shared: &'a Shared,
    waited: Duration,
}

impl Closing<'_> {
    fn close(&mut self) {
        self.waited = self.shared.close();
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Opens the gate to a new job.
    ///
    /// # Safety
    /// The gate must be closed and empty.
    unsafe fn announce(&self, epoch: u32, job: Job) {
        // SAFETY: nobody is inside the gate, so nobody reads the job.
        self.board.job.with_mut(|place| unsafe { *place = job });
        for (member, cursor) in self.cursors.iter().enumerate() {
            cursor.store(self.own(job, member).start, Relaxed);
        }
        self.board.gate.store((epoch as u64) << 32 | OPEN, Release);
        // Between the store and the load, as in `wait_for_news`: either this thread sees the sleeper, or the sleeper sees
        // the epoch.
        fence(SeqCst);
        if self.sleepers.load(Relaxed) > 0 {
            drop(lock(&self.idle.0));
            self.idle.1.notify_all();
        }
    }

    /// Closes the gate and waits for those inside; says how long, or zero when it was too short for a look at the clock.
    fn close(&self) -> Duration {
        let gate = self.board.gate.fetch_and(!OPEN, AcqRel);
        let empty = || (self.board.gate.load(Acquire) & COUNT == 0).then_some(());
        if gate & COUNT == 0 || spin(empty).is_some() {
            return Duration::ZERO;
        }
        let start = Instant::now();
        if let (Some(()), waited) = spin_for(SPIN, empty) {
            return waited;
        }
        self.board.gate.fetch_or(WAITING, AcqRel);
        let mut guard = lock(&self.done.0);
        while self.board.gate.load(Acquire) & COUNT != 0 {
            guard = self.done.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        since(start)
    }

    /// The chunks that a member begins with: the same ones whenever the same job comes again, so that it finds the weights in
    /// the caches of its own core.
    fn own(&self, job: Job, member: usize) -> Range<usize> {
        let (chunks, members) = (job.items.div_ceil(job.chunk), self.cursors.len());
        member * chunks / members..(member + 1) * chunks / members
    }

    /// Works on the chunks of `member`, then on those that the others have not taken, until none is left.
    ///
    /// # Safety
    /// The job's data must outlive the call.
    unsafe fn take_chunks(&self, job: Job, member: usize, scratch: &mut [f32]) {
        let members = self.cursors.len();
        for owner in (member..members).chain(0..member) {
            let end = self.own(job, owner).end;
            loop {
                let chunk = self.cursors[owner].fetch_add(1, Relaxed);
                if chunk >= end {
                    break;
                }
                let start = chunk * job.chunk;
                // SAFETY: the data lives, and the cursors give every chunk to one thread only.
                unsafe { (job.call)(job.data, start..(start + job.chunk).min(job.items), scratch) };
            }
        }
    }

    /// A worker's life.
    fn serve(&self, member: usize, scratch: &mut [f32]) {
        let mut last = 0;
        loop {
            let gate = self.wait_for_news(last);
            if gate & STOP != 0 {
                return;
            }
            last = (gate >> 32) as u32;
            if self.enter(gate) {
                // SAFETY: this thread is counted inside the gate, so the job is not rewritten and its data lives.
                let work = catch_unwind(AssertUnwindSafe(|| unsafe {
                    let job = self.board.job.with(|job| *job);
                    self.take_chunks(job, member, scratch);
                }));
                if let Err(payload) = work {
                    *lock(&self.panic) = Some(payload);
                }
                self.leave();
            }
        }
    }

    /// Joins the job of `gate`, if it is still open.
    fn enter(&self, mut gate: u64) -> bool {
        let epoch = gate >> 32;
        while gate & OPEN != 0 && gate >> 32 == epoch {
            match self.board.gate.compare_exchange_weak(gate, gate + 1, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => gate = now,
            }
        }
        false
    }

    fn leave(&self) {
        let before = self.board.gate.fetch_sub(1, AcqRel);
        if before & WAITING != 0 && before & COUNT == 1 {
            drop(lock(&self.done.0));
            self.done.1.notify_one();
        }
    }

    /// Waits until the gate shows another epoch than `last`, or the order to stop.
    fn wait_for_news(&self, last: u32) -> u64 {
        let news = |gate: u64| (gate >> 32) as u32 != last || gate & STOP != 0;
        if let (Some(gate), _) =
            spin_for(SPIN, || Some(self.board.gate.load(Acquire)).filter(|gate| news(*gate)))
        {
            return gate;
        }
        let mut guard = lock(&self.idle.0);
        self.sleepers.fetch_add(1, Relaxed);
        fence(SeqCst);
        let gate = loop {
            let gate = self.board.gate.load(Acquire);
            if news(gate) {
                break gate;
            }
            guard = self.idle.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Relaxed);
        gate
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.board.gate.fetch_or(STOP, AcqRel);
        drop(lock(&self.shared.idle.0));
        self.shared.idle.1.notify_all();
        for worker in self.workers.drain(..) {
            worker.join();
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("n_threads", &self.n_threads()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::memory::Memory;
    use super::super::strip::Blocks;
    use super::*;

    fn team(n_threads: usize, scratch: usize) -> Team {
        let mut memory = Memory::new(n_threads * 64 + 64).unwrap();
        Team::new((0..n_threads).map(|_| memory.zeros(&[scratch]).unwrap()).collect(), None).unwrap()
    }

    #[test]
    fn every_item_is_computed_once_over_many_jobs() {
        for n_threads in 1..=4 {
            let mut team = team(n_threads, 4);
            for items in (0..200).chain([1000, 12345]) {
                let mut data = vec![0u32; items];
                team.run(items, 1 << 20, Blocks::new(&mut data, 1), |work, part| {
                    assert_eq!(work.scratch.len(), 4);
                    for (x, item) in part.iter_mut().zip(work.items) {
                        *x += item as u32 + 1;
                    }
                });
                assert!(
                    data.iter().enumerate().all(|(i, x)| *x == i as u32 + 1),
                    "{n_threads} threads, {items}"
                );
            }
        }
    }

    #[test]
    fn workers_wake_after_a_rest() {
        let mut team = team(3, 0);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            let mut data = vec![0u8; 64];
            team.run(64, 1 << 20, Blocks::new(&mut data, 1), |_, part| part.fill(1));
            assert_eq!(data, [1; 64]);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_survives() {
        let mut team = team(2, 0);
        for bad in [0, 63] {
            let mut data = vec![0u8; 64];
            let run = AssertUnwindSafe(|| {
                team.run(64, 1 << 20, Blocks::new(&mut data, 1), |work, _| {
                    assert!(!work.items.contains(&bad), "planted");
                });
            });
            assert!(catch_unwind(run).is_err());
        }
        let mut data = vec![0u8; 64];
        team.run(64, 1 << 20, Blocks::new(&mut data, 1), |_, part| part.fill(1));
        assert_eq!(data, [1; 64]);
    }
}
