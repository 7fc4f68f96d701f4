//! `siskin-pages FOLDER DATE` writes the man pages of both programs to `FOLDER/man1` and their completions to
//! `FOLDER/{bash,zsh,fish}`, from the very definitions that the programs parse with.

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::fs::create_dir_all;
use std::io;
use std::path::Path;
use std::process::ExitCode;

#[path = "../../../runtime/cli/src/args.rs"]
#[allow(dead_code, reason = "the program reads the fields")]
mod siskin_args;

#[path = "../../../trainer/src/bin/siskin-train/args.rs"]
#[allow(dead_code, reason = "the program reads the fields")]
mod train_args;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(date), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: siskin-pages FOLDER DATE");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder), &date.to_string_lossy()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// All pages and completions of both programs below `folder`; the pages' foot shows `date`.
fn write(folder: &Path, date: &str) -> io::Result<()> {
    let man = folder.join("man1");
    create_dir_all(&man)?;
    for program in programs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            completion(&program, shell, folder)?;
        }
        let commands = program.get_subcommands().map(|c| (c, Some(&program)));
        for (command, program) in std::iter::once((&program, None)).chain(commands) {
            let (name, text) = page(command, program, date)?;
            std::fs::write(man.join(name), text)?;
        }
    }
    Ok(())
}

/// Both command lines.
fn programs() -> [Command; 2] {
    [siskin_args::Cli::command(), train_args::Cli::command()].map(|program| {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        program
    })
}

/// Where each shell looks for the completion of `siskin`: `siskin`, `_siskin`, `siskin.fish`.
fn completion(program: &Command, shell: Shell, folder: &Path) -> io::Result<()> {
    let folder = folder.join(shell.to_string());
    create_dir_all(&folder)?;
    let name = program.get_name();
    let file = match shell {
        Shell::Bash => name.to_string(),
        Shell::Zsh => format!("_{name}"),
        _ => format!("{name}.fish"),
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program.clone(), name, &mut text);
    std::fs::write(folder.join(file), text)
}

/// The page of a program or, where `program` is given, of one of its commands.
fn page(command: &Command, program: Option<&Command>, date: &str) -> io::Result<(String, Vec<u8>)> {
    let man = Man::new(command.clone().mut_args(values_in_help));
    let name = man.get_filename();
    let title = name.trim_end_matches(".1").to_uppercase();
    let source = concat!("siskin ", env!("CARGO_PKG_VERSION"));
    let man = man.title(title).date(date).source(source).manual("User Commands");
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    synopsis(command).to_writer(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut roff)?;
    }
    if let Some(after) = command.get_after_help() {
        lines("NOTES", &after.to_string()).to_writer(&mut roff)?;
    }
    let related = match program {
        Some(program) => vec![program.get_name().to_string()],
        None => {
            command.get_subcommands().map(|c| format!("{}-{}", command.get_name(), c.get_name())).collect()
        }
    };
    see_also(&related).to_writer(&mut roff)?;
    Ok((name, with_one_preamble(&roff)))
}

/// An option's possible values behind its help, as `--help` shows them.
fn values_in_help(option: Arg) -> Arg {
    let values: Vec<_> = option.get_possible_values().iter().map(|v| v.get_name().to_string()).collect();
    let help = option.get_help().map(|h| h.to_string()).unwrap_or_default();
    if values.is_empty() || !option.get_action().takes_values() {
        return option;
    }
    option.hide_possible_values(true).help(format!("{help} [possible values: {}]", values.join(", ")))
}

/// The usage of `--help`: with every setting, that of `siskin-train train` would fill a page.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    lines("SYNOPSIS", usage.trim_start_matches("Usage:").trim())
}

/// A section of lines that stay as they are.
fn lines(heading: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}

fn see_also(pages: &[String]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    for (i, page) in pages.iter().enumerate() {
        let comma = if i + 1 < pages.len() { "," } else { "" };
        roff.control("BR", [page.as_str(), &format!("(1){comma}")]);
    }
    roff
}

/// Each section was written with the definition of the apostrophe before it; one is enough.
fn with_one_preamble(roff: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(roff);
    let is_preamble = |line: &str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
    let kept = text.lines().enumerate().filter(|(i, line)| *i < 2 || !is_preamble(line));
    kept.flat_map(|(_, line)| [line.trim_end(), "\n"]).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a page, without fonts and escapes.
    fn words(page: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(page).replace("\\-", "-").replace("\\*(Aq", "'");
        for font in ["\\fB", "\\fI", "\\fR"] {
            text = text.replace(font, "");
        }
        text
    }

    /// Every command of both programs, with its program.
    fn for_each_command(mut check: impl FnMut(&Command, &str)) {
        for program in programs() {
            check(&program, &words(&page(&program, None, "2026-01-01").unwrap().1));
            for command in program.get_subcommands() {
                check(command, &words(&page(command, Some(&program), "2026-01-01").unwrap().1));
            }
        }
    }

    #[test]
    fn a_page_holds_every_option_that_help_shows() {
        let mut options = 0;
        for_each_command(|command, page| {
            for option in command.get_arguments().filter(|a| !a.is_hide_set()) {
                let help = option.get_help().expect("every option has a help").to_string();
                assert!(page.contains(help.lines().next().unwrap()), "{}: {help}", command.get_name());
                let flag = option.get_long().map(|l| format!("--{l}")).unwrap_or_default();
                assert!(page.contains(&flag), "{}: {flag}", command.get_name());
                options += 1;
            }
        });
        assert!(options > 300, "only {options} options were seen");
    }

    #[test]
    fn a_page_holds_headings_values_and_notes() {
        for_each_command(|command, page| match command.get_display_name() {
            Some("siskin-train-train") => {
                assert!(
                    page.contains(".SH MODEL")
                        && page.contains("[possible values: rnn, gru, lstm, gpt, llama, seq2seq]")
                );
                assert!(page.contains("\nsiskin-train train [OPTIONS] <TEXTS>...\n"));
            }
            Some("siskin-run") => {
                assert!(page.contains("\n  cat letter.txt | siskin run model.siskin - --json\n"))
            }
            _ => (),
        });
    }

    #[test]
    fn completions_name_every_command_and_flag() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "2026-01-01").unwrap();
        for program in programs() {
            let name = program.get_name();
            for file in [format!("bash/{name}"), format!("zsh/_{name}"), format!("fish/{name}.fish")] {
                let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
                for command in program.get_subcommands() {
                    let missing =
                        command.get_arguments().filter_map(Arg::get_long).find(|l| !text.contains(l));
                    assert!(text.contains(command.get_name()) && missing.is_none(), "{file}: {missing:?}");
                }
            }
        }
    }
}
