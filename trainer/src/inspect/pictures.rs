//! The pictures of an [`Inspection`].

use super::{Inspection, most_variable};
use crate::error::Result;
use crate::model::traced::{BlockTrace, CellTrace};
use crate::plot::strip::{Cell, TextStrip};
use crate::plot::{Axis, HeatMap, grid_of};

/// Width of a whole picture, pixels.
const WIDTH: u32 = 1000;
/// Most tokens whose labels stand on both axes of an attention map.
const LABELLED: usize = 64;
/// Most cells of a side of a small map.
const SMALL_CELLS: usize = 64;
/// Tokens of one line of a trace.
const LINE: usize = 64;
/// Most lines of a trace: what comes later is not drawn.
const MOST_LINES: usize = 8;
/// Bits of surprise of the deepest colour.
const MOST_BITS: f64 = 10.0;

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Block whose attention or cell is wanted; `None` for all.
    pub layer: Option<usize>,
    /// Head to look at closely; `None` for the sharpest.
    pub head: Option<usize>,
    /// Most units of a cell.
    pub units: usize,
    /// Draw a cell's gates too, and the cell states of an LSTM.
    pub gates: bool,
}

/// A picture and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Heading.
    pub heading: String,
    /// How to read it.
    pub caption: String,
    /// The picture.
    pub svg: String,
}

/// Every picture of an inspection: the text on its surprise, attention if there is any, the state of every recurrent block.
///
/// # Errors
/// A layer or head that is not there.
pub fn pictures(seen: &Inspection, choice: Choice) -> Result<Vec<Picture>> {
    let n_blocks = seen.trace.blocks.len();
    if let Some(layer) = choice.layer.filter(|layer| *layer >= n_blocks) {
        let problem = format!("is {layer}, expected 0 to {}: blocks are counted from 0", n_blocks - 1);
        return Err(crate::Error::Setting { key: "layer", problem });
    }
    let is_cell = |i: usize| matches!(seen.trace.blocks[i], BlockTrace::Cell(_));
    let mut all = vec![surprise(seen)];
    let head = match choice.layer {
        Some(i) if is_cell(i) => None,
        layer => seen.head(layer, choice.head)?,
    };
    if let Some((block, head)) = head {
        all.push(heads(seen, choice.layer));
        all.push(one_head(seen, block, head));
    }
    for (i, block) in seen.trace.blocks.iter().enumerate() {
        if let BlockTrace::Cell(cell) = block
            && choice.layer.is_none_or(|layer| layer == i)
        {
            all.extend(cell_pictures(seen, i, cell, choice));
        }
    }
    Ok(all)
}

/// The text, each token on the colour of the bits that it cost.
fn surprise(seen: &Inspection) -> Picture {
    let cell = |(i, bits): (usize, Option<f64>)| {
        let label = &seen.tokens[i].label;
        let hint = match (bits, i.checked_sub(1).and_then(|before| seen.guess.get(before))) {
            (Some(bits), Some((guess, p))) => format!(
                "{label}: {bits:.2} bits, probability {:.4}; most probable here: {guess} ({p:.3})",
                2f64.powf(-bits)
            ),
            _ => format!("{label}: nothing comes before it"),
        };
        Cell {
            label: label.clone(), value: bits.unwrap_or(f64::NAN), hint, ends_line: label.ends_with('↵')
        }
    };
    let cells = seen.surprise().enumerate().map(cell).collect();
    let label = format!("bits of surprise at each token, -log2 p, {MOST_BITS} and more alike");
    let title = match seen.loss() {
        Some(loss) => format!(
            "How probable each token was: {loss:.3} nats = {:.2} bits per token on average",
            loss / std::f64::consts::LN_2
        ),
        None => "One token: nothing comes before it".to_string(),
    };
    let next = seen.guess.last().map_or(String::new(), |(guess, p)| {
        format!(" After the last token the model thinks {guess} most probable ({p:.3}).")
    });
    Picture {
        heading: "Surprise".into(),
        caption: format!(
            "Pale tokens were expected, deep orange ones came as a surprise; the first has nothing before it.{next}"
        ),
        svg: TextStrip::new(&title, &label, cells).range(0.0, MOST_BITS).width(WIDTH).to_svg(),
    }
}

/// All heads as small maps, a row for each block.
fn heads(seen: &Inspection, layer: Option<usize>) -> Picture {
    let n = seen.tokens.len();
    let blocks: Vec<(usize, &Vec<Vec<f64>>)> =
        attention_blocks(seen).filter(|(i, _)| layer.is_none_or(|layer| layer == *i)).collect();
    let columns = blocks.iter().map(|(_, maps)| maps.len()).max().unwrap_or(1).min(8);
    let side = (WIDTH / columns as u32).clamp(110, 210);
    let small = |block: usize, head: usize, map: &[f64]| {
        let values = pooled(map, n, SMALL_CELLS);
        let names = || Axis::Names(vec![String::new(); values.len()]);
        let title = format!("block {block} head {head}");
        HeatMap::new(&title, "", "", names(), names(), values.clone())
            .range(0.0, 1.0)
            .root_scale()
            .bare()
            .size(side, side + 20)
            .to_svg()
    };
    let mut maps = Vec::new();
    for (block, heads) in &blocks {
        maps.extend(heads.iter().enumerate().map(|(head, map)| small(*block, head, map)));
    }
    let pooling = match n.div_ceil(SMALL_CELLS) {
        1 => String::new(),
        k => format!(" Each cell is the highest of {k} by {k} tokens."),
    };
    Picture {
        heading: "Attention, every head".into(),
        caption: format!(
            "A row is a token that reads, from the first at the top; a column is a token that is read. Colours are those of the next \
             picture.{pooling}"
        ),
        svg: grid_of("Where every head looks", columns, maps),
    }
}

/// One head, large.
fn one_head(seen: &Inspection, block: usize, head: usize) -> Picture {
    let n = seen.tokens.len();
    let BlockTrace::Attention(maps, _) = &seen.trace.blocks[block] else {
        unreachable!("a head has attention")
    };
    let most = if n <= 256 { n } else { 256 };
    let values = pooled(&maps[head], n, most);
    let axis = || match n <= LABELLED {
        true => Axis::Names(seen.tokens.iter().map(|t| t.label.clone()).collect()),
        false => Axis::Numbers((0..values.len()).map(|i| (i * n.div_ceil(most)) as f64).collect()),
    };
    let upright = n > LABELLED;
    let rows = if upright { values.iter().rev().cloned().collect() } else { values.clone() };
    let y = match (axis(), upright) {
        (Axis::Numbers(at), true) => Axis::Numbers(at.iter().rev().map(|v| -v).collect()),
        (axis, _) => axis,
    };
    let title = format!("Block {block}, head {head}: where each token looks");
    let side = if n <= LABELLED { (150 + 14 * n as u32).clamp(360, 900) } else { 800 };
    let map = HeatMap::new(&title, "token that is read", "token that reads", axis(), y, rows)
        .range(0.0, 1.0)
        .root_scale()
        .value_label("attention probability")
        .size(side + 60, side)
        .to_svg();
    let entropy = seen.entropy((block, head));
    Picture {
        heading: format!("Attention of block {block}, head {head}"),
        caption: format!(
            "Each row sums to 1. Mean entropy {entropy:.2} of an even spread's: 0 looks at one token, 1 at all alike. Colours rise with the \
             square root, so that small shares can be seen."
        ),
        svg: map,
    }
}

fn attention_blocks(seen: &Inspection) -> impl Iterator<Item = (usize, &Vec<Vec<f64>>)> {
    seen.trace.blocks.iter().enumerate().filter_map(|(i, block)| match block {
        BlockTrace::Attention(maps, _) => Some((i, maps)),
        BlockTrace::Cell(_) => None,
    })
}

/// A causal map `[n, n]` in at most `most` rows and columns, each cell the highest of those that it stands for; NaN after the query.
pub(super) fn pooled(map: &[f64], n: usize, most: usize) -> Vec<Vec<f64>> {
    let k = n.div_ceil(most.max(1));
    let side = n.div_ceil(k);
    let mut rows = vec![vec![f64::NAN; side]; side];
    for (t, row) in map.chunks_exact(n).enumerate() {
        for (s, &p) in row[..=t].iter().enumerate() {
            let cell = &mut rows[t / k][s / k];
            *cell = cell.max(p); // NaN counts for nothing
        }
    }
    rows
}

/// State of a recurrent block over the text, and its gates if they are wanted.
fn cell_pictures(seen: &Inspection, block: usize, cell: &CellTrace, choice: Choice) -> Vec<Picture> {
    let units = most_variable(cell, choice.units.max(1));
    let kind = cell.kind.to_uppercase();
    let state =
        trace(seen, &format!("Block {block}: state h of {kind}"), "h", &cell.state, cell.hidden, &units);
    let shown = seen.tokens.len().min(LINE * MOST_LINES);
    let cut = match seen.tokens.len() - shown {
        0 => String::new(),
        more => format!(" The last {more} tokens are not drawn; --json has them."),
    };
    let mut all = vec![Picture {
        heading: format!("State of block {block} ({kind})"),
        caption: format!(
            "The {} of {} units whose state varies most over this text, the most variable at the top; blue is below zero, orange above.{cut}",
            units.len(),
            cell.hidden
        ),
        svg: state,
    }];
    if !choice.gates {
        return all;
    }
    for (letter, values) in &cell.gates {
        let (name, caption) = gate(letter);
        let title = format!("Block {block}: {name} of {kind}");
        all.push(Picture {
            heading: format!("Block {block}: {name}"),
            caption: format!("{caption} The same units in the same order."),
            svg: trace(seen, &title, letter, values, cell.hidden, &units),
        });
    }
    all
}

/// Name and meaning of a gate.
fn gate(letter: &str) -> (&'static str, &'static str) {
    match letter {
        "c" => ("cell state c", "What the cell remembers, before the output gate; not bounded by 1."),
        "i" => ("input gate i", "1 takes the new candidate in, 0 leaves it out."),
        "f" => ("forget gate f", "1 keeps the cell state, 0 forgets it."),
        "o" => ("output gate o", "1 shows the cell state to the rest of the model, 0 hides it."),
        "z" => ("update gate z", "1 keeps the old state, 0 replaces it."),
        _ => ("reset gate r", "1 lets the old state into the new candidate, 0 shuts it out."),
    }
}

/// Units over the tokens, line by line of the text.
fn trace(
    seen: &Inspection,
    title: &str,
    letter: &str,
    values: &[f64],
    hidden: usize,
    units: &[usize],
) -> String {
    let signed = matches!(letter, "h" | "c");
    let n = seen.tokens.len().min(LINE * MOST_LINES);
    let shown = values.chunks_exact(hidden).flat_map(|now| units.iter().map(move |&unit| now[unit].abs()));
    let most = shown.fold(0.0, f64::max);
    let line = |first: usize| {
        let last = (first + LINE).min(n);
        let columns = seen.tokens[first..last].iter().map(|t| t.label.clone()).collect::<Vec<_>>();
        // A short last line keeps the width of a token.
        let columns =
            columns.into_iter().chain(vec![String::new(); if n > LINE { first + LINE - last } else { 0 }]);
        let columns: Vec<String> = columns.collect();
        let at = |t: usize, unit: usize| if t < last { values[t * hidden + unit] } else { f64::NAN };
        let end = first + columns.len();
        let rows = units.iter().map(|&unit| (first..end).map(|t| at(t, unit)).collect());
        let names: Vec<String> = units.iter().map(usize::to_string).collect();
        let title = format!("{title}, tokens {} to {last}", first + 1);
        let map = HeatMap::new(&title, "", "unit", Axis::Names(columns), Axis::Names(names), rows.collect());
        let map = map.value_label(letter).width(WIDTH);
        if signed { map.diverging().range(-most, most).to_svg() } else { map.range(0.0, 1.0).to_svg() }
    };
    let lines: Vec<String> = (0..n).step_by(LINE).map(line).collect();
    if lines.len() == 1 { lines.into_iter().next().unwrap_or_default() } else { grid_of("", 1, lines) }
}
