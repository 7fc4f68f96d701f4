//! The page itself.

use std::fmt::Write;

use super::outcome::Outcome;
use super::{Story, figures};
use crate::doctor::{Finding, flags};
use crate::plot::svg::escape;
use crate::progress::{clock, thousands};

/// Most samples on a page.
const SAMPLES: usize = 8;
/// Rows of the table of figures.
const ROWS: usize = 12;

/// The page of a run, complete.
pub(super) fn page(story: &Story) -> String {
    let name = escape(&story.name);
    let sections = [
        section("What was trained", &table("facts", &[], &pairs(&story.facts))),
        section("Exported", &exported(story)),
        section("Beginnings", &restarts(story)),
        section("Doctor", &doctor(story)),
        section("Loss", &html(&figures::loss(story))),
        section("Rate and gradient", &html(&figures::rates(story))),
        section("Inside", &html(&figures::inside(story))),
        section("Samples", &samples(story)),
        section("Notes and warnings", &notes(story)),
        section("Figures", &table_of_figures(story)),
        section("Settings", &settings(story)),
    ];
    document(
        &story.name,
        &[format!("<h1>{name}</h1>\n"), summary(story), cards(story), sections.concat()].concat(),
    )
}

/// A page called `title` that holds `body`, markup, and asks nothing of a network.
pub(crate) fn document(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title} – siskin</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
         {body}</main>\n</body>\n</html>\n",
        include_str!("style.css")
    )
}

/// A part with its heading, or nothing.
fn section(heading: &str, body: &str) -> String {
    match body {
        "" => String::new(),
        _ => format!("<section>\n<h2>{heading}</h2>\n{body}</section>\n"),
    }
}

/// A table; cells are text.
fn table(class: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("<div class=\"scroll\"><table class=\"{class}\">\n");
    if !heads.is_empty() {
        let heads: String = heads.iter().map(|h| format!("<th scope=\"col\">{}</th>", escape(h))).collect();
        let _ = writeln!(out, "<thead><tr>{heads}</tr></thead>");
    }
    out.push_str("<tbody>\n");
    for row in rows {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(&row[0]));
        for (i, cell) in row[1..].iter().enumerate() {
            // The heading goes with its cell where a narrow page stacks them.
            let label = heads.get(i + 1).map_or(String::new(), |h| format!(" data-label=\"{}\"", escape(h)));
            let _ = write!(out, "<td{label}>{}</td>", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    out
}

fn pairs(pairs: &[(String, String)]) -> Vec<Vec<String>> {
    pairs.iter().map(|(a, b)| vec![a.clone(), b.clone()]).collect()
}

fn summary(story: &Story) -> String {
    let state = match story.steps >= story.total {
        true => "finished",
        false => "not finished, or ended early",
    };
    format!(
        "<p class=\"soft\">A run of siskin-train, {state} after {} updates.</p>\n",
        thousands(story.steps as f64)
    )
}

/// Seconds of all sittings together.
fn seconds(story: &Story) -> Option<f64> {
    let of = |o: &Outcome| if let Outcome::Trained { seconds, .. } = o { Some(*seconds) } else { None };
    story.outcomes.iter().filter_map(of).reduce(|a, b| a + b)
}

fn cards(story: &Story) -> String {
    let mut cards = Vec::new();
    let perplexity = |loss: f64| format!("perplexity {:.2}", loss.exp());
    if let Some((step, loss)) = story.history.best() {
        let what = format!(
            "best validation loss, nats per token, at update {}; {}",
            thousands(step),
            perplexity(loss)
        );
        cards.push((format!("{loss:.4}"), what));
    } else if let Some((_, loss)) = story.history.smoothed().last() {
        cards.push((
            format!("{loss:.4}"),
            format!("training loss at the end, smoothed; {}", perplexity(*loss)),
        ));
    }
    let file = story.outcomes.iter().rev().find_map(|o| match o {
        Outcome::Exported { dtype, bytes, file_loss, .. } => Some((dtype, *bytes, *file_loss)),
        Outcome::Trained { .. } => None,
    });
    if let Some((dtype, bytes, loss)) = file {
        if let Some(loss) = loss {
            cards.push((format!("{loss:.4}"), format!("loss of the exported {dtype} file, by the runtime")));
        }
        cards.push((size(bytes), format!("the exported file, {dtype}")));
    }
    if let Some(seconds) = seconds(story) {
        cards.push((clock(seconds), "training time".to_string()));
    }
    let fact = |name: &str| story.facts.iter().find(|f| f.0 == name).map(|f| f.1.clone());
    cards.extend(fact("Parameters").map(|n| (n, "parameters".to_string())));
    let card = |(figure, what): &(String, String)| {
        format!("<div class=\"card\"><b>{}</b><span>{}</span></div>\n", escape(figure), escape(what))
    };
    format!("<div class=\"cards\">\n{}</div>\n", cards.iter().map(card).collect::<String>())
}

fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.0} kB", b / 1e3),
    }
}

/// What was exported, and what it is worth.
fn exported(story: &Story) -> String {
    let row = |outcome: &Outcome| match outcome {
        Outcome::Exported { file, dtype, bytes, tokens, float_loss, file_loss } => {
            let number = |v: &Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.4}"));
            let change = float_loss.zip(*file_loss).map(|(a, b)| format!("{:+.2} %", 100.0 * (b / a - 1.0)));
            Some(vec![
                file.clone(),
                dtype.clone(),
                thousands(*bytes as f64),
                number(float_loss),
                number(file_loss),
                change.unwrap_or("–".to_string()),
                tokens.map_or("–".to_string(), |n| thousands(n as f64)),
            ])
        }
        Outcome::Trained { .. } => None,
    };
    let rows: Vec<Vec<String>> = story.outcomes.iter().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heads = ["File", "Weights", "Bytes", "Float loss", "File loss", "Change", "Held-out tokens"];
    table("figures stack", &heads, &rows)
        + "<p class=\"soft\">Both losses are nats per token, computed by the runtime's own kernels on the file that runs.</p>\n"
}

/// The beginnings of a run with restarts.
fn restarts(story: &Story) -> String {
    let row = |&(seed, loss, updates, chosen): &(u64, f64, u64, bool)| {
        let loss = if loss.is_finite() { format!("{loss:.4}") } else { "diverged".to_string() };
        let fate = if chosen { "went on" } else { "was left" };
        vec![seed.to_string(), loss, thousands(updates as f64), fate.to_string()]
    };
    let rows: Vec<Vec<String>> = story.history.restarts.iter().map(row).collect();
    match rows.is_empty() {
        true => String::new(),
        false => table("figures", &["Seed", "Validation loss", "Updates", "Fate"], &rows),
    }
}

/// The troubles that the doctor finds.
fn doctor(story: &Story) -> String {
    if story.findings.is_empty() {
        return "<p>No trouble found.</p>\n".to_string();
    }
    let row = |f: &Finding| {
        let place = if f.place.is_empty() { String::new() } else { format!(" in {}", f.place) };
        let remedy = match flags(&f.remedy) {
            flags if flags.is_empty() => f.advice.clone(),
            flags => format!("{}: {flags}", f.advice),
        };
        vec![
            format!("{}{place}", f.trouble.name()),
            thousands(f.first_step as f64),
            f.evidence.clone(),
            remedy,
        ]
    };
    let rows: Vec<Vec<String>> = story.findings.iter().map(row).collect();
    table("", &["Trouble", "Since update", "Evidence", "Remedy"], &rows)
        + "<p class=\"soft\">The likeliest cause first. siskin-train doctor RUN --try tries the remedies side by side.</p>\n"
}

fn html(figures: &[figures::Figure<'_>]) -> String {
    figures.iter().map(figures::Figure::html).collect()
}

/// Samples, evenly spread over the run and the last of all.
fn samples(story: &Story) -> String {
    let samples = &story.history.samples;
    let n = samples.len();
    let mut shown: Vec<usize> = (0..n.min(SAMPLES)).map(|i| (i + 1) * n / n.min(SAMPLES) - 1).collect();
    shown.dedup();
    let one = |i: &usize| {
        let (step, text) = &samples[*i];
        let text = escape(text.trim_matches('\n'));
        format!("<h3>After update {}</h3>\n<pre>{text}</pre>\n", thousands(*step as f64))
    };
    shown.iter().map(one).collect()
}

fn notes(story: &Story) -> String {
    let notes = &story.history.notes;
    if notes.is_empty() {
        return "<p>None: no update was skipped, no loss jumped.</p>\n".to_string();
    }
    let one = |(step, text): &(u64, String)| {
        format!("<li>Update {}: {}</li>\n", thousands(*step as f64), escape(text))
    };
    format!("<ul>\n{}</ul>\n", notes.iter().map(one).collect::<String>())
}

/// The curves as numbers.
fn table_of_figures(story: &Story) -> String {
    let (updates, smooth) = (&story.history.updates, story.history.smoothed());
    let n = updates.len();
    if n == 0 {
        return String::new();
    }
    let mut at: Vec<usize> = (0..ROWS).map(|i| i * (n - 1) / (ROWS - 1)).collect();
    at.dedup();
    let evals = &story.history.evals;
    let number = |v: f64| if v.is_finite() { format!("{v:.4}") } else { "–".to_string() };
    let row = |&i: &usize| {
        let update = updates[i];
        let train = smooth.iter().rev().find(|s| s.0 <= update.step).map_or(f64::NAN, |s| s.1);
        let val = evals.iter().rev().find(|e| e.0 <= update.step).map_or(f64::NAN, |e| e.1);
        vec![
            thousands(update.step),
            number(train),
            number(val),
            format!("{:.2e}", update.lr),
            if update.grad_norm.is_finite() {
                format!("{:.3e}", update.grad_norm)
            } else {
                "–".to_string()
            },
        ]
    };
    let rows: Vec<Vec<String>> = at.iter().map(row).collect();
    let heads =
        ["Update", "Training loss, smoothed", "Latest validation loss", "Learning rate", "Gradient norm"];
    table("figures curves", &heads, &rows)
}

fn settings(story: &Story) -> String {
    let table = table("facts", &[], &pairs(&story.settings));
    format!("<details><summary>Every setting of the run</summary>\n{table}</details>\n")
}
