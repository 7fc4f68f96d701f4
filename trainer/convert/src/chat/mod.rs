//! Chat templates: from Jinja to literal pieces, and back.
//!
//! Hugging Face's models and GGUF files write a conversation by a program in Jinja. [`template`] runs it on a few short
//! conversations whose messages are marks, and reads off what stands around these: the pieces of a
//! [`ChatTemplate`], with which the runtime needs no template engine. They are then put together for longer conversations and
//! compared with what the program makes of these, so that a template of another shape is refused instead of misread.

mod jinja;

pub(crate) use jinja::jinja;

use crate::error::{Error, Result};
use minijinja::{Environment, ErrorKind, Value, context};
use siskin_format::Vocab;
use siskin_format::vocab::ChatTemplate;
use std::path::Path;

/// What the program may run for: instructions of the engine, far beyond what a template takes.
const FUEL: u64 = 1_000_000;
/// What is said in the probes: no template searches for it, and none strips it.
const MARKS: [&str; 6] =
    ["zq0system0qz", "zq1user1qz", "zq2model2qz", "zq3user3qz", "zq4model4qz", "zq5user5qz"];

/// The pieces of a chat template in Jinja, and what a person should know. `bos` and `eos` are the texts of these tokens, as the
/// template spells them.
///
/// # Errors
/// [`Error::Unsupported`] for a template that does not run, or that does not write a conversation as begin, messages between fixed
/// texts, and reply.
pub fn template(
    path: &Path,
    jinja: &str,
    vocab: &Vocab,
    (bos, eos): (&str, &str),
) -> Result<(ChatTemplate, Vec<String>)> {
    let refuse = |problem: String| Error::Unsupported { path: path.to_path_buf(), problem };
    let render = Renderer::new(jinja, bos, eos)
        .map_err(|problem| refuse(format!("the chat template cannot be parsed: {problem}")))?;
    let pieces = pieces(&render).map_err(|problem| refuse(format!("the chat template {problem}")))?;
    let (mut chat, notes) = pieces;
    chat.stops = stops(&chat, vocab);
    Ok((chat, notes))
}

/// A vocabulary with what a source says of conversations, if that can be expressed; a model without is as good for everything else, so
/// that a note says what is missing. `texts` are those of bos and eos.
///
/// # Errors
/// Pieces that a vocabulary cannot hold.
pub(crate) fn with_template(
    path: &Path,
    jinja: &str,
    vocab: Vocab,
    texts: (&str, &str),
    notes: &mut Vec<String>,
) -> Result<Vocab> {
    match template(path, jinja, &vocab, texts) {
        Ok((found, more)) => {
            notes.extend(more);
            let problem = |e: siskin_format::VocabError| Error::Tokenizer {
                path: path.to_path_buf(),
                problem: e.to_string(),
            };
            vocab.with_chat(Some(found)).map_err(problem)
        }
        Err(Error::Unsupported { problem, .. }) => {
            notes.push(format!("{problem}; the model is imported without it"));
            Ok(vocab)
        }
        Err(error) => Err(error),
    }
}

/// A template and what it may ask for.
struct Renderer<'a> {
    environment: Environment<'a>,
    bos: &'a str,
    eos: &'a str,
}

impl<'a> Renderer<'a> {
    fn new(jinja: &'a str, bos: &'a str, eos: &'a str) -> std::result::Result<Renderer<'a>, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template("chat", jinja).map_err(|error| one_line(&error))?;
        Ok(Renderer { environment, bos, eos })
    }

    /// A conversation, messages of role and content, and whether the model is asked for a reply.
    fn render(&self, messages: &[(&str, &str)], reply: bool) -> std::result::Result<String, String> {
        let messages: Vec<Value> =
            messages.iter().map(|(role, content)| context! { role, content }).collect();
        let template = self.environment.get_template("chat").map_err(|error| one_line(&error))?;
        let (bos_token, eos_token) = (self.bos, self.eos);
        let given = context! { messages, bos_token, eos_token, add_generation_prompt => reply };
        template.render(given).map_err(|error| one_line(&error))
    }
}

fn one_line(error: &minijinja::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts a text at marks, each of which it has once and in this order.
fn cut<'t>(text: &'t str, marks: &[&str]) -> Option<Vec<&'t str>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    for mark in marks {
        let (before, after) = rest.split_once(mark)?;
        parts.push(before);
        rest = after;
    }
    parts.push(rest);
    parts.iter().all(|part| !MARKS.iter().any(|mark| part.contains(mark))).then_some(parts)
}

fn pieces(render: &Renderer<'_>) -> std::result::Result<(ChatTemplate, Vec<String>), String> {
    let [system, user, model, next, last_model, last] = MARKS;
    let shape = |what: &str| format!("does not write {what} between fixed texts");
    let run = |messages: &[(&str, &str)], reply| {
        render.render(messages, reply).map_err(|error| format!("fails: {error}"))
    };
    let one = run(&[("user", user)], false)?;
    let asked = run(&[("user", user)], true)?;
    let two = run(&[("user", user), ("assistant", model)], false)?;
    let three = [("user", user), ("assistant", model), ("user", next)];
    let three_asked = run(&three, true)?;

    let one = cut(&one, &[user]).ok_or_else(|| shape("a user's message"))?;
    let asked = cut(&asked, &[user]).ok_or_else(|| shape("a user's message"))?;
    let two = cut(&two, &[user, model]).ok_or_else(|| shape("a reply"))?;
    let three_cut = cut(&three_asked, &[user, model, next]).ok_or_else(|| shape("a second message"))?;
    let (begin, user_after) = (one[0], one[1]);
    let reply = asked[1].strip_prefix(user_after).ok_or_else(|| shape("the beginning of a reply"))?;
    let model_before = two[1].strip_prefix(user_after).ok_or_else(|| shape("a reply"))?;
    // What ends a reply is what stands behind the last one, as far as it stands before the next message, too.
    let model_after = if three_cut[2].starts_with(two[2]) { two[2] } else { "" };
    let user_before = &three_cut[2][model_after.len()..];
    let mut chat = ChatTemplate {
        begin: begin.into(),
        system: Default::default(),
        user: (user_before.into(), user_after.into()),
        assistant: (model_before.into(), model_after.into()),
        reply: reply.into(),
        stops: Vec::new(),
    };
    let mut notes = Vec::new();
    let with_system = render.render(&[("system", system), ("user", user)], true);
    match with_system.as_deref().map(|text| cut(text, &[system, user])) {
        Ok(Some(cut)) if cut[2] == asked[1] => chat.system = (cut[0].into(), cut[1].into()),
        Ok(_) => notes.push("the chat template moves system messages about: a chat has none".into()),
        Err(error) => notes.push(format!("the chat template takes no system message ({error})")),
    }
    // A longer conversation has to come out as it was put together.
    let five = [three[0], three[1], three[2], ("assistant", last_model), ("user", last)];
    for (messages, with_system) in [(&three[..], false), (&five[..], false), (&five[..], true)] {
        if with_system && chat.system == Default::default() {
            continue;
        }
        let first: &[(&str, &str)] = if with_system { &[("system", system)] } else { &[] };
        let theirs = run(&[first, messages].concat(), true)?;
        if theirs != write(&chat, with_system.then_some(system), messages) {
            return Err(
                "writes earlier messages in another way than the last one, which fixed texts cannot".into()
            );
        }
    }
    Ok((chat, notes))
}

/// A conversation by the pieces, in which user and model take turns and the model comes next.
fn write(chat: &ChatTemplate, system: Option<&str>, messages: &[(&str, &str)]) -> String {
    let mut text = match system {
        Some(system) => [&chat.system.0, system, &chat.system.1].concat(),
        None => chat.begin.clone(),
    };
    for (i, (role, said)) in messages.iter().enumerate() {
        let (before, after) = if *role == "user" { &chat.user } else { &chat.assistant };
        text.push_str(if i == 0 { "" } else { before });
        text.push_str(said);
        text.push_str(after);
    }
    text + &chat.reply
}

/// The special token that ends a reply, if a reply's end spells one.
fn stops(chat: &ChatTemplate, vocab: &Vocab) -> Vec<u32> {
    let end = &chat.assistant.1;
    let literals = vocab.tokens().enumerate().filter(|(_, (_, kind))| kind.is_literal());
    let places = literals.filter_map(|(id, (bytes, _))| {
        let token = std::str::from_utf8(bytes).ok()?;
        Some((end.find(token)?, usize::MAX - token.len(), id as u32))
    });
    places.min().map(|(_, _, id)| id).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_format::vocab::{TokenKind, VocabKind, VocabParts};

    fn vocab() -> Vocab {
        let mut tokens: Vec<(Vec<u8>, TokenKind)> = (0..=255u8).map(|b| (vec![b], TokenKind::Byte)).collect();
        tokens.extend(["<|im_end|>", "</s>", "<|end|>"].map(|t| (t.into(), TokenKind::Control)));
        Vocab::new(VocabParts { kind: VocabKind::Byte, tokens, ..VocabParts::default() }).unwrap()
    }

    fn of(jinja: &str) -> Result<(ChatTemplate, Vec<String>)> {
        template(Path::new("model"), jinja, &vocab(), ("<s>", "</s>"))
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.into(), b.into())
    }

    #[test]
    fn chatml() {
        let (chat, notes) = of("{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
             {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
        .unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(chat.begin, "<|im_start|>user\n");
        assert_eq!(chat.system, pair("<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n"));
        assert_eq!(chat.user, pair("<|im_start|>user\n", "<|im_end|>\n"));
        assert_eq!(chat.assistant, pair("<|im_start|>assistant\n", "<|im_end|>\n"));
        assert_eq!((chat.reply.as_str(), &chat.stops[..]), ("<|im_start|>assistant\n", &[256][..]));
    }

    #[test]
    fn a_default_system_message_stands_only_where_there_is_none() {
        let (chat, _) = of("{%- if messages[0].role != 'system' -%}[SYS]be kind[/SYS]{%- endif -%}\
             {%- for m in messages -%}[{{ m.role }}]{{ m.content.strip() }}<|end|>{%- endfor -%}\
             {%- if add_generation_prompt -%}[assistant]{%- endif -%}")
        .unwrap();
        assert_eq!(chat.begin, "[SYS]be kind[/SYS][user]");
        assert_eq!(chat.system, pair("[system]", "<|end|>[user]"));
        assert_eq!(chat.stops, [258]);
    }

    #[test]
    fn llama2_puts_the_system_message_into_the_first_one() {
        let (chat, _) = of("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}\
             {% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}\
             {% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}\
             {% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}\
             {% else %}{% set content = message['content'] %}{% endif %}\
             {% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
             {% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
        .unwrap();
        assert_eq!(chat.begin, "<s>[INST] ");
        assert_eq!(chat.system, pair("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"));
        assert_eq!(chat.user, pair("<s>[INST] ", " [/INST]"));
        assert_eq!((chat.assistant, chat.reply), (pair(" ", " </s>"), String::new()));
        assert_eq!(chat.stops, [257]);
    }

    #[test]
    fn what_fixed_texts_cannot_say_is_refused_in_one_line() {
        for (jinja, expected) in [
            ("{% for m in messages %}", "the chat template cannot be parsed: "),
            ("{{ messages[0].content }}", "does not write a reply between fixed texts"),
            ("{{ raise_exception('never') }}", "the chat template fails: "),
            ("{% for i in range(9999) %}{% for i in range(9999) %}x{% endfor %}{% endfor %}", "fails: "),
            (
                "{% for m in messages %}{{ loop.revindex }}[{{ m.role }}]{{ m.content }}{% endfor %}",
                "the chat template ",
            ),
        ] {
            let error = of(jinja).unwrap_err().to_string();
            assert!(
                error.starts_with("model: ") && error.contains(expected) && !error.contains('\n'),
                "{error}"
            );
        }
        let no_system = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}\
             [{{ m.role }}]{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        let (chat, notes) = of(no_system).unwrap();
        assert_eq!(chat.system, pair("", ""));
        assert!(notes[0].starts_with("the chat template takes no system message"), "{notes:?}");
    }
}
