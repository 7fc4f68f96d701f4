//! How a dashboard looks: everything on a large terminal, one pane at a time on a usual one, figures and a curve on a tiny one.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Wrap};

use super::curve::{Curve, resample};
use super::state::{Pane, State};
use crate::plot::scale::plain;
use crate::progress::thousands;

const TRAINING: Color = Color::Cyan;
const VALIDATION: Color = Color::Yellow;
const SOFT: Style = Style::new().add_modifier(Modifier::DIM);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);

/// Draws `state` on the whole of `frame`.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    match (area.width, area.height) {
        (..60, _) | (_, ..16) => tiny(state, frame),
        (100.., 28..) => large(state, frame),
        _ => usual(state, frame),
    }
}

fn tiny(state: &State, frame: &mut Frame<'_>) {
    let [bar, losses, rates, speed, chart, keys] = Layout::vertical(
        [1, 1, 1, 1, 0, 1].map(|n| if n == 0 { Constraint::Min(0) } else { Constraint::Length(n) }),
    )
    .areas(frame.area());
    progress(state, false, frame, bar);
    frame.render_widget(figures(state), losses);
    let last = |curve: &Curve| curve.points().last().map_or("–".to_string(), |p| plain(p.1));
    let line = format!("rate {}  gradient {}", last(&state.lr), last(&state.grad_norm));
    frame.render_widget(Line::raw(line), rates);
    frame.render_widget(Line::raw(format!("{}  {}", state.speed, state.left)), speed);
    if chart.height >= 3 {
        loss_chart(state, frame, chart, false);
    }
    let line =
        if state.stopping { "saving; q again leaves at once" } else { "q save, stop  s sample  z zoom" };
    frame.render_widget(Line::styled(line, if state.stopping { ALARM } else { SOFT }), keys);
}

fn usual(state: &State, frame: &mut Frame<'_>) {
    let most = (frame.area().height * 2 / 5).max(6);
    let pane = (state.heat.names.len() as u16 + 3).clamp(6, most);
    let [head, bar, chart, rates, pane, foot] = rows(frame.area(), pane);
    header(state, frame, head);
    progress(state, true, frame, bar);
    loss_chart(state, frame, chart, true);
    sparklines(state, frame, rates);
    let tab = |p: Pane| {
        let style = if p == state.pane { STRONG.add_modifier(Modifier::REVERSED) } else { SOFT };
        [Span::raw(" "), Span::styled(format!(" {} ", p.name()), style)]
    };
    let block =
        Block::bordered().title(Line::from_iter(Pane::ALL.into_iter().flat_map(tab))).border_style(SOFT);
    let inner = block.inner(pane);
    frame.render_widget(block, pane);
    match state.pane {
        Pane::Gradients => gradients(state, frame, inner),
        Pane::Sample => sample(state, frame, inner),
        Pane::Notes => notes(state, frame, inner),
    }
    footer(state, true, frame, foot);
}

fn large(state: &State, frame: &mut Frame<'_>) {
    let height = frame.area().height;
    let parts = state.heat.names.len() as u16 + 3;
    let pane = parts.max(height / 3).clamp(9, height * 2 / 5);
    let [head, bar, chart, rates, pane, foot] = rows(frame.area(), pane);
    header(state, frame, head);
    progress(state, true, frame, bar);
    loss_chart(state, frame, chart, true);
    sparklines(state, frame, rates);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(pane);
    let said = state.notes.len().clamp(1, 4) as u16 + 2;
    let [right, below] = Layout::vertical([Constraint::Min(3), Constraint::Length(said)]).areas(right);
    let mut titled = |title: String, area: Rect| {
        let block = Block::bordered().title(Line::styled(format!(" {title} "), STRONG)).border_style(SOFT);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        inner
    };
    let after = state.sample.as_ref().map_or(String::new(), |s| format!(" after {}", thousands(s.0 as f64)));
    let [left, right, below] = [
        titled(format!("{} by part", Pane::Gradients.name()), left),
        titled(format!("{}{after}", Pane::Sample.name()), right),
        titled(Pane::Notes.name().to_string(), below),
    ];
    gradients(state, frame, left);
    sample(state, frame, right);
    notes(state, frame, below);
    footer(state, false, frame, foot);
}

fn rows(area: Rect, pane: u16) -> [Rect; 6] {
    let length = Constraint::Length;
    Layout::vertical([length(1), length(1), Constraint::Min(6), length(2), length(pane), length(1)])
        .areas(area)
}

fn header(state: &State, frame: &mut Frame<'_>, area: Rect) {
    frame.render_widget(Line::from_iter([Span::styled(format!(" {}", state.name), STRONG)]), area);
    let room = usize::from(area.width).saturating_sub(state.name.chars().count() + 3);
    if state.about.chars().count() <= room {
        frame.render_widget(Line::styled(format!("{} ", state.about), SOFT).right_aligned(), area);
    }
}

/// A bar as long as its words leave room for.
fn progress(state: &State, with_speed: bool, frame: &mut Frame<'_>, area: Rect) {
    let part = state.step as f64 / state.total.max(1) as f64;
    let [step, total] = [state.step, state.total].map(|n| thousands(n as f64));
    let mut words = format!(" {step}/{total}  {:.0} %", (100.0 * part).floor());
    if with_speed && !state.left.is_empty() {
        words += &format!("  {}  {}", state.left, state.speed);
    }
    let width = usize::from(area.width).saturating_sub(words.chars().count() + 2);
    let full = ((part * width as f64) as usize).min(width);
    let bar = [
        Span::styled(format!(" {}", "━".repeat(full)), Style::new().fg(TRAINING)),
        Span::styled("─".repeat(width - full), SOFT),
        Span::raw(words),
    ];
    frame.render_widget(Line::from_iter(bar), area);
}

/// The losses as figures, each in the colour of its curve.
fn figures(state: &State) -> Line<'static> {
    let mut spans = Vec::new();
    if let Some((_, loss)) = state.training.points().last() {
        spans.push(Span::styled(format!("training {loss:.3}"), Style::new().fg(TRAINING)));
    }
    if let (Some((_, loss)), Some((step, best))) = (state.validation.last(), state.best()) {
        let mut text = format!("  • validation {loss:.3}");
        if best < *loss {
            text += &format!(", best {best:.3} at {}", thousands(step));
        }
        spans.push(Span::styled(text, Style::new().fg(VALIDATION)));
    }
    Line::from_iter(spans)
}

fn loss_chart(state: &State, frame: &mut Frame<'_>, area: Rect, framed: bool) {
    let (from, to) = state.shown();
    let training = state.training.since(from);
    let first = state.validation.partition_point(|e| e.0 < from);
    let validation = &state.validation[first..];
    let bottom = 1 + u16::from(framed) * 2;
    let (y, labels) =
        loss_axis(training, validation, (area.height.saturating_sub(bottom + 1) / 2).clamp(1, 6));
    let dataset = |data, marker, kind, colour| {
        Dataset::default().data(data).marker(marker).graph_type(kind).style(Style::new().fg(colour))
    };
    let curves = vec![
        dataset(training, Marker::Braille, GraphType::Line, TRAINING),
        dataset(validation, Marker::Dot, GraphType::Scatter, VALIDATION),
    ];
    let steps = [from, f64::midpoint(from, to).floor(), to].map(|s| Span::styled(thousands(s), SOFT));
    let labels: Vec<Span<'_>> = labels.into_iter().map(|l| Span::styled(l, SOFT)).collect();
    let mut chart = Chart::new(curves)
        .legend_position(None)
        .x_axis(Axis::default().bounds([from, to]).labels(steps).style(SOFT))
        .y_axis(Axis::default().bounds(y).labels(labels).style(SOFT));
    if framed {
        let title = if state.zoomed {
            " loss, nats per token; the newest quarter "
        } else {
            " loss, nats per token "
        };
        let mut figures = figures(state);
        figures.spans.insert(0, Span::raw(" "));
        figures.spans.push(Span::raw(" "));
        let block = Block::bordered().border_style(SOFT).title(Line::styled(title, STRONG));
        chart = chart.block(block.title(figures.right_aligned()));
    }
    frame.render_widget(chart, area);
}

/// Bounds and evenly spaced labels, at most about `most` steps, that hold the losses. Those of the first twentieth of the curve, where it falls
/// from the loss of an untrained model, may leave the picture above.
fn loss_axis(training: &[(f64, f64)], validation: &[(f64, f64)], most: u16) -> ([f64; 2], Vec<String>) {
    let late = &training[training.len() / 20..];
    // Beyond a million million nobody reads an axis, and sums overflow.
    let all = || late.iter().chain(validation).map(|p| p.1.clamp(-1e12, 1e12));
    let (Some(lo), Some(hi)) = (all().reduce(f64::min), all().reduce(f64::max)) else {
        return ([0.0, 1.0], vec!["0".to_string(), "1".to_string()]);
    };
    let hi = hi.max(lo + 1e-3 * lo.abs().max(1e-3));
    let mut power = 10f64.powf(((hi - lo) / f64::from(most)).log10().floor());
    loop {
        for step in [power, 2.0 * power, 5.0 * power] {
            let (first, last) = ((lo / step).floor(), (hi / step).ceil());
            if last - first <= f64::from(most) || most < 2 && last - first <= 2.0 {
                let decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
                let n = (last - first) as usize;
                let labels = (0..=n).map(|i| format!("{:.decimals$}", (first + i as f64) * step)).collect();
                return ([first * step, last * step], labels);
            }
        }
        power *= 10.0;
    }
}

/// Learning rate and gradient norm, a line each.
fn sparklines(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let [upper, lower] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let (from, to) = state.shown();
    let mut line = |name: &str, curve: &Curve, log: bool, area: Rect| {
        let last = curve.points().last().map_or("–".to_string(), |p| plain(p.1));
        let head = format!(" {name:<14} {last:<9} ");
        let width = usize::from(area.width).saturating_sub(head.chars().count() + 1);
        let bars = bars(&resample(curve.since(from), from, to, width), log);
        frame.render_widget(
            Line::from_iter([Span::raw(head), Span::styled(bars, Style::new().fg(TRAINING))]),
            area,
        );
    };
    line("learning rate", &state.lr, false, upper);
    line("gradient norm", &state.grad_norm, true, lower);
}

/// Values as bars of eight heights; a linear scale begins at 0.
fn bars(values: &[Option<f64>], log: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let scaled = |v: f64| if log { v.max(1e-30).log10() } else { v };
    let all = || values.iter().flatten().map(|v| scaled(*v));
    let lo = if log { all().fold(f64::INFINITY, f64::min) } else { 0.0 };
    let hi = all().fold(f64::NEG_INFINITY, f64::max);
    let bar = |v: &Option<f64>| {
        let Some(v) = v else { return ' ' };
        let at = (scaled(*v) - lo) / (hi - lo).max(1e-12) * 7.0;
        BARS[at.round().clamp(0.0, 7.0) as usize]
    };
    values.iter().map(bar).collect()
}

/// Lightness rises evenly, in colour (after viridis) as in cover.
const SHADES: [(char, u8); 8] =
    [('·', 54), ('░', 61), ('░', 67), ('▒', 37), ('▒', 36), ('▓', 71), ('▓', 149), ('█', 227)];

fn gradients(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let heat = &state.heat;
    let Some((lo, hi)) = heat.range() else {
        let hint = "gradients show with the first observed update (--observe-every)";
        return frame.render_widget(Paragraph::new(hint).style(SOFT).wrap(Wrap { trim: true }), area);
    };
    let labels = heat.names.iter().map(|n| n.chars().count()).max().unwrap_or(0).min(14);
    let width = usize::from(area.width).saturating_sub(labels + 2);
    let rows = usize::from(area.height).saturating_sub(1).min(heat.names.len());
    let (from, to) = state.shown();
    // The right edge of each column.
    let step = |column: usize| from + (to - from) * (column + 1) as f64 / width as f64;
    for row in 0..rows {
        let part = row * (heat.names.len() - 1) / (rows - 1).max(1); // the first and the last always
        let name: String = heat.names[part].chars().take(labels).collect();
        let mut spans = vec![Span::raw(format!("{name:>labels$} "))];
        spans.extend((0..width).map(|column| shade(heat.at(step(column)).map(|c| c[part]), lo, hi)));
        let at = Rect { y: area.y + row as u16, height: 1, ..area };
        frame.render_widget(Line::from_iter(spans), at);
    }
    let mut scale = vec![Span::styled(format!("{:>labels$} {} ", "", plain(lo)), SOFT)];
    scale.extend(SHADES.iter().map(|(c, colour)| Span::styled(c.to_string(), Color::Indexed(*colour))));
    scale.push(Span::styled(format!(" {}", plain(hi)), SOFT));
    let at = Rect { y: area.y + rows as u16, height: 1, ..area };
    frame.render_widget(Line::from_iter(scale), at.intersection(area));
}

/// A cell of the heat map, by the logarithm of its value.
fn shade(value: Option<f64>, lo: f64, hi: f64) -> Span<'static> {
    match value {
        None => Span::raw(" "),
        Some(v) if !v.is_finite() => Span::styled("×", ALARM),
        Some(v) => {
            let at = (v.max(lo) / lo).ln() / (hi / lo).ln().max(1e-12);
            let (c, colour) = SHADES[(at * SHADES.len() as f64).clamp(0.0, 7.0) as usize];
            Span::styled(c.to_string(), Color::Indexed(colour))
        }
    }
}

fn sample(state: &State, frame: &mut Frame<'_>, area: Rect) {
    match &state.sample {
        Some((_, text)) => {
            frame.render_widget(Paragraph::new(text.as_str()).wrap(Wrap { trim: false }), area);
        }
        None => frame.render_widget(Line::styled("none yet: s asks for one", SOFT), area),
    }
}

/// The newest notes that have room, oldest first.
fn notes(state: &State, frame: &mut Frame<'_>, area: Rect) {
    if state.notes.is_empty() {
        let line = "none: no update was skipped, no loss jumped";
        return frame.render_widget(Line::styled(line, SOFT), area);
    }
    let line = |n: &super::state::Note| {
        let style = if n.warning { Style::new().fg(Color::Yellow) } else { Style::new() };
        Line::styled(format!("{}: {}", thousands(n.step as f64), n.text), style)
    };
    let first = state.notes.len().saturating_sub(usize::from(area.height));
    let lines: Vec<Line<'_>> = state.notes.iter().skip(first).map(line).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// Which keys do what, and what is going on.
fn footer(state: &State, with_panes: bool, frame: &mut Frame<'_>, area: Rect) {
    let keys = match state.stopping {
        true => Line::styled(" stopping after this step and saving; q again leaves at once", ALARM),
        false => {
            let panes = if with_panes { "   tab next pane" } else { "" };
            Line::styled(format!(" q save and stop   s sample now   z zoom{panes}"), SOFT)
        }
    };
    frame.render_widget(keys, area);
    let (word, style) = match state.warnings().count() {
        _ if state.stopping => return,
        _ if state.sample_wanted => ("sampling after this step ".to_string(), STRONG),
        0 => return,
        1 => ("1 warning ".to_string(), ALARM),
        n => (format!("{n} warnings "), ALARM),
    };
    frame.render_widget(Line::styled(word, style).right_aligned(), area);
}
