fn main() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/shakespeare.txt")).unwrap();
    let only = std::env::args().nth(1).unwrap_or_default();
    for run in siskin_trainer::doctor::planted::RUNS.iter().filter(|r| r.name.contains(&only)) {
        let dir = tempfile::tempdir().unwrap();
        let t = std::time::Instant::now();
        match run.train(&text, false, dir.path()) {
            Ok(case) => println!("{} [{:?}] {:.1}s\n    {}", run.name, run.trouble, t.elapsed().as_secs_f64(), siskin_trainer::doctor::dump::dump(&case)),
            Err(e) => println!("{} [{:?}]: ERROR {e}", run.name, run.trouble),
        }
    }
}
