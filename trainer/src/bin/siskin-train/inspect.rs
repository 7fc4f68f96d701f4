//! `inspect`: a model at work on a text, as pictures or numbers.

use std::path::Path;

use siskin_trainer::checkpoint::write_atomic;
use siskin_trainer::inspect::pictures::{Choice, Picture, pictures};
use siskin_trainer::inspect::{Inspection, about, page};
use siskin_trainer::train::trained::TrainedRun;
use siskin_trainer::{Error, Result, plot};

use crate::args::InspectArgs;

/// Name of the page in a run folder.
const FILE: &str = "inspect.html";

pub fn inspect(args: InspectArgs) -> Result<()> {
    let is_svg = args.output.as_deref().map(is_svg).transpose()?.unwrap_or(false);
    let text = match (&args.text, &args.text_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => read(path)?,
        (None, None) => String::new(), // clap asks for one of them
    };
    let run = TrainedRun::open(&args.run)?;
    run.must_read_text("inspect")?;
    let seen = Inspection::of(&run, &text)?;
    let all = pictures(&seen, choice(&args))?;
    if args.json {
        println!("{}", seen.to_json());
    }
    eprintln!("{}", about(&seen));
    if !args.json || args.output.is_some() {
        let path = args.output.unwrap_or_else(|| args.run.join(FILE));
        let bytes = if is_svg { one_picture(&seen, all) } else { page(&seen, &all) };
        write_atomic(&path, bytes.as_bytes())?;
        if !args.json {
            println!("{}", path.display());
        }
    }
    eprintln!("next: siskin-train landscape {}", args.run.display());
    Ok(())
}

fn choice(args: &InspectArgs) -> Choice {
    Choice { layer: args.layer, head: args.head, units: args.units, gates: args.gates }
}

fn one_picture(seen: &Inspection, all: Vec<Picture>) -> String {
    let title = format!("{} at work", seen.name);
    plot::grid_of(&title, 1, all.into_iter().map(|picture| picture.svg).collect())
}

/// Whether a file is to be SVG rather than HTML.
fn is_svg(path: &Path) -> Result<bool> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => Ok(true),
        Some("html" | "htm") => Ok(false),
        _ => Err(Error::Data(format!("{}: expected a name that ends in .html or .svg", path.display()))),
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::Data(format!("{}: byte {at} is not UTF-8: convert the text to UTF-8", path.display()))
    })
}
