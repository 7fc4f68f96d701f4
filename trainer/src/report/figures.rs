//! The pictures of a page, each for a desktop and for a phone.

use super::Story;
use crate::observe::record::{Record, TensorRecord};
use crate::plot::svg::escape;
use crate::plot::{Chart, HeatMap};

/// Widths of pictures, pixels: on a desktop and on a phone.
const WIDTHS: [u32; 2] = [1000, 356];
/// Most columns of a heat map.
const COLUMNS: usize = 200;

/// A figure with its caption; the reader's stylesheet shows one of its two pictures.
fn figure(caption: &str, draw: impl Fn(u32) -> String) -> String {
    let [wide, narrow] = WIDTHS.map(draw);
    format!(
        "<figure><div class=\"wide\">{wide}</div><div class=\"narrow\">{narrow}</div><figcaption>{}</figcaption></figure>\n",
        escape(caption)
    )
}

fn height(width: u32) -> u32 {
    if width > 500 { 400 } else { 290 }
}

/// Training and validation loss.
pub(super) fn loss(story: &Story) -> String {
    let history = &story.history;
    let raw: Vec<_> = history.updates.iter().map(|u| (u.step, u.loss)).collect();
    let smooth = history.smoothed();
    let caption = "Cross-entropy of each batch before its update, the same smoothed, and the loss on the validation part.";
    figure(caption, |width| {
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
    })
}

/// The learning rate, and the norm of the whole gradient.
pub(super) fn rates(story: &Story) -> String {
    let updates = &story.history.updates;
    let lr: Vec<_> = updates.iter().map(|u| (u.step, u.lr)).collect();
    let norm: Vec<_> = updates.iter().map(|u| (u.step, u.grad_norm)).collect();
    figure("The learning rate of each update, as the schedule gave it.", |width| {
        Chart::new("Learning rate", "update", "learning rate")
            .size(width, height(width) * 3 / 4)
            .line("rate", lr.clone())
            .to_svg()
    }) + &figure("Euclidean norm of the whole gradient, before clipping.", |width| {
        let chart = Chart::new("Gradient norm", "update", "norm").log_y();
        chart.size(width, height(width) * 3 / 4).line("norm", norm.clone()).to_svg()
    })
}

/// Records that are evenly spread over a run, few enough for a picture.
fn spread(records: &[Record]) -> Vec<&Record> {
    let every = records.len().div_ceil(COLUMNS).max(1);
    records.iter().step_by(every).collect()
}

/// A value of each tensor over time.
fn by_tensor(
    story: &Story,
    title: &str,
    label: &str,
    caption: &str,
    of: impl Fn(&TensorRecord) -> f64,
) -> String {
    let records = spread(&story.records);
    let Some(first) = records.first() else { return String::new() };
    let names: Vec<String> = first.tensors.iter().map(|t| t.name.clone()).collect();
    let steps: Vec<f64> = records.iter().map(|r| r.step as f64).collect();
    let value = |record: &Record, row: usize| record.tensors.get(row).map_or(f64::NAN, &of);
    let rows: Vec<Vec<f64>> =
        (0..names.len()).map(|row| records.iter().map(|r| value(r, row)).collect()).collect();
    figure(caption, |width| {
        let map = HeatMap::new(title, "update", "", steps.clone(), names.clone(), rows.clone());
        map.log_scale().value_label(label).width(width).to_svg()
    })
}

/// Norms of the gradient by tensor, over the run.
pub(super) fn gradients(story: &Story) -> String {
    let caption = "Each row is a tensor, from the embedding at the top to the head; each column an observed update. A band that goes \
                   dark towards the top is a gradient that vanishes on its way down.";
    by_tensor(story, "Gradient norm by tensor", "gradient norm", caption, |t| t.gradient)
}

/// Update-to-weight ratios by tensor, over the run.
pub(super) fn ratios(story: &Story) -> String {
    let caption = "Norm of the update over norm of the weights. About 1e-3 is common while training; far above 1e-2 weights are \
                   thrown about, far below 1e-4 they hardly move.";
    by_tensor(story, "Update-to-weight ratio by tensor", "update / weight", caption, |t| t.update_ratio)
}

/// How the gradient of the last step's loss flows back through the window of a recurrent model.
pub(super) fn times(story: &Story) -> String {
    let with: Vec<&Record> = story.records.iter().filter(|r| !r.times.is_empty()).collect();
    let (Some(first), Some(last)) = (with.first(), with.last()) else { return String::new() };
    let caption = "Gradient of the last step's loss at each earlier step of the window. A steep fall to the left is a gradient that \
                   vanishes: what happened then teaches nothing any more. A rise is one that explodes.";
    figure(caption, |width| {
        let title = "Gradient over time steps";
        let mut chart = Chart::new(title, "steps before the loss", "gradient, root mean square").log_y();
        let mut shown = vec![*first];
        shown.extend((last.step != first.step).then_some(*last));
        for record in shown {
            for block in &record.times {
                let back = |i: usize| i as f64 + 1.0 - block.gradient.len() as f64;
                let values = block.gradient.iter().enumerate().map(|(i, g)| (back(i), *g)).collect();
                chart = chart.line(&format!("{}, update {}", block.name, record.step), values);
            }
        }
        chart.size(width, height(width)).to_svg()
    })
}

/// Evenness of attention and shares of dead units, where there are any.
pub(super) fn activations(story: &Story) -> String {
    let records = spread(&story.records);
    let Some(first) = records.first() else { return String::new() };
    type Of = fn(&crate::observe::record::ActivationRecord) -> Option<f64>;
    let kinds: [(&str, &str, &str, Of); 3] = [
        (
            "Attention entropy",
            "1 even, 0 one position",
            "How evenly the heads of each block look at what came before.",
            |a| a.entropy,
        ),
        (
            "Dead units",
            "share",
            "Share of ReLU units that are 0 in at least 99 % of the observed rows.",
            |a| a.dead,
        ),
        (
            "Saturated units",
            "share",
            "Share of tanh values beyond 0.97, where little gradient passes.",
            |a| a.saturated,
        ),
    ];
    let mut all = String::new();
    for (title, label, caption, of) in kinds {
        let rows: Vec<usize> =
            (0..first.activations.len()).filter(|i| of(&first.activations[*i]).is_some()).collect();
        if rows.is_empty() {
            continue;
        }
        all += &figure(caption, |width| {
            let mut chart = Chart::new(title, "update", label).size(width, height(width) * 3 / 4);
            for &row in &rows {
                let value = |r: &&Record| Some((r.step as f64, of(r.activations.get(row)?)?));
                chart = chart.line(&first.activations[row].name, records.iter().filter_map(value).collect());
            }
            chart.to_svg()
        });
    }
    all
}
