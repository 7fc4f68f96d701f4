//! An [`Inspection`] as one file: a page of several pictures, or one picture of all.

use std::fmt::Write;

use super::Inspection;
use super::pictures::Picture;
use crate::plot::svg::escape;
use crate::report::document;

/// The pictures on one HTML page that asks nothing of a network.
pub fn page(seen: &Inspection, pictures: &[Picture]) -> String {
    let mut body =
        format!("<h1>{} at work</h1>\n<p class=\"soft\">{}</p>\n", escape(&seen.name), escape(&about(seen)));
    for picture in pictures {
        let _ = writeln!(
            body,
            "<section>\n<h2>{}</h2>\n<figure>{}<figcaption>{}</figcaption></figure>\n</section>",
            escape(&picture.heading),
            picture.svg,
            escape(&picture.caption)
        );
    }
    document(&format!("{} at work", seen.name), &body)
}

/// What was looked at, in a sentence.
pub fn about(seen: &Inspection) -> String {
    let n = seen.tokens.len();
    let cut = match seen.left_out {
        0 => String::new(),
        more => format!("; {more} more did not fit into the model's context and were left out"),
    };
    format!(
        "{n} token{} of text{cut}. Weights after update {}, as they are exported, in f32, by the trainer's forward pass.",
        if n == 1 { "" } else { "s" },
        seen.step
    )
}
