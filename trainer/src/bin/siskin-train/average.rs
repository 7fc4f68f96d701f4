//! `average`: the mean of several runs' weights as a file, beside what each of them is worth.

use siskin_format::DType;
use siskin_format::receipt::{Origin, Receipt};
use siskin_format::xxh64::xxh64;
use siskin_trainer::Result;
use siskin_trainer::export::{MAX_MEASURED, Trained};
use siskin_trainer::progress::thousands;
use siskin_trainer::train::run::texts_of;
use siskin_trainer::train::trained::TrainedRun;
use siskin_trainer::verify::Measured;

use crate::args::AverageArgs;

pub fn average(args: AverageArgs) -> Result<()> {
    let runs = args.runs.iter().map(|run| TrainedRun::open(run)).collect::<Result<Vec<_>>>()?;
    let weights = TrainedRun::mean(&runs)?;
    let (config, vocab) = (&runs[0].config.model, &runs[0].vocab);
    let threads = args.threads.unwrap_or(runs[0].config.threads);
    let texts = texts_of(&runs[0].meta, false)?;
    let held_out = texts.held_out(vocab, MAX_MEASURED)?;
    let mut ids = vec![0; held_out.len() as usize];
    held_out.read(0, &mut ids)?;
    for run in runs.iter().filter(|_| ids.len() > 1) {
        let trained = Trained { config, vocab, weights: &run.store.values };
        let loss = Measured::from_bytes(trained.to_bytes(DType::F32)?)?.loss(&ids, threads)?.0;
        println!(
            "{}: loss {loss:.4} by the runtime, float, after {} updates",
            run.name(),
            run.meta.trainer.step
        );
    }
    let trained = Trained { config, vocab, weights: &weights };
    let dtype = DType::from_name(&args.dtype).expect("clap checked the spelling");
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let names: Vec<String> = runs.iter().map(TrainedRun::name).collect();
    let receipt = Receipt {
        producer: Some(format!("siskin-train {}", env!("CARGO_PKG_VERSION"))),
        sources: texts.sources(),
        origin: Some(Origin { name: format!("mean of {}", names.join(", ")), hash: xxh64(&bytes) }),
        ..Receipt::default()
    };
    let exported = trained.export(&args.output, dtype, receipt, ("validation part", &held_out), threads)?;
    let file = args.output.display();
    println!(
        "exported {file}: {dtype}, {} bytes, the mean of {} runs",
        thousands(exported.bytes as f64),
        runs.len()
    );
    crate::train::print_losses(&exported, dtype);
    eprintln!("next: siskin run {file}");
    Ok(())
}
