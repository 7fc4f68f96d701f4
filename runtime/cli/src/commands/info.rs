//! `siskin info`: everything that a file holds, and which kernels run here.

mod describe;
mod report;
mod table;

use crate::args::InfoArgs;
use crate::open;
use crate::out::{Failure, Out, next};
use crate::units;
use report::{Cpu, Report};
use serde_json::json;

/// Prints all of it, as text or as JSON.
pub fn info(args: &InfoArgs) -> Result<(), Failure> {
    let cpu = Cpu::detect()?;
    let mut out = Out::new();
    let Some(path) = &args.model else {
        match args.json {
            true => out.json(&json!({"cpu": cpu.json()}))?,
            false => out.text(&table::cpu(&cpu))?,
        }
        out.flush()?;
        next("siskin info MODEL");
        return Ok(());
    };
    let model = open::model_of(open::file(path, true)?, path)?;
    let report = Report::new(path, &model);
    if args.json {
        let mut value = report.json();
        value["cpu"] = cpu.json();
        out.json(&value)?;
    } else {
        out.text(&table::model(&report))?;
        if args.cpu {
            out.text(&format!("\n{}", table::cpu(&cpu)))?;
        } else {
            out.line(format_args!("\nkernels      {}", cpu.running))?;
        }
    }
    out.flush()?;
    next(format_args!("siskin verify {0}   (or: siskin run {0} -p PROMPT)", units::quoted(path)));
    Ok(())
}
