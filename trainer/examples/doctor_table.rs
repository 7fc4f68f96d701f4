//! The confusion table of the doctor.

fn main() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/shakespeare.txt")).unwrap();
    let only = std::env::args().nth(1).unwrap_or_default();
    let cache = std::env::args().nth(2).unwrap();
    for run in siskin_trainer::doctor::planted::RUNS.iter().filter(|r| r.name.contains(&only)) {
        let dir = std::path::Path::new(&cache).join(run.name.replace(' ', "_"));
        let t = std::time::Instant::now();
        let case = if dir.join("run").exists() { siskin_trainer::doctor::Case::read(&dir.join("run")) } else {
            std::fs::create_dir_all(&dir).unwrap();
            run.train(&text, false, &dir) };
        match case {
            Ok(case) => {
                println!("{} [{:?}] {:.1}s\n    {}", run.name, run.trouble, t.elapsed().as_secs_f64(), siskin_trainer::doctor::dump::dump(&case));
                for f in siskin_trainer::doctor::diagnose(&case) { println!("    >> {:?} {} since {}: {}; {}", f.trouble, f.place, f.first_step, f.evidence, siskin_trainer::doctor::flags(&f.remedy)); }
            }
            Err(e) => println!("{} [{:?}]: ERROR {e}", run.name, run.trouble),
        }
    }
}
