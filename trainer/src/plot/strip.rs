//! A text whose every token stands on the colour of its value.

use std::fmt::Write;

use super::colour::Map;
use super::scale::{Scale, plain};
use super::svg::{Anchor, Canvas, FONT, MARGIN, escape, n, shorten, text_width};

/// Height of a line, pixels.
const LINE: f64 = 23.0;
/// Widest token.
const WIDEST: f64 = 160.0;
/// Width of the legend's colours.
const LEGEND: f64 = 180.0;

/// One token of a [`TextStrip`].
#[derive(Clone, Debug)]
pub struct Cell {
    /// What stands there.
    pub label: String,
    /// Its value; without a colour if it is not finite.
    pub value: f64,
    /// What a mouse that rests on it is told.
    pub hint: String,
    /// A line of the text ends after it.
    pub ends_line: bool,
}

/// A text on the colours of its values, in lines.
#[derive(Clone, Debug)]
pub struct TextStrip {
    title: String,
    value_label: String,
    cells: Vec<Cell>,
    range: Option<(f64, f64)>,
    width: u32,
}

impl TextStrip {
    /// A strip of `cells`; `value_label` says what the values are and in which unit.
    pub fn new(title: &str, value_label: &str, cells: Vec<Cell>) -> Self {
        let (title, value_label) = (title.to_string(), value_label.to_string());
        TextStrip { title, value_label, cells, range: None, width: 720 }
    }

    /// Values of the palest and the deepest colour, instead of the smallest and largest that there are.
    pub fn range(mut self, lo: f64, hi: f64) -> Self {
        self.range = Some((lo, hi));
        self
    }

    /// Width, pixels (720 unless told otherwise).
    pub fn width(mut self, width: u32) -> Self {
        self.width = width.max(220);
        self
    }

    /// The picture.
    pub fn to_svg(&self) -> String {
        let scale = match self.range {
            Some((lo, hi)) => Scale::between(lo, hi),
            None => Scale::over(self.cells.iter().map(|c| c.value), false),
        };
        let mut canvas = Canvas::new(&self.title, f64::from(self.width), Some(self.describe()));
        self.legend(&mut canvas, scale);
        let (mut x, right) = (MARGIN, canvas.width - MARGIN);
        for cell in &self.cells {
            let label = shorten(&cell.label, WIDEST);
            let width = text_width(&label, FONT) + 6.0;
            if x + width > right && x > MARGIN {
                x = MARGIN;
                canvas.y += LINE;
            }
            self.draw(&mut canvas, cell, &label, (x, width), scale);
            x += width + 1.0;
            if cell.ends_line {
                x = MARGIN;
                canvas.y += LINE;
            }
        }
        if x > MARGIN {
            canvas.y += LINE;
        }
        canvas.finish()
    }

    fn draw(&self, canvas: &mut Canvas, cell: &Cell, label: &str, (x, width): (f64, f64), scale: Scale) {
        let y = canvas.y;
        let mut marks = String::from("<g>");
        let place = scale.place(cell.value).map(|t| t.clamp(0.0, 1.0));
        let (class, fill) = match place {
            Some(t) => ("", format!(" fill=\"{}\"", shade(t))),
            None => (" class=\"hole\"", String::new()),
        };
        let ink = match place {
            Some(t) if t > 0.75 => " style=\"fill:#fff\"",
            Some(_) => " style=\"fill:#1c1e22\"",
            None => "",
        };
        let _ = write!(
            marks,
            "<title>{}</title><rect{class} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{fill}/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\"{ink}>{}</text></g>",
            escape(&cell.hint),
            n(x),
            n(y),
            n(width),
            n(LINE - 2.0),
            n(x + width / 2.0),
            n(y + 15.0),
            escape(label)
        );
        canvas.raw(&marks);
    }

    /// The colours from the least to the most, with what they mean.
    fn legend(&self, canvas: &mut Canvas, scale: Scale) {
        let (y, steps) = (canvas.y + 6.0, 30);
        for i in 0..steps {
            let step = LEGEND / f64::from(steps);
            canvas.raw(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"10\" fill=\"{}\"/>",
                n(MARGIN + f64::from(i) * step),
                n(y),
                n(step + 0.5),
                shade(f64::from(i) / f64::from(steps - 1))
            ));
        }
        for (value, label) in scale.ticks(4) {
            let Some(at) = scale.place(value) else { continue };
            let x = MARGIN + at * LEGEND;
            canvas.line("axis", (x, y + 10.0), (x, y + 14.0));
            canvas.text(x.max(MARGIN + 4.0), y + 26.0, Anchor::Middle, &label);
        }
        let room = canvas.width - LEGEND - 3.0 * MARGIN;
        canvas.text(MARGIN + LEGEND + 14.0, y + 10.0, Anchor::Start, &shorten(&self.value_label, room));
        canvas.y = y + 36.0;
    }

    /// What the picture shows, in words.
    fn describe(&self) -> String {
        let finite = || self.cells.iter().filter(|c| c.value.is_finite());
        let most = finite().max_by(|a, b| a.value.total_cmp(&b.value));
        let most = most.map_or(String::new(), |c| format!(" Highest: {} at {}.", plain(c.value), c.label));
        format!("{} tokens on the colour of: {}.{most}", self.cells.len(), self.value_label)
    }
}

/// From nearly white to deep orange.
fn shade(t: f64) -> String {
    Map::Diverging.hex(0.5 + 0.5 * t)
}
