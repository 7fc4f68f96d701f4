//! `report`: the page of a run.

use siskin_trainer::Result;
use siskin_trainer::report;

use crate::args::ReportArgs;

pub fn report(args: ReportArgs) -> Result<()> {
    let page = report::write(&args.run, args.output.as_deref())?;
    println!("{}", page.display());
    if let Some(folder) = &args.figures {
        report::write_figures(&args.run, folder)?.iter().for_each(|path| println!("{}", path.display()));
    }
    eprintln!("next: open it in a browser; siskin-train sample {}", args.run.display());
    Ok(())
}
