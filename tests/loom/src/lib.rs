//! The thread team of the runtime under loom: every order in which the threads of a small team may meet, up to a number of
//! preemptions. `make loom` runs it.
//!
//! The sources are the runtime's own. This is a workspace of its own so that nothing of loom enters the project's lock file.

#![cfg(all(test, loom))]

#[path = "../../../runtime/src/kernels"]
#[allow(dead_code)] // as much as the team needs
mod kernels {
    mod affinity;
    pub mod memory;
    pub mod strip;
    mod sync;
    pub mod team;
    mod thread;
}

use kernels::memory::Memory;
use kernels::strip::Split;
use kernels::team::Team;
use loom::cell::UnsafeCell;
use loom::model::Builder as Model;
use std::ops::Range;

fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut model = Model::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}

fn team(n_threads: usize) -> Team {
    let mut memory = Memory::new(n_threads * 64 + 64).unwrap();
    Team::new((0..n_threads).map(|_| memory.zeros(&[1]).unwrap()).collect(), None).unwrap()
}

/// An output without memory of its own: what is written is for loom to watch.
struct Watched;

// SAFETY: its parts are nothing.
unsafe impl Split for Watched {
    type Part = ();

    // SAFETY: there is nothing to promise.
    unsafe fn part(&self, _: Range<usize>) {}
}

/// Jobs follow each other; each item is computed once, and what a worker wrote is seen by the caller. loom reports
/// accesses to a cell that nothing orders, and threads that wait forever.
fn jobs(n_threads: usize, jobs: usize, items: usize) {
    let mut team = team(n_threads);
    let cells: Vec<_> = (0..items).map(|_| UnsafeCell::new(0u32)).collect();
    let cells = Cells(&cells);
    for _ in 0..jobs {
        team.run(items, 1 << 20, Watched, |work, ()| {
            for item in work.items {
                // SAFETY: loom checks that nobody else has the cell.
                cells.get(item).with_mut(|count| unsafe { *count += 1 });
            }
        });
    }
    for item in 0..items {
        // SAFETY: as above.
        assert_eq!(cells.get(item).with(|count| unsafe { *count }), jobs as u32);
    }
}

struct Cells<'a>(&'a [UnsafeCell<u32>]);

// SAFETY: loom checks every access.
unsafe impl Sync for Cells<'_> {}

impl Cells<'_> {
    fn get(&self, item: usize) -> &UnsafeCell<u32> {
        &self.0[item]
    }
}

#[test]
fn two_threads_share_two_jobs() {
    explore(3, || jobs(2, 2, 2));
}

#[test]
fn three_threads_share_a_job() {
    explore(2, || jobs(3, 1, 3));
}

#[test]
fn a_team_without_work_ends() {
    explore(4, || drop(team(3)));
}
