//! An idle session uses no CPU, and a session may bind its threads; alone in this file, since they look at the whole process.

mod common;

use siskin::{Session, SessionOptions};
use siskin_format::{BlockConfig, DType};
use std::time::Duration;

/// A session whose products are worth sharing.
fn session(pin: bool) -> Session {
    let model =
        common::model(&common::config(256, vec![BlockConfig::Lstm(common::cell(256))]), DType::F32, 3);
    let options = SessionOptions { threads: Some(2), pin, ..SessionOptions::default() };
    Session::new(model, &options).unwrap()
}

/// CPU seconds of all threads of this process.
#[cfg(target_os = "linux")]
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    });
    nanoseconds.sum::<f64>() * 1e-9
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_session_uses_no_cpu_and_pinned_threads_compute_the_same() {
    let mut session = session(false);
    let expected: Vec<f32> =
        (0..50).flat_map(|token| session.forward(&[token % 8]).unwrap().to_vec()).collect();
    std::thread::sleep(Duration::from_millis(100)); // spinning ends
    let before = cpu_seconds();
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_seconds() - before;
    assert!(used < 0.005, "an idle second took {used} s of CPU");

    let mut pinned = self::session(true);
    let found: Vec<f32> = (0..50).flat_map(|token| pinned.forward(&[token % 8]).unwrap().to_vec()).collect();
    assert_eq!(found, expected);
}

#[cfg(not(target_os = "linux"))]
#[test]
fn binding_threads_is_refused_with_a_reason() {
    let model = session(false).model().clone();
    let options = SessionOptions { pin: true, ..SessionOptions::default() };
    let error = Session::new(model, &options).unwrap_err().to_string();
    assert!(error.contains("Linux") || error.contains("cores"), "{error}");
}
