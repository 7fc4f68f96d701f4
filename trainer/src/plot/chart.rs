//! Lines and points over two axes.

use std::fmt::Write;

use super::scale::{Scale, plain};
use super::svg::{Anchor, Area, Canvas, FONT, MARGIN, escape, n, shorten, text_width};

/// Line charts have this size unless told otherwise, pixels.
const SIZE: (u32, u32) = (720, 400);
/// Height of a line of labels.
const ROW: f64 = 18.0;

/// Curves and points over a horizontal and a vertical axis.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    x_label: String,
    y_label: String,
    log: (bool, bool),
    size: (u32, u32),
    series: Vec<Series>,
    marks: Vec<(f64, String)>,
    bands: Vec<(f64, f64)>,
    top: f64,
    has_legend: bool,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    kind: Kind,
    values: Vec<(f64, f64)>,
    /// Points in the colour of a curve, that stand beside it.
    beside: Vec<(f64, f64)>,
    /// Of its colour and its dash.
    style: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Line,
    Thin,
    Points,
}

impl Series {
    /// Curve and points beside it.
    fn all(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.values.iter().chain(&self.beside)
    }

    fn class(&self) -> String {
        let kind = match self.kind {
            Kind::Line => format!("line d{}", self.style % 4),
            Kind::Thin => "thin".to_string(),
            Kind::Points => "dot".to_string(),
        };
        format!("{kind} c{}", self.style % 6)
    }
}

impl Chart {
    /// An empty chart; labels say the units.
    pub fn new(title: &str, x_label: &str, y_label: &str) -> Self {
        let [title, x_label, y_label] = [title, x_label, y_label].map(str::to_string);
        Chart {
            title,
            x_label,
            y_label,
            log: (false, false),
            size: SIZE,
            series: Vec::new(),
            marks: Vec::new(),
            bands: Vec::new(),
            top: f64::INFINITY,
            has_legend: true,
        }
    }

    /// The vertical axis ends at `top` at the latest; what lies above it is cut off.
    pub fn top(mut self, top: f64) -> Self {
        self.top = top;
        self
    }

    /// Leaves the names of the series out, where another picture shows them.
    pub fn without_legend(mut self) -> Self {
        self.has_legend = false;
        self
    }

    /// A logarithmic horizontal axis.
    pub fn log_x(mut self) -> Self {
        self.log.0 = true;
        self
    }

    /// A logarithmic vertical axis.
    pub fn log_y(mut self) -> Self {
        self.log.1 = true;
        self
    }

    /// Width and height, pixels (720 by 400 unless told otherwise).
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = (width.max(200), height.max(140));
        self
    }

    /// A curve through `values`, in their order; it is broken where a value is not finite.
    pub fn line(self, name: &str, values: Vec<(f64, f64)>) -> Self {
        let style = self.styles();
        self.with(name, Kind::Line, values, style)
    }

    /// A faint curve in the colour of the next one, for what that one smooths.
    pub fn thin(self, name: &str, values: Vec<(f64, f64)>) -> Self {
        let style = self.styles();
        self.with(name, Kind::Thin, values, style)
    }

    /// Single points.
    pub fn points(self, name: &str, values: Vec<(f64, f64)>) -> Self {
        let style = self.styles();
        self.with(name, Kind::Points, values, style)
    }

    /// Single points that belong to the curve before them, in its colour.
    ///
    /// # Panics
    /// If there is no series yet.
    pub fn beside(mut self, values: Vec<(f64, f64)>) -> Self {
        self.series.last_mut().expect("a curve that the points stand beside").beside = values;
        self
    }

    /// A shaded range of the horizontal axis.
    pub fn band_x(mut self, from: f64, to: f64) -> Self {
        self.bands.push((from, to));
        self
    }

    /// A vertical line at `x` with its label.
    pub fn mark_x(mut self, x: f64, label: &str) -> Self {
        self.marks.push((x, label.to_string()));
        self
    }

    /// Styles in use.
    fn styles(&self) -> usize {
        self.series.iter().filter(|s| s.kind != Kind::Thin).count()
    }

    fn with(mut self, name: &str, kind: Kind, values: Vec<(f64, f64)>, style: usize) -> Self {
        self.series.push(Series { name: name.to_string(), kind, values, beside: Vec::new(), style });
        self
    }

    /// The picture.
    pub fn to_svg(&self) -> String {
        let usable = |(x, y): &(f64, f64)| {
            x.is_finite() && y.is_finite() && (!self.log.0 || *x > 0.0) && (!self.log.1 || *y > 0.0)
        };
        let shown = || self.series.iter().flat_map(Series::all).filter(|v| usable(v));
        let marks = self.marks.iter().map(|m| m.0);
        let x = Scale::over(shown().map(|v| v.0).chain(marks), self.log.0);
        let has_points = |s: &Series| s.kind == Kind::Points || !s.beside.is_empty();
        let x = if self.series.iter().any(has_points) { x.roomy() } else { x };
        let y = Scale::over(shown().map(|v| v.1.min(self.top)), self.log.1).roomy();

        let mut canvas = Canvas::new(&self.title, f64::from(self.size.0), Some(self.describe()));
        self.legend(&mut canvas);
        let area = self.axes(&mut canvas, x, y);
        let to = |(px, py): (f64, f64)| Some((x.place(px)? * area.w, (1.0 - y.place(py)?) * area.h));
        // An inner picture clips what leaves it.
        let (w, h) = (n(area.w), n(area.h));
        canvas.raw(&format!("<svg x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{h}\">", n(area.x), n(area.y)));
        self.draw_bands(&mut canvas, x, area);
        self.draw_marks(&mut canvas, x, area);
        for series in &self.series {
            match series.kind {
                Kind::Points => canvas.raw(&points(series, &series.values, to)),
                _ => canvas.raw(&path(series, to)),
            }
        }
        for series in &self.series {
            canvas.raw(&points(series, &series.beside, to));
        }
        canvas.raw("</svg>");
        canvas.finish()
    }

    /// Names beside their colours, between title and curves, where they cover nothing.
    pub(super) fn legend(&self, canvas: &mut Canvas) {
        canvas.y += 4.0;
        if self.series.len() < 2 || !self.has_legend {
            return;
        }
        let mut x = MARGIN;
        canvas.y += ROW;
        for series in self.series.iter().filter(|s| !s.name.is_empty()) {
            let name = shorten(&series.name, canvas.width - 2.0 * MARGIN - 34.0);
            let width = 34.0 + text_width(&name, FONT) + 18.0;
            if x > MARGIN && x + width > canvas.width - MARGIN {
                x = MARGIN;
                canvas.y += ROW;
            }
            let y = canvas.y - 7.0;
            match series.kind {
                Kind::Points => canvas.raw(&marker(series, x + 14.0, y)),
                _ => canvas.line(&series.class(), (x, y), (x + 28.0, y)),
            }
            if !series.beside.is_empty() {
                canvas.raw(&marker(series, x + 14.0, y));
            }
            canvas.text(x + 34.0, y + 4.0, Anchor::Start, &name);
            x += width;
        }
    }

    /// Grid, ticks and labels; gives the place of the curves.
    fn axes(&self, canvas: &mut Canvas, x: Scale, y: Scale) -> Area {
        let top = canvas.y + 8.0;
        let below = ROW + 2.0 + if self.x_label.is_empty() { 0.0 } else { ROW };
        let height = (f64::from(self.size.1) - top - below - MARGIN).max(60.0);
        let y_ticks = y.ticks((height / 44.0) as usize);
        let widest = y_ticks.iter().map(|t| text_width(&t.1, FONT)).fold(0.0, f64::max);
        let left = MARGIN + widest + 8.0 + if self.y_label.is_empty() { 0.0 } else { ROW };
        let area = Area { x: left, y: top, w: (canvas.width - left - MARGIN - 14.0).max(60.0), h: height };
        for (value, label) in &y_ticks {
            let Some(at) = y.place(*value) else { continue };
            let at = area.y + (1.0 - at) * area.h;
            canvas.line("grid", (area.x, at), (area.x + area.w, at));
            canvas.text(area.x - 8.0, at + 4.0, Anchor::End, label);
        }
        let bottom = area.y + area.h;
        for (value, label) in x.ticks((area.w / 80.0) as usize) {
            let Some(at) = x.place(value) else { continue };
            let at = area.x + at * area.w;
            canvas.line("grid", (at, area.y), (at, bottom));
            canvas.text(at, bottom + ROW, Anchor::Middle, &label);
        }
        canvas.line("axis", (area.x, bottom), (area.x + area.w, bottom));
        canvas.line("axis", (area.x, area.y), (area.x, bottom));
        if !self.y_label.is_empty() {
            let label = shorten(&self.y_label, area.h + 20.0);
            canvas.turned(MARGIN + 10.0, area.y + area.h / 2.0, Anchor::Middle, &label, -90.0);
        }
        canvas.y = bottom + ROW + 2.0;
        if !self.x_label.is_empty() {
            canvas.y += ROW;
            canvas.text(area.x + area.w / 2.0, canvas.y, Anchor::Middle, &shorten(&self.x_label, area.w));
        }
        area
    }

    fn draw_bands(&self, canvas: &mut Canvas, x: Scale, area: Area) {
        for (from, to) in &self.bands {
            if let (Some(from), Some(to)) = (x.place(*from), x.place(*to)) {
                let (from, to) = (from * area.w, to * area.w);
                canvas.rect("band", Area { x: from.min(to), y: 0.0, w: (to - from).abs(), h: area.h });
            }
        }
    }

    fn draw_marks(&self, canvas: &mut Canvas, x: Scale, area: Area) {
        for (i, (value, label)) in self.marks.iter().enumerate() {
            let Some(at) = x.place(*value) else { continue };
            let at = at * area.w;
            canvas.line("mark", (at, 0.0), (at, area.h));
            let y = 14.0 + 15.0 * (i % 4) as f64;
            match at + text_width(label, FONT) + 6.0 > area.w {
                true => canvas.text(at - 5.0, y, Anchor::End, label),
                false => canvas.text(at + 5.0, y, Anchor::Start, label),
            }
        }
    }

    /// What the picture shows, in words.
    fn describe(&self) -> String {
        let mut text = format!("{} against {}.", self.y_label, self.x_label);
        for s in self.series.iter().filter(|s| s.kind != Kind::Thin) {
            let finite = || s.values.iter().filter(|v| v.0.is_finite() && v.1.is_finite());
            if let (Some(first), Some(last)) = (finite().next(), finite().next_back()) {
                let [a, b, c, d] = [first.1, first.0, last.1, last.0].map(plain);
                let _ = write!(text, " {}: from {a} at {b} to {c} at {d}.", s.name);
            }
        }
        for (x, label) in &self.marks {
            let _ = write!(text, " {label} at {}.", plain(*x));
        }
        text
    }
}

/// A curve as a path, broken where a value has no place.
fn path(series: &Series, to: impl Fn((f64, f64)) -> Option<(f64, f64)>) -> String {
    let mut d = String::new();
    let mut column = Column::default();
    let mut drawing = false;
    for value in &series.values {
        match to(*value) {
            Some(at) => {
                if column.x.is_some_and(|x| (x - at.0).abs() >= 0.5) || !drawing {
                    column.flush(&mut d);
                }
                if !drawing {
                    d.push('M');
                    drawing = true;
                }
                column.add(at);
            }
            None => {
                column.flush(&mut d);
                drawing = false;
            }
        }
    }
    column.flush(&mut d);
    format!(
        "<path class=\"{}\" d=\"{}\"><title>{}</title></path>",
        series.class(),
        d.trim_end(),
        escape(&series.name)
    )
}

/// The points of a curve that fall on one half of a pixel's width: of many, the first, lowest, highest and last are enough.
#[derive(Default)]
struct Column {
    x: Option<f64>,
    ys: Vec<f64>,
}

impl Column {
    fn add(&mut self, (x, y): (f64, f64)) {
        self.x.get_or_insert(x);
        self.ys.push(y);
    }

    fn flush(&mut self, d: &mut String) {
        let Some(x) = self.x.take() else { return };
        let last = self.ys.len() - 1;
        let by = |a: &usize, b: &usize| self.ys[*a].total_cmp(&self.ys[*b]);
        let (low, high) = ((0..=last).min_by(by).unwrap_or(0), (0..=last).max_by(by).unwrap_or(0));
        let mut kept = [0, low.min(high), low.max(high), last].to_vec();
        kept.dedup();
        for i in kept {
            let _ = write!(d, "{} {} ", n(x), n(self.ys[i]));
        }
        self.ys.clear();
    }
}

fn points(series: &Series, values: &[(f64, f64)], to: impl Fn((f64, f64)) -> Option<(f64, f64)>) -> String {
    values.iter().filter_map(|v| to(*v)).map(|(x, y)| marker(series, x, y)).collect()
}

/// A circle, square, triangle or diamond. Beside curves, no two of twelve have both dash and shape alike.
fn marker(series: &Series, x: f64, y: f64) -> String {
    let class = format!("dot c{}", series.style % 6);
    let at = |dx: f64, dy: f64| format!("{} {}", n(x + dx), n(y + dy));
    let shape = if series.kind == Kind::Points { series.style } else { series.style + series.style / 4 };
    match shape % 4 {
        0 => format!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"3.5\"/>", n(x), n(y)),
        1 => format!("<path class=\"{class}\" d=\"M{}h6.4v6.4h-6.4z\"/>", at(-3.2, -3.2)),
        2 => format!("<path class=\"{class}\" d=\"M{}l4 7h-8z\"/>", at(0.0, -4.5)),
        _ => format!("<path class=\"{class}\" d=\"M{}l4.5 4.5l-4.5 4.5l-4.5 -4.5z\"/>", at(0.0, -4.5)),
    }
}
