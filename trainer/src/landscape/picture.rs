//! The picture of a [`Landscape`].

use super::Landscape;
use crate::plot::{Chart, HeatMap, grid_of};
use crate::progress::thousands;

/// Contour lines.
const LEVELS: usize = 12;

/// Loss over the plane with contour lines and the models marked; below it, if there are several, the loss along the lines between them.
pub fn picture(landscape: &Landscape) -> String {
    let several = landscape.models.len() > 1;
    let (floor, ceiling) = colours(landscape);
    // Losses rise with the square of the distance from a minimum: so do the levels, and the lines stand evenly.
    let level = |k: usize| floor + (ceiling - floor) * (k as f64 / LEVELS as f64).powi(2);
    let (x, y) = match landscape.models.len() {
        1 => ("first random direction, in lengths of the weights", "second random direction"),
        2 => ("from the first model, 0, to the second, 1", "a random direction, same unit"),
        _ => ("from the first model, 0, to the second, 1", "towards the third model, same unit"),
    };
    let mut map = HeatMap::new(
        &title(landscape, ceiling),
        x,
        y,
        landscape.x.clone(),
        landscape.y.clone(),
        landscape.losses.clone(),
    )
    .range(floor, ceiling)
    .root_scale()
    .value_label("loss, nats per token")
    .contours((1..LEVELS).map(level).collect())
    .size(760, if several { 600 } else { 700 });
    for model in &landscape.models {
        map = map.mark(model.at.0, model.at.1, &format!("{} {:.3}", model.name, model.loss));
    }
    if !several {
        return map.to_svg();
    }
    let title = "Loss along the straight lines between the models";
    let mut chart = Chart::new(title, "share of the way", "loss, nats per token").size(760, 320);
    for path in &landscape.paths {
        let name = |i: usize| &landscape.models[i].name;
        let (rise, _) = path.barrier();
        let name = format!("{} to {}: barrier {rise:.3}", name(path.ends.0), name(path.ends.1));
        chart = chart.line(&name, path.losses.clone());
    }
    grid_of("", 1, vec![map.to_svg(), chart.to_svg()])
}

/// The losses of the first and the last colour: from the lowest to what guessing costs, or the highest if that is lower. Between models that
/// are worse than guessing, up to the worst of them.
fn colours(landscape: &Landscape) -> (f64, f64) {
    let all = || landscape.losses.iter().flatten().copied().filter(|v| v.is_finite());
    let (lo, hi) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    let models = landscape.models.iter().map(|m| m.loss).filter(|v| v.is_finite());
    let (lo, worst) = models.fold((lo, landscape.guessing), |(lo, worst), v| (lo.min(v), worst.max(v)));
    if lo > hi { (0.0, 1.0) } else { (lo, hi.min(worst)) }
}

fn title(landscape: &Landscape, ceiling: f64) -> String {
    let names: Vec<&str> = landscape.models.iter().map(|m| m.name.as_str()).collect();
    let place = if names.len() == 1 { "around" } else { "between" };
    let above = landscape.losses.iter().flatten().filter(|v| **v > ceiling && v.is_finite()).count();
    let clipped = match above {
        0 => String::new(),
        n => format!("; colours end at {ceiling:.2}, {} points lie higher", thousands(n as f64)),
    };
    let holes = match landscape.not_finite() {
        0 => String::new(),
        n => format!("; {} points, left grey, are not finite", thousands(n as f64)),
    };
    let tokens = thousands(landscape.tokens as f64);
    format!("Loss {place} {} on {tokens} held-out tokens{clipped}{holes}", names.join(", "))
}
