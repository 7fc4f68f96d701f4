//! The marks that pictures are made of.

use std::fmt::Write;

/// Size of labels, pixels.
pub(crate) const FONT: f64 = 12.0;
/// Size of titles, pixels.
const TITLE: f64 = 14.0;
/// Bold text is wider than other text by this.
const BOLD: f64 = 1.1;
/// Between a picture's edge and what is in it.
pub(crate) const MARGIN: f64 = 12.0;

/// Colours of both themes. Series are `.c0` to `.c5`, dashes `.d0` to `.d3`.
const STYLE: &str = "<style>\
.sk{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif}\
.sk text{fill:#333}.sk .title{font-size:14px;font-weight:600;fill:#111}.sk .paper{fill:#fff}.sk .hole{fill:#e8e8e8}\
.sk .grid{stroke:#e3e3e3}.sk .axis,.sk .mark{stroke:#777;fill:none}.sk .mark{stroke-dasharray:3 3}.sk .band{fill:#888;fill-opacity:.16}\
.sk .line{fill:none;stroke-width:1.8;stroke-linejoin:round}.sk .thin{fill:none;stroke-width:1;opacity:.4}.sk .dot{stroke-width:1.2;fill-opacity:.55}\
.sk .c0{stroke:#0072b2;fill:#0072b2}.sk .c1{stroke:#d55e00;fill:#d55e00}.sk .c2{stroke:#00805f;fill:#00805f}\
.sk .c3{stroke:#a8468c;fill:#a8468c}.sk .c4{stroke:#8a6a00;fill:#8a6a00}.sk .c5{stroke:#444;fill:#444}\
.sk .d1{stroke-dasharray:8 3}.sk .d2{stroke-dasharray:2.5 2.5}.sk .d3{stroke-dasharray:9 3 2 3}\
.sk .line,.sk .thin{fill:none}\
@media(prefers-color-scheme:dark){.sk text{fill:#ccc}.sk .title{fill:#eee}.sk .paper{fill:#16181d}.sk .hole{fill:#2a2d34}.sk .grid{stroke:#2f333b}.sk .axis,.sk .mark{stroke:#999}\
.sk .c0{stroke:#56b4e9;fill:#56b4e9}.sk .c1{stroke:#ff8f4a;fill:#ff8f4a}.sk .c2{stroke:#2fc8a0;fill:#2fc8a0}\
.sk .c3{stroke:#e391c8;fill:#e391c8}.sk .c4{stroke:#f0d04e;fill:#f0d04e}.sk .c5{stroke:#ddd;fill:#ddd}.sk .line,.sk .thin{fill:none}}\
</style>";

/// A picture while it is drawn, from top to bottom.
pub(crate) struct Canvas {
    title: String,
    description: String,
    pub(crate) width: f64,
    /// Where what is drawn next begins.
    pub(crate) y: f64,
    body: String,
}

/// Which end or middle of a text stands at its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    /// A picture of this width with its title on it; `description` is read to those who do not see it.
    pub(crate) fn new(title: &str, width: f64, description: Option<String>) -> Self {
        let description = description.unwrap_or_default();
        let mut canvas =
            Canvas { title: title.to_string(), description, width, y: MARGIN, body: String::new() };
        for line in wrap(title, (width - 2.0 * MARGIN) / BOLD, TITLE) {
            canvas.y += TITLE + 3.0;
            let y = canvas.y - 3.0;
            canvas.raw(&format!(
                "<text class=\"title\" x=\"{}\" y=\"{}\">{}</text>",
                n(MARGIN),
                n(y),
                escape(&line)
            ));
        }
        canvas
    }

    /// Marks as they are.
    pub(crate) fn raw(&mut self, marks: &str) {
        self.body.push_str(marks);
    }

    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        self.turned(x, y, anchor, text, 0.0);
    }

    /// A text turned by `degrees` around its point.
    pub(crate) fn turned(&mut self, x: f64, y: f64, anchor: Anchor, text: &str, degrees: f64) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y) = (n(x), n(y));
        let turn = if degrees == 0.0 {
            String::new()
        } else {
            format!(" transform=\"rotate({} {x} {y})\"", n(degrees))
        };
        let _ = write!(self.body, "<text x=\"{x}\" y=\"{y}\"{anchor}{turn}>{}</text>", escape(text));
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = write!(
            self.body,
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            n(from.0),
            n(from.1),
            n(to.0),
            n(to.1)
        );
    }

    pub(crate) fn rect(&mut self, class: &str, area: Area) {
        let Area { x, y, w, h } = area;
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            n(x),
            n(y),
            n(w),
            n(h)
        );
    }

    /// Another picture, at a place of this one.
    pub(crate) fn embed(&mut self, picture: &str, x: f64, y: f64) {
        let inner = match (picture.find("<style>"), picture.find("</style>")) {
            (Some(begin), Some(end)) => {
                format!("{}{}", &picture[..begin], &picture[end + "</style>".len()..])
            }
            _ => picture.to_string(),
        };
        let _ = write!(self.body, "<svg x=\"{}\" y=\"{}\"{}", n(x), n(y), inner.trim_start_matches("<svg"));
    }

    pub(crate) fn finish(self) -> String {
        let (w, h) = (n(self.width), n(self.y + MARGIN));
        let description = match self.description.as_str() {
            "" => String::new(),
            text => format!("<desc>{}</desc>", escape(text)),
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sk\" role=\"img\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\">\
             <title>{}</title>{description}{STYLE}<rect class=\"paper\" width=\"100%\" height=\"100%\"/>{}</svg>",
            escape(&self.title),
            self.body
        )
    }
}

/// A rectangle of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) w: f64,
    pub(crate) h: f64,
}

/// `(width, height)` of a finished picture.
pub(crate) fn size_of(picture: &str) -> Option<(f64, f64)> {
    let of = |name: &str| picture.split(name).nth(1)?.split('"').next()?.parse().ok();
    Some((of(" width=\"")?, of(" height=\"")?))
}

/// A coordinate, to a tenth of a pixel.
pub(crate) fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// Text for SVG and HTML: markup is shown, not obeyed; control characters, which XML forbids, become `\u{fffd}`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// About how wide a text is, without asking a font.
pub(crate) fn text_width(text: &str, font: f64) -> f64 {
    let ems = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | '(' | ')' | ' ' => 0.32,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '␣' | '↵' | '⇥' | '…' => 0.86,
        'A'..='Z' => 0.66,
        c if c < '\u{1100}' => 0.6,
        _ => 1.05,
    };
    font * text.chars().map(ems).sum::<f64>()
}

/// A text that fits into `width`, cut in its middle if need be.
pub(crate) fn shorten(text: &str, width: f64) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut kept = chars.len();
    let mut short = text.to_string();
    while text_width(&short, FONT) > width && kept > 2 {
        kept -= 1;
        let head = kept / 2;
        short = chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - (kept - head)..]).collect();
    }
    short
}

/// Lines of at most `width`, broken at spaces.
pub(crate) fn wrap(text: &str, width: f64, font: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), font) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}
