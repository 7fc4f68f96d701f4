//! A session allocates what it said it would, and a step allocates nothing, on any thread, for every family.

// A global allocator cannot be written without it.
#![allow(unsafe_code)]

mod common;

use siskin::{Batch, Session, SessionOptions};
use siskin_format::DType;
use siskin_format::config::Position;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps the promise of `GlobalAlloc`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps the promise of `GlobalAlloc`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the caller keeps the promise of `GlobalAlloc`.
    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(data, layout, size) }
    }

    // SAFETY: the caller keeps the promise of `GlobalAlloc`.
    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        count(0);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(data, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `make` takes, which must be what was told. Beside the buffers there are the lists of them, the team and what
/// starting a thread takes.
fn made<T>(name: &str, told: usize, make: impl FnOnce() -> T) -> T {
    let before = BYTES.load(Ordering::Relaxed);
    let made = make();
    let taken = BYTES.load(Ordering::Relaxed) - before;
    assert!((told..told + (8 << 10)).contains(&taken), "{name}: {taken} bytes, told {told}");
    // Threads allocate while they start; let them come to rest.
    std::thread::sleep(std::time::Duration::from_millis(20));
    made
}

/// Runs steps, which must not allocate.
fn steps(name: &str, run: impl FnOnce()) {
    let before = CALLS.load(Ordering::Relaxed);
    run();
    assert_eq!(CALLS.load(Ordering::Relaxed) - before, 0, "{name}");
}

/// One test function, so that no other test allocates meanwhile.
#[test]
fn a_step_allocates_nothing() {
    let seq2seq = ("seq2seq", common::seq2seq(Position::Learned));
    for (name, config) in common::models().into_iter().chain([seq2seq]) {
        let source: &[u32] = if config.has_encoder() { &[4; 90] } else { &[] };
        for dtype in DType::ALL {
            let model = common::model(&config, dtype, 1);
            for threads in [1, 2] {
                let name = format!("{name} {dtype} with {threads} threads");
                let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
                let told = model.session_bytes(&options).unwrap();
                let mut session = made(&name, told, || Session::new(model.clone(), &options).unwrap());
                steps(&name, || {
                    if !source.is_empty() {
                        session.encode(source).unwrap();
                    }
                    session.forward(&[1, 2, 3, 4, 5, 6, 7]).unwrap();
                    for token in 0..40 {
                        session.forward(&[token]).unwrap();
                    }
                    session.forward_each(&[9; 20], |_, _| ()).unwrap();
                    if session.context().is_none() {
                        // Far enough for caches to move.
                        session.forward(&[9; 250]).unwrap();
                        (0..60).for_each(|token| assert!(session.forward(&[token]).is_ok()));
                    }
                    session.reset();
                    if !source.is_empty() {
                        session.encode(&source[..1]).unwrap();
                    }
                    session.forward(&[0]).unwrap();
                });
                // In the caller's memory, a session takes only what does not depend on its size.
                let memory = vec![0xA5; told + 1].leak();
                made(&name, 0, || Session::new_in(model.clone(), &options, &mut memory[1..]).unwrap());
                let options = SessionOptions { batch: 16, ctx: Some(120), ..options };
                let told = model.batch_bytes(5, &options).unwrap();
                let mut batch = made(&name, told, || Batch::new(model.clone(), 5, &options).unwrap());
                steps(&name, || {
                    let mut encode = |slot| {
                        if !source.is_empty() {
                            batch.encode(slot, source).unwrap();
                        }
                    };
                    (0..5).for_each(&mut encode);
                    batch.forward(&[(3, &[1; 50]), (0, &[2; 7]), (4, &[3])]).unwrap();
                    for token in 0..20 {
                        batch.forward(&[(0, &[token]), (3, &[5]), (4, &[6]), (1, &[token, 7])]).unwrap();
                    }
                    batch.reset(3).unwrap();
                    if !source.is_empty() {
                        batch.encode(3, source).unwrap();
                    }
                    batch.forward(&[(2, &[8; 90]), (3, &[9; 90])]).unwrap();
                });
            }
        }
    }
}
