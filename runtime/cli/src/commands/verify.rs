//! `siskin verify`: is this file whole, and does it do here what it did where it was made?

use crate::args::VerifyArgs;
use crate::memory;
use crate::open;
use crate::out::{Failure, Out, next};
use crate::units;
use serde_json::json;
use siskin::SessionOptions;
use siskin::replay::{self, Outcome};
use siskin_format::header::Section;
use siskin_format::{Error, File};

/// One check: what was looked at, and what is wrong about it.
struct Check {
    name: String,
    problem: Option<String>,
}

/// Checks checksums, values and golden runs; one line each.
pub fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    siskin::isa_name()?;
    let path = &args.model.model;
    memory::check_file(&args.model)?;
    let file = open::file(path, !args.model.no_mmap)?;
    let mut out = Out::new();
    let mut checks = Vec::new();
    let mut done = |check: Check| -> Result<(), Failure> {
        if !args.json {
            match &check.problem {
                None => out.line(format_args!("ok    {}", check.name))?,
                Some(problem) => out.line(format_args!("FAIL  {}: {problem}", check.name))?,
            }
            out.flush()?;
        }
        checks.push(check);
        Ok(())
    };
    for check in opened(&file).into_iter().chain(weights(&file)) {
        done(check)?;
    }
    let model = open::model_of(file, path)?;
    if !model.file().receipt().golden.is_empty() {
        let options = SessionOptions { threads: args.threads, ..SessionOptions::default() };
        memory::check_session(&args.model, model.session_bytes(&options)?)?;
    }
    for (index, golden) in model.file().receipt().golden.iter().enumerate() {
        let run = units::plural(golden.n_tokens, "token");
        let prompt = units::plural(golden.prompt.len() as u64, "token");
        done(Check {
            name: format!("golden run {index}: {run} after a prompt of {prompt}"),
            problem: problem(replay::verify_one(&model, golden, args.threads)),
        })?;
    }
    let n_golden = model.file().receipt().golden.len();
    let failed = checks.iter().filter(|check| check.problem.is_some()).count();
    if args.json {
        let list: Vec<_> = checks.iter().map(|c| json!({"check": c.name, "problem": c.problem})).collect();
        out.json(&json!({
            "checks": list, "ok": failed == 0, "golden_runs": n_golden, "isa": siskin::isa_name()?,
        }))?;
    } else if n_golden == 0 {
        out.line("none  golden runs: the receipt lists none to replay")?;
    }
    out.flush()?;
    if failed > 0 {
        return Err(Failure::Failed(format!(
            "{}: {failed} of {} failed; copy the file again, and if that does not help export it again",
            path.display(),
            units::plural(checks.len() as u64, "check")
        )));
    }
    next(format_args!("siskin run {} -p PROMPT", units::quoted(path)));
    Ok(())
}

/// What opening the file has already checked.
fn opened(file: &File) -> Vec<Check> {
    let mut checks = vec![Check { name: "header and section directory".into(), problem: None }];
    for info in file.sections().iter().filter(|info| info.section != Section::TensorData) {
        checks.push(Check {
            name: format!("{} section, checksum {:016x}", info.section.name(), info.checksum),
            problem: None,
        });
    }
    checks
}

/// The weights: their checksum, then each number.
fn weights(file: &File) -> Vec<Check> {
    let info = &file.sections()[Section::TensorData.code() as usize - 1];
    let checksum = format!("{} section, checksum {:016x}", info.section.name(), info.checksum);
    let values = format!("values of {}", units::plural(file.tensors().len() as u64, "tensor"));
    match file.verify() {
        Ok(()) => vec![Check { name: checksum, problem: None }, Check { name: values, problem: None }],
        Err(error @ Error::SectionChecksum { .. }) => {
            vec![Check { name: checksum, problem: Some(error.to_string()) }]
        }
        Err(error) => vec![
            Check { name: checksum, problem: None },
            Check { name: values, problem: Some(error.to_string()) },
        ],
    }
}

fn problem(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Same => None,
        Outcome::OtherLogits => Some("the same tokens, but the logits differ in some bits".into()),
        Outcome::OtherTokens => Some("other tokens come out".into()),
        Outcome::Failed(error) => Some(error.to_string()),
        _ => Some("an outcome that this command does not know".into()),
    }
}
