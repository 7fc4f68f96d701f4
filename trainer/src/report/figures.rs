//! The pictures of a page, each for a desktop and for a phone.

use super::Story;
use crate::observe::record::{Record, TensorRecord};
use crate::plot::svg::escape;
use crate::plot::{Chart, HeatMap};

/// Widths of pictures, pixels: on a desktop and on a phone.
const WIDTHS: [u32; 2] = [1000, 356];
/// Width of a picture on its own.
const ALONE: u32 = 720;
/// Most columns of a heat map.
const COLUMNS: usize = 200;

/// A picture of a run, at any width.
pub(super) struct Figure<'a> {
    /// A word for it, fit for a file's name.
    pub(super) name: &'static str,
    caption: &'static str,
    draw: Box<dyn Fn(u32) -> String + 'a>,
}

impl Figure<'_> {
    /// The figure with its caption; the page's stylesheet shows one of its two pictures.
    pub(super) fn html(&self) -> String {
        let [wide, narrow] = WIDTHS.map(&self.draw);
        format!(
            "<figure><div class=\"wide\">{wide}</div><div class=\"narrow\">{narrow}</div><figcaption>{}</figcaption></figure>\n",
            escape(self.caption)
        )
    }

    /// The picture alone, as SVG, as wide as others of this program.
    pub(super) fn svg(&self) -> String {
        (self.draw)(ALONE)
    }
}

fn figure<'a>(name: &'static str, caption: &'static str, draw: impl Fn(u32) -> String + 'a) -> Figure<'a> {
    Figure { name, caption, draw: Box::new(draw) }
}

/// Every figure of a run.
pub(super) fn all(story: &Story) -> Vec<Figure<'_>> {
    [loss(story), rates(story), inside(story)].into_iter().flatten().collect()
}

/// What went on inside.
pub(super) fn inside(story: &Story) -> Vec<Figure<'_>> {
    [gradients(story), ratios(story), times(story), activations(story)].into_iter().flatten().collect()
}

fn height(width: u32) -> u32 {
    if width > 500 { 400 } else { 290 }
}

/// Training and validation loss.
pub(super) fn loss(story: &Story) -> Vec<Figure<'_>> {
    let history = &story.history;
    let raw: Vec<_> = history.updates.iter().map(|u| (u.step, u.loss)).collect();
    let smooth = history.smoothed();
    let caption = "Cross-entropy of each batch before its update, the same smoothed, and the loss on the validation part.";
    vec![figure("loss", caption, move |width| {
        let mut chart = Chart::new("Loss", "update", "nats per token")
            .size(width, height(width))
            .thin("each batch", raw.clone())
            .line("training, smoothed", smooth.clone());
        if !history.evals.is_empty() {
            chart = chart.points("validation", history.evals.clone());
        }
        if let Some((step, loss)) = history.best() {
            chart = chart.mark_x(step, &format!("best {loss:.4}"));
        }
        chart.to_svg()
    })]
}

/// The learning rate, and the norm of the whole gradient.
pub(super) fn rates(story: &Story) -> Vec<Figure<'_>> {
    let updates = &story.history.updates;
    let lr: Vec<_> = updates.iter().map(|u| (u.step, u.lr)).collect();
    let norm: Vec<_> = updates.iter().map(|u| (u.step, u.grad_norm)).collect();
    let rate = figure("rate", "The learning rate of each update, as the schedule gave it.", move |width| {
        let chart = Chart::new("Learning rate", "update", "learning rate").size(width, height(width) * 3 / 4);
        chart.line("rate", lr.clone()).to_svg()
    });
    let norm = figure("norm", "Euclidean norm of the whole gradient, before clipping.", move |width| {
        let chart = Chart::new("Gradient norm", "update", "norm").log_y();
        chart.size(width, height(width) * 3 / 4).line("norm", norm.clone()).to_svg()
    });
    vec![rate, norm]
}

/// Records that are evenly spread over a run, few enough for a picture.
fn spread(records: &[Record]) -> Vec<&Record> {
    let every = records.len().div_ceil(COLUMNS).max(1);
    records.iter().step_by(every).collect()
}

/// A value of each tensor over time.
fn by_tensor<'a>(
    story: &Story,
    (name, title, label): (&'static str, &'static str, &'static str),
    caption: &'static str,
    of: impl Fn(&TensorRecord) -> f64,
) -> Vec<Figure<'a>> {
    let records = spread(&story.records);
    let Some(first) = records.first() else { return Vec::new() };
    let names: Vec<String> = first.tensors.iter().map(|t| t.name.clone()).collect();
    let steps: Vec<f64> = records.iter().map(|r| r.step as f64).collect();
    let value = |record: &Record, row: usize| record.tensors.get(row).map_or(f64::NAN, &of);
    let rows: Vec<Vec<f64>> =
        (0..names.len()).map(|row| records.iter().map(|r| value(r, row)).collect()).collect();
    let range = range(&names, &rows);
    vec![figure(name, caption, move |width| {
        let map = HeatMap::new(title, "update", "", steps.clone(), names.clone(), rows.clone());
        let map = match range {
            Some((lo, hi)) => map.range(lo, hi),
            None => map,
        };
        map.log_scale().value_label(label).width(width).to_svg()
    })]
}

/// The smallest and largest positive value, apart from the keys' biases: a softmax does not see them, so that their gradient is but rounding,
/// many orders of magnitude below all others.
fn range(names: &[String], rows: &[Vec<f64>]) -> Option<(f64, f64)> {
    let rows = names.iter().zip(rows).filter(|(name, _)| !name.ends_with(".bk"));
    let all: Vec<f64> =
        rows.flat_map(|(_, row)| row).copied().filter(|v| v.is_finite() && *v > 0.0).collect();
    Some((all.iter().copied().reduce(f64::min)?, all.into_iter().reduce(f64::max)?))
}

/// Norms of the gradient by tensor, over the run.
fn gradients(story: &Story) -> Vec<Figure<'_>> {
    let caption = "Each row is a tensor, from the embedding at the top to the head; each column an observed update. A band that goes \
                   dark towards the top is a gradient that vanishes on its way down.";
    by_tensor(story, ("gradients", "Gradient norm by tensor", "gradient norm"), caption, |t| t.gradient)
}

/// Update-to-weight ratios by tensor, over the run.
fn ratios(story: &Story) -> Vec<Figure<'_>> {
    let caption = "Norm of the update over norm of the weights. About 0.001 is common while training; far above 0.01 weights are \
                   thrown about, far below 0.0001 they hardly move.";
    let names = ("updates", "Update-to-weight ratio by tensor", "update / weight");
    by_tensor(story, names, caption, |t| t.update_ratio)
}

/// How the gradient of the last step's loss flows back through the window of a recurrent model.
fn times(story: &Story) -> Vec<Figure<'_>> {
    let with: Vec<&Record> = story.records.iter().filter(|r| !r.times.is_empty()).collect();
    let (Some(&first), Some(&last)) = (with.first(), with.last()) else { return Vec::new() };
    let caption = "Gradient of the last step's loss at each earlier step of the window, root mean square. A steep fall to the left is a gradient that \
                   vanishes: what happened then teaches nothing any more. A rise is one that explodes.";
    vec![figure("times", caption, move |width| {
        let title = "Gradient over time steps";
        let mut chart = Chart::new(title, "steps before the loss", "gradient (rms)").log_y();
        let mut shown = vec![first];
        shown.extend((last.step != first.step).then_some(last));
        for record in shown {
            for block in &record.times {
                let back = |i: usize| i as f64 + 1.0 - block.gradient.len() as f64;
                let values = block.gradient.iter().enumerate().map(|(i, g)| (back(i), *g)).collect();
                chart = chart.line(&format!("{}, update {}", block.name, record.step), values);
            }
        }
        chart.size(width, height(width)).to_svg()
    })]
}

/// Evenness of attention and shares of dead units, where there are any.
fn activations(story: &Story) -> Vec<Figure<'_>> {
    let records = spread(&story.records);
    let Some(&first) = records.first() else { return Vec::new() };
    type Of = fn(&crate::observe::record::ActivationRecord) -> Option<f64>;
    let kinds: [(&'static str, &'static str, &'static str, &'static str, Of); 3] = [
        (
            "attention",
            "Attention entropy",
            "1 even, 0 one position",
            "How evenly the heads of each block look at what came before.",
            |a| a.entropy,
        ),
        (
            "dead",
            "Dead units",
            "share",
            "Share of ReLU units that are 0 in at least 99 % of the observed rows.",
            |a| a.dead,
        ),
        (
            "saturated",
            "Saturated units",
            "share",
            "Share of tanh values beyond 0.97, where little gradient passes.",
            |a| a.saturated,
        ),
    ];
    let mut all = Vec::new();
    for (name, title, label, caption, of) in kinds {
        let rows: Vec<usize> =
            (0..first.activations.len()).filter(|i| of(&first.activations[*i]).is_some()).collect();
        if rows.is_empty() {
            continue;
        }
        let records = records.clone();
        all.push(figure(name, caption, move |width| {
            let mut chart = Chart::new(title, "update", label).size(width, height(width) * 3 / 4);
            for &row in &rows {
                let value = |r: &&Record| Some((r.step as f64, of(r.activations.get(row)?)?));
                chart = chart.line(&first.activations[row].name, records.iter().filter_map(value).collect());
            }
            chart.to_svg()
        }));
    }
    all
}
