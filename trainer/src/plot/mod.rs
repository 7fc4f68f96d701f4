//! Pictures of runs, as SVG text: line charts, heat maps, texts on colours, and several of them side by side.
//!
//! Every picture stands on its own: no font, script or file beside it, its text is text, and it follows the reader's light or
//! dark theme. Series differ in dash as well as in colour (Okabe & Ito 2008), heat maps in lightness (viridis), so that both can be read in
//! grey and by colour-blind people. Values that are not finite, or not positive on a logarithmic axis, are left out.

mod chart;
mod colour;
mod contour;
mod heat;
pub(crate) mod scale;
pub mod strip;
pub(crate) mod svg;

use std::path::Path;

pub use chart::Chart;
pub use heat::{Axis, HeatMap};

use crate::error::{Error, Result};

/// Writes a picture at `path`, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, svg: &str) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    crate::checkpoint::write_atomic(path, svg.as_bytes())
}

/// Several pictures as one, in about as many columns as rows.
pub fn grid(title: &str, pictures: Vec<String>) -> String {
    let columns = (pictures.len() as f64).sqrt().ceil() as usize;
    grid_of(title, columns, pictures)
}

/// Several pictures as one, `columns` side by side.
///
/// # Panics
/// If a picture was not made by this module.
pub fn grid_of(title: &str, columns: usize, pictures: Vec<String>) -> String {
    let sizes: Vec<(f64, f64)> =
        pictures.iter().map(|p| svg::size_of(p).expect("a picture of this module")).collect();
    let columns = columns.clamp(1, pictures.len().max(1));
    let column = |c: usize| sizes.iter().skip(c).step_by(columns).fold(0.0, |w: f64, s| w.max(s.0));
    let lefts: Vec<f64> = (0..=columns).map(|c| (0..c).map(column).sum()).collect();
    let mut canvas = svg::Canvas::new(title, lefts[columns].max(120.0), None);
    for (row, sizes) in pictures.chunks(columns).zip(sizes.chunks(columns)) {
        let height = sizes.iter().fold(0.0, |h: f64, s| h.max(s.1));
        for (picture, left) in row.iter().zip(&lefts) {
            canvas.embed(picture, *left, canvas.y);
        }
        canvas.y += height;
    }
    canvas.finish()
}

/// Charts of the same series side by side, the names of the series once above them.
///
/// # Panics
/// If there is no chart.
pub fn panels(title: &str, charts: Vec<Chart>) -> String {
    let pictures: Vec<String> = charts.iter().map(|c| c.clone().without_legend().to_svg()).collect();
    let sizes: Vec<(f64, f64)> =
        pictures.iter().map(|p| svg::size_of(p).expect("a picture of this module")).collect();
    let mut canvas = svg::Canvas::new(title, sizes.iter().map(|s| s.0).sum(), None);
    charts.first().expect("a chart").legend(&mut canvas);
    let mut left = 0.0;
    for (picture, (width, _)) in pictures.iter().zip(&sizes) {
        canvas.embed(picture, left, canvas.y);
        left += width;
    }
    canvas.y += sizes.iter().fold(0.0, |h: f64, s| h.max(s.1));
    canvas.finish()
}

#[cfg(test)]
mod tests;
