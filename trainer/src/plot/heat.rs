//! Heat maps: a value for every pair of a column and a row.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::colour::Map;
use super::contour::contours;
use super::scale::{Scale, plain};
use super::svg::{Anchor, Area, Canvas, FONT, MARGIN, escape, n, shorten, text_width};

/// Heat maps are this wide unless told otherwise, pixels.
const WIDTH: u32 = 720;
/// Different colours of a map.
const SHADES: f64 = 63.0;
/// Room of the colour bar and its ticks.
const BAR: f64 = 74.0;
/// Height of a line of labels.
const ROW: f64 = 18.0;
/// Parts into which an axis of numbers is cut.
const GRAIN: f64 = 1000.0;

/// Columns or rows of a heat map.
#[derive(Clone, Debug)]
pub enum Axis {
    /// Places on a line, ascending; each cell reaches half-way to its neighbours.
    Numbers(Vec<f64>),
    /// Names, one cell after the other: columns from the left, rows from the top.
    Names(Vec<String>),
}

impl From<Vec<f64>> for Axis {
    fn from(numbers: Vec<f64>) -> Self {
        Axis::Numbers(numbers)
    }
}

impl From<Vec<String>> for Axis {
    fn from(names: Vec<String>) -> Self {
        Axis::Names(names)
    }
}

impl Axis {
    fn len(&self) -> usize {
        match self {
            Axis::Numbers(numbers) => numbers.len(),
            Axis::Names(names) => names.len(),
        }
    }

    /// Where each cell begins and the last one ends.
    fn edges(&self) -> Vec<f64> {
        match self {
            Axis::Names(names) => (0..=names.len()).map(|i| i as f64).collect(),
            Axis::Numbers(numbers) => {
                let middles: Vec<f64> = numbers.windows(2).map(|w| w[0] + (w[1] - w[0]) / 2.0).collect();
                let [first, last] = match numbers[..] {
                    [] => [0.0, 1.0],
                    [only] => [only - 0.5, only + 0.5],
                    [a, .., z] => [2.0 * a - middles[0], 2.0 * z - middles[middles.len() - 1]],
                };
                let ends = if numbers.is_empty() { vec![0.0, 1.0] } else { vec![last] };
                [first].into_iter().filter(|_| !numbers.is_empty()).chain(middles).chain(ends).collect()
            }
        }
    }
}

/// Values as colours over columns and rows.
#[derive(Clone, Debug)]
pub struct HeatMap {
    title: String,
    x_label: String,
    y_label: String,
    x: Axis,
    y: Axis,
    values: Vec<Vec<f64>>, // rows of y
    value_label: String,
    log: bool,
    root: bool,
    bare: bool,
    map: Map,
    range: Option<(f64, f64)>,
    width: u32,
    height: Option<u32>,
    marks: Vec<(f64, f64, String)>,
    levels: Vec<f64>,
}

impl HeatMap {
    /// A heat map of `values`, one row for each `y` with one value for each `x`. Rows of names begin at the top, rows of numbers at the
    /// bottom. Values that are not finite leave a hole.
    ///
    /// # Panics
    /// If `values` does not have the sizes of `y` and `x`.
    pub fn new(
        title: &str,
        x_label: &str,
        y_label: &str,
        x: impl Into<Axis>,
        y: impl Into<Axis>,
        values: Vec<Vec<f64>>,
    ) -> Self {
        let (x, y) = (x.into(), y.into());
        assert_eq!(values.len(), y.len(), "a row of values for each y");
        assert!(values.iter().all(|row| row.len() == x.len()), "a value for each x");
        let [title, x_label, y_label] = [title, x_label, y_label].map(str::to_string);
        HeatMap {
            title,
            x_label,
            y_label,
            x,
            y,
            values,
            value_label: String::new(),
            log: false,
            root: false,
            bare: false,
            map: Map::Sequential,
            range: None,
            width: WIDTH,
            height: None,
            marks: Vec::new(),
            levels: Vec::new(),
        }
    }

    /// Colours by the logarithm of the values.
    pub fn log_scale(mut self) -> Self {
        self.log = true;
        self
    }

    /// Colours by the square root of the place between the first and the last value, so that small values differ.
    pub fn root_scale(mut self) -> Self {
        self.root = true;
        self
    }

    /// Nothing but title and cells: for many small maps whose labels would be the same.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Colours around zero, as far below as above it.
    pub fn diverging(mut self) -> Self {
        self.map = Map::Diverging;
        self
    }

    /// Values of the first and last colour, instead of the smallest and largest that there are.
    pub fn range(mut self, lo: f64, hi: f64) -> Self {
        self.range = Some((lo, hi));
        self
    }

    /// What the values are, beside the colour bar.
    pub fn value_label(mut self, label: &str) -> Self {
        self.value_label = label.to_string();
        self
    }

    /// Width and height, pixels; the height is found by the number of rows unless told.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width.max(120), Some(height.max(100)));
        self
    }

    /// Width, pixels (720 unless told otherwise).
    pub fn width(mut self, width: u32) -> Self {
        self.width = width.max(120);
        self
    }

    /// A labelled point, in the numbers of the axes.
    pub fn mark(mut self, x: f64, y: f64, label: &str) -> Self {
        self.marks.push((x, y, label.to_string()));
        self
    }

    /// Lines of equal value at `levels`, between cells whose columns and rows are numbers.
    pub fn contours(mut self, levels: Vec<f64>) -> Self {
        self.levels = levels;
        self
    }

    /// The picture.
    pub fn to_svg(&self) -> String {
        let colours = self.colours();
        let (xe, ye) = (Edges::new(&self.x), Edges::new(&self.y));
        let mut canvas = Canvas::new(&self.title, f64::from(self.width), Some(self.describe()));
        canvas.y += 8.0;
        let area = self.place(&canvas);
        canvas.rect("hole", area);
        let cells = self.cells(colours, &xe, &ye);
        let (w, h) = (n(area.w), n(area.h));
        canvas.raw(&format!(
            "<svg x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" \
             shape-rendering=\"crispEdges\">{cells}</svg>",
            n(area.x),
            n(area.y),
            xe.whole,
            ye.whole
        ));
        self.draw_contours(&mut canvas, area, &xe, &ye);
        if self.bare {
            canvas.y = area.y + area.h - MARGIN;
            return canvas.finish();
        }
        self.label_rows(&mut canvas, area, &ye);
        let below = self.label_columns(&mut canvas, area, &xe);
        self.label_marks(&mut canvas, area, &xe, &ye);
        self.bar(&mut canvas, area, colours);
        canvas.y = area.y + area.h + below;
        if !self.x_label.is_empty() {
            canvas.y += ROW;
            canvas.text(area.x + area.w / 2.0, canvas.y, Anchor::Middle, &shorten(&self.x_label, area.w));
        }
        canvas.finish()
    }

    /// The scale of the colours.
    fn colours(&self) -> Scale {
        let all = || self.values.iter().flatten().copied().filter(|v| v.is_finite());
        match (self.range, self.map) {
            (Some((lo, hi)), _) => Scale::over([lo, hi].into_iter(), self.log),
            (None, Map::Diverging) => {
                let most = all().fold(0.0, |m: f64, v| m.max(v.abs()));
                let most = if most > 0.0 { most } else { 1.0 };
                Scale::between(-most, most)
            }
            (None, Map::Sequential) => Scale::over(all(), self.log),
        }
    }

    /// Where a value lies between the first colour, 0, and the last, 1.
    fn colour_at(&self, colours: Scale, value: f64) -> Option<f64> {
        let place = colours.place(value)?;
        Some(if self.root { place.max(0.0).sqrt() } else { place })
    }

    /// Where the cells are.
    fn place(&self, canvas: &Canvas) -> Area {
        if self.bare {
            let (x, y) = (MARGIN, canvas.y);
            let h = self.height.map_or(canvas.width - MARGIN, f64::from) - y;
            return Area { x, y, w: canvas.width - MARGIN, h: h.max(24.0) };
        }
        let labels: Vec<String> = match &self.y {
            Axis::Names(names) => names.clone(),
            Axis::Numbers(_) => Edges::new(&self.y).scale.ticks(6).into_iter().map(|t| t.1).collect(),
        };
        let widest = labels.iter().map(|l| text_width(l, FONT)).fold(0.0, f64::max).min(0.3 * canvas.width);
        let x = MARGIN + widest + 8.0 + if self.y_label.is_empty() { 0.0 } else { ROW };
        let w = (canvas.width - x - MARGIN - BAR).max(24.0);
        let h = match self.height {
            Some(height) => (f64::from(height) - canvas.y - 2.0 * ROW - MARGIN).max(24.0),
            None => match &self.y {
                Axis::Names(names) => (names.len() as f64 * 16.0).clamp(110.0, 560.0),
                Axis::Numbers(_) => (0.8 * w).clamp(110.0, 560.0),
            },
        };
        Area { x, y: canvas.y, w, h }
    }

    /// One path for each colour: neighbours of one colour are one rectangle.
    fn cells(&self, colours: Scale, xe: &Edges, ye: &Edges) -> String {
        let mut paths: BTreeMap<u8, String> = BTreeMap::new();
        for (row, values) in self.values.iter().enumerate() {
            let (top, bottom) = ye.cell(row, matches!(self.y, Axis::Numbers(_)));
            let shade = |v: f64| Some((self.colour_at(colours, v)?.clamp(0.0, 1.0) * SHADES).round() as u8);
            let shades: Vec<Option<u8>> =
                values.iter().map(|v| shade(*v).filter(|_| v.is_finite())).collect();
            let mut begin = 0;
            for run in shades.chunk_by(|a, b| a == b) {
                let (left, right) = (xe.at[begin], xe.at[begin + run.len()]);
                begin += run.len();
                if let (Some(shade), true) = (run[0], right > left && bottom > top) {
                    let (w, h) = (right - left, bottom - top);
                    let _ = write!(paths.entry(shade).or_default(), "M{left} {top}h{w}v{h}h-{w}z");
                }
            }
        }
        let path = |(shade, d): (u8, String)| {
            format!("<path fill=\"{}\" d=\"{d}\"/>", self.map.hex(f64::from(shade) / SHADES))
        };
        paths.into_iter().map(path).collect()
    }

    fn label_rows(&self, canvas: &mut Canvas, area: Area, edges: &Edges) {
        let left = area.x - 6.0;
        match &self.y {
            Axis::Names(names) => {
                let cell = area.h / names.len().max(1) as f64;
                let every = (13.0 / cell.max(1e-9)).ceil().max(1.0) as usize;
                for (i, name) in names.iter().enumerate().step_by(every) {
                    let name = shorten(name, 0.3 * canvas.width);
                    canvas.text(left, area.y + (i as f64 + 0.5) * cell + 4.0, Anchor::End, &name);
                }
            }
            Axis::Numbers(_) => {
                for (value, label) in edges.scale.ticks((area.h / 40.0) as usize) {
                    let Some(at) = edges.scale.place(value) else { continue };
                    let y = area.y + (1.0 - at) * area.h;
                    canvas.line("axis", (left + 2.0, y), (area.x, y));
                    canvas.text(left, y + 4.0, Anchor::End, &label);
                }
            }
        }
        if !self.y_label.is_empty() {
            let label = shorten(&self.y_label, area.h + 20.0);
            canvas.turned(MARGIN + 10.0, area.y + area.h / 2.0, Anchor::Middle, &label, -90.0);
        }
    }

    /// Gives the height of the labels.
    fn label_columns(&self, canvas: &mut Canvas, area: Area, edges: &Edges) -> f64 {
        let bottom = area.y + area.h;
        match &self.x {
            Axis::Numbers(_) => {
                for (value, label) in edges.scale.ticks((area.w / 80.0) as usize) {
                    let Some(at) = edges.scale.place(value) else { continue };
                    let x = area.x + at * area.w;
                    canvas.line("axis", (x, bottom), (x, bottom + 4.0));
                    canvas.text(x, bottom + ROW, Anchor::Middle, &label);
                }
                ROW + 2.0
            }
            Axis::Names(names) => {
                let cell = area.w / names.len().max(1) as f64;
                let widest = names.iter().map(|l| text_width(l, FONT)).fold(0.0, f64::max);
                if widest + 2.0 <= cell || widest < 13.0 {
                    let every = ((widest + 2.0) / cell.max(1e-9)).ceil().max(1.0) as usize;
                    for (i, name) in names.iter().enumerate().step_by(every) {
                        canvas.text(area.x + (i as f64 + 0.5) * cell, bottom + 15.0, Anchor::Middle, name);
                    }
                    return ROW;
                }
                let every = (13.0 / cell.max(1e-9)).ceil().max(1.0) as usize;
                for (i, name) in names.iter().enumerate().step_by(every) {
                    let x = area.x + (i as f64 + 0.5) * cell + 4.0;
                    canvas.turned(x, bottom + 5.0, Anchor::End, &shorten(name, 100.0), -90.0);
                }
                widest.min(100.0) + 8.0
            }
        }
    }

    /// Lines of equal value, every third with its value.
    fn draw_contours(&self, canvas: &mut Canvas, area: Area, xe: &Edges, ye: &Edges) {
        let (Axis::Numbers(x), Axis::Numbers(y)) = (&self.x, &self.y) else { return };
        let place = |(px, py): &(f64, f64)| {
            let (x, y) = (xe.scale.place(*px).unwrap_or(0.0), ye.scale.place(*py).unwrap_or(0.0));
            (area.x + x * area.w, area.y + (1.0 - y) * area.h)
        };
        for (i, &level) in self.levels.iter().enumerate() {
            let lines = contours(x, y, &self.values, level);
            let mut d = String::new();
            for line in &lines {
                for (k, point) in line.iter().enumerate() {
                    let (px, py) = place(point);
                    let _ = write!(d, "{}{} {}", if k == 0 { "M" } else { "L" }, n(px), n(py));
                }
            }
            canvas.raw(&format!(
                "<path d=\"{d}\" fill=\"none\" stroke=\"#fff\" stroke-opacity=\".75\" stroke-width=\".9\"><title>{}</title></path>",
                plain(level)
            ));
            let longest =
                lines.iter().max_by_key(|line| line.len()).filter(|line| i % 3 == 2 && line.len() > 8);
            if let Some(line) = longest {
                let (px, py) = place(&line[line.len() / 3]);
                let (px, py) = (px.clamp(area.x + 16.0, area.x + area.w - 16.0), py.max(area.y + 12.0));
                canvas.raw(&halo(px, py + 4.0, "middle", &plain(level)));
            }
        }
    }

    fn label_marks(&self, canvas: &mut Canvas, area: Area, xe: &Edges, ye: &Edges) {
        for (x, y, label) in &self.marks {
            let (Some(x), Some(y)) = (xe.scale.place(*x), ye.scale.place(*y)) else { continue };
            let (px, py) = (area.x + x * area.w, area.y + (1.0 - y) * area.h);
            let (cx, cy) = (n(px), n(py));
            canvas.raw(&format!(
                "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"5\" fill=\"none\" stroke=\"#000\" stroke-width=\"4\"/>\
                 <circle cx=\"{cx}\" cy=\"{cy}\" r=\"5\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2\"/>"
            ));
            let fits = px + 10.0 + text_width(label, FONT) < area.x + area.w;
            let (at, anchor) = if fits { (px + 10.0, "start") } else { (px - 10.0, "end") };
            canvas.raw(&halo(at, py + 4.0, anchor, label));
        }
    }

    /// The colours and what they mean, at the right.
    fn bar(&self, canvas: &mut Canvas, area: Area, colours: Scale) {
        let (x, steps) = (area.x + area.w + 10.0, 32);
        let height = area.h.min(220.0);
        for i in 0..steps {
            let t = f64::from(i) / f64::from(steps - 1);
            let step = height / f64::from(steps);
            canvas.raw(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"{}\" fill=\"{}\"/>",
                n(x),
                n(area.y + height - f64::from(i + 1) * step),
                n(step + 0.5),
                self.map.hex(t)
            ));
        }
        let mut beside: f64 = 0.0; // of the ticks' labels
        let mut ticks = colours.ticks((height / 40.0) as usize);
        // A root leaves so much room above the first value that no round one may stand there.
        if self.root
            && ticks.first().is_none_or(|(v, _)| self.colour_at(colours, *v).is_some_and(|at| at > 0.2))
        {
            ticks.insert(0, (colours.first(), plain(colours.first())));
        }
        for (value, label) in ticks {
            let Some(at) = self.colour_at(colours, value) else { continue };
            let y = area.y + (1.0 - at) * height;
            canvas.line("axis", (x + 12.0, y), (x + 15.0, y));
            let label = if text_width(&label, FONT) > 38.0 { plain(value) } else { label };
            beside = beside.max(18.0 + text_width(&label, FONT));
            canvas.text(x + 18.0, y.clamp(area.y + 4.0, area.y + height) + 4.0, Anchor::Start, &label);
        }
        if !self.value_label.is_empty() {
            let label = shorten(&self.value_label, height);
            canvas.turned(
                x + (beside + FONT + 3.0).max(BAR - 8.0),
                area.y + height / 2.0,
                Anchor::Middle,
                &label,
                -90.0,
            );
        }
    }

    /// What the picture shows, in words.
    fn describe(&self) -> String {
        let finite = || self.values.iter().flatten().copied().filter(|v| v.is_finite());
        let (lo, hi) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let what = if self.value_label.is_empty() { "values" } else { &self.value_label };
        let (rows, columns) = (self.y.len(), self.x.len());
        let range = if lo > hi { "none".to_string() } else { format!("{} to {}", plain(lo), plain(hi)) };
        format!("{rows} rows ({}) by {columns} columns ({}); {what}: {range}.", self.y_label, self.x_label)
    }
}

/// A text that can be read on any colour.
fn halo(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" style=\"fill:#fff;stroke:#000;stroke-width:3px;paint-order:stroke\">{}</text>",
        n(x),
        n(y),
        escape(text)
    )
}

/// An axis cut into whole numbers, for short paths.
struct Edges {
    at: Vec<i64>,
    whole: i64,
    scale: Scale,
}

impl Edges {
    fn new(axis: &Axis) -> Self {
        let edges = axis.edges();
        let scale = Scale::over(edges.iter().copied(), false);
        let whole = match axis {
            Axis::Names(names) => names.len().max(1) as f64,
            Axis::Numbers(_) => GRAIN,
        };
        let at =
            edges.iter().map(|e| (scale.place(*e).unwrap_or(0.0).clamp(0.0, 1.0) * whole).round() as i64);
        Edges { at: at.collect(), whole: whole as i64, scale }
    }

    /// Begin and end of a cell, counted from the other side if `upwards`.
    fn cell(&self, i: usize, upwards: bool) -> (i64, i64) {
        let (a, b) = (self.at[i], self.at[i + 1]);
        if upwards { (self.whole - b, self.whole - a) } else { (a, b) }
    }
}
