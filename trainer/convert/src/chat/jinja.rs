//! Chat templates: from literal pieces back to Jinja, for llama.cpp and transformers.

use siskin_format::vocab::ChatTemplate;

/// A program that writes a conversation as [`ChatTemplate`] describes it. It asks for nothing but the language itself, so that every engine runs it, and
/// [`super::template`] reads the same pieces off it.
pub(crate) fn jinja(chat: &ChatTemplate) -> String {
    let say =
        |text: &str| if text.is_empty() { String::new() } else { format!("{{{{- {} -}}}}", literal(text)) };
    let around = |message: &str, (before, after): &(String, String)| {
        format!("{}{{{{- {message}['content'] -}}}}{}", say(before), say(after))
    };
    let system = match chat.system == Default::default() {
        true => refuse("This model takes no system message."),
        false => around("messages[0]", &chat.system),
    };
    let lines = [
        "{%- if messages[0]['role'] == 'system' -%}".to_string(),
        system,
        "{%- set turns = messages[1:] -%}".to_string(),
        "{%- else -%}".to_string(),
        say(&chat.begin),
        "{%- set turns = messages -%}".to_string(),
        "{%- endif -%}".to_string(),
        "{%- for message in turns -%}".to_string(),
        "{%- if message['role'] == 'user' -%}".to_string(),
        format!("{{%- if not loop.first -%}}{}{{%- endif -%}}", say(&chat.user.0)),
        format!("{{{{- message['content'] -}}}}{}", say(&chat.user.1)),
        "{%- elif message['role'] == 'assistant' -%}".to_string(),
        around("message", &chat.assistant),
        "{%- else -%}".to_string(),
        refuse("Only user and assistant take turns."),
        "{%- endif -%}".to_string(),
        "{%- endfor -%}".to_string(),
        format!("{{%- if add_generation_prompt -%}}{}{{%- endif -%}}", say(&chat.reply)),
    ];
    lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What transformers and llama.cpp offer for conversations that a model was not made for.
fn refuse(why: &str) -> String {
    format!("{{{{- raise_exception({}) -}}}}", literal(why))
}

/// A string in the escapes that Python's Jinja and its kin in other languages share.
fn literal(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str(r"\\"),
            '\'' => quoted.push_str(r"\'"),
            '\n' => quoted.push_str(r"\n"),
            '\r' => quoted.push_str(r"\r"),
            '\t' => quoted.push_str(r"\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::{Renderer, template, write};
    use super::*;
    use proptest::prelude::*;
    use siskin_format::Vocab;
    use std::path::Path;

    const SAID: [(&str, &str); 5] = [
        ("user", "Hello."),
        ("assistant", " {{ 'Hi!' }} "),
        ("user", "{% raw %}\n"),
        ("assistant", ""),
        ("user", "\\n'"),
    ];

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.into(), b.into())
    }

    fn llama2() -> ChatTemplate {
        ChatTemplate {
            begin: "<s>[INST] ".into(),
            system: pair("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
            user: pair("<s>[INST] ", " [/INST]"),
            assistant: pair(" ", " </s>"),
            ..ChatTemplate::default()
        }
    }

    /// The program writes what the pieces do, and the same pieces are read off it.
    fn holds(chat: &ChatTemplate) {
        let program = jinja(chat);
        let render = Renderer::new(&program, "<s>", "</s>").unwrap();
        for n in [1, 3, 5] {
            assert_eq!(render.render(&SAID[..n], true).unwrap(), write(chat, None, &SAID[..n]), "{program}");
            let with_system = [&[("system", "Be kind.")], &SAID[..n]].concat();
            let found = render.render(&with_system, true);
            match chat.system == Default::default() {
                true => assert!(found.unwrap_err().contains("no system message")),
                false => assert_eq!(found.unwrap(), write(chat, Some("Be kind."), &SAID[..n])),
            }
        }
        let (again, _) = template(Path::new("model"), &program, &Vocab::bytes(), ("<s>", "</s>")).unwrap();
        assert_eq!(again, *chat, "{program}");
    }

    #[test]
    fn a_program_writes_what_the_pieces_do() {
        holds(&llama2());
        holds(&ChatTemplate { system: Default::default(), ..llama2() });
        holds(&ChatTemplate { begin: "<|user|>\n".into(), user: pair("\n<|user|>\n", "\n"), ..llama2() });
    }

    #[test]
    fn a_conversation_of_others_is_refused() {
        let program = jinja(&llama2());
        let render = Renderer::new(&program, "", "").unwrap();
        let error = render.render(&[("user", "a"), ("tool", "b")], true).unwrap_err();
        assert!(error.contains("Only user and assistant"), "{error}");
    }

    proptest! {
        /// Quotes, braces, escapes, white space, whatever stands in a piece.
        #[test]
        fn any_pieces_come_back(pieces in prop::collection::vec(r#"[a-c<>|'"\\{}%# \n\r\t\x00\u{85}天🙂-]{0,6}"#, 8)) {
            let [begin, s0, s1, u0, u1, a0, a1, reply] = pieces.try_into().unwrap();
            let chat = ChatTemplate {
                begin, system: (s0, s1), user: (u0, u1), assistant: (a0, a1), reply, stops: Vec::new(),
            };
            let program = jinja(&chat);
            let render = Renderer::new(&program, "", "").unwrap();
            prop_assert_eq!(render.render(&SAID, true).unwrap(), write(&chat, None, &SAID));
            let (again, _) = template(Path::new("model"), &program, &Vocab::bytes(), ("", "")).unwrap();
            prop_assert_eq!(write(&again, Some("s"), &SAID), write(&chat, Some("s"), &SAID));
        }
    }
}
