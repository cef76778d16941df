//! What a system wants of a program beside the program: completions for shells, and a page of the manual.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Command, ValueEnum};
use clap_complete::aot::{self, generate};
use clap_mangen::Man;

/// Prints the completion for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic completions bash > ~/.local/share/bash-completion/completions/compotastic\n  \
compotastic completions zsh > ~/.zfunc/_compotastic\n  compotastic completions fish > ~/.config/fish/completions/compotastic.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Shells that have a completion.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Prints the page of the manual, in roff
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic man | man -l -\n  compotastic man > /usr/local/share/man/man1/compotastic.1"
)]
pub struct ManArgs {}

/// Runs `completions` for the whole command.
pub fn run_completions(args: &CompletionsArgs, mut command: Command) -> Result<()> {
    let name = command.get_name().to_string();
    let mut out = Vec::new();
    match args.shell {
        Shell::Bash => generate(aot::Bash, &mut command, name, &mut out),
        Shell::Zsh => generate(aot::Zsh, &mut command, name, &mut out),
        Shell::Fish => generate(aot::Fish, &mut command, name, &mut out),
    }
    io::stdout().write_all(&out)?;
    Ok(())
}

/// Runs `man` for the whole command.
pub fn run_man(_: &ManArgs, command: Command) -> Result<()> {
    io::stdout().write_all(&man(command)?)?;
    Ok(())
}

/// One page for the command and all its subcommands.
pub fn man(mut command: Command) -> io::Result<Vec<u8>> {
    command.build();
    let mut out = Vec::new();
    let page = Man::new(command.clone());
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    writeln!(out, ".SH COMMANDS")?;
    describe(&command, &mut out)?;
    page.render_extra_section(&mut out)?;
    writeln!(
        out,
        ".SH ENVIRONMENT\n.TP\n.B COMPOTASTIC_API\naddress of the daemon's API\n.TP\n.B COMPOTASTIC_TOKEN\nits token"
    )?;
    page.render_version_section(&mut out)?;
    Ok(out)
}

/// Text in which roff finds no orders.
fn plain(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_string() })
        .collect();
    lines.join("\n")
}

fn describe(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let usage = sub.clone().render_usage().to_string();
        writeln!(out, ".SS \"{}\"", plain(usage.trim_start_matches("Usage: ")))?;
        if let Some(about) = sub.get_long_about().or_else(|| sub.get_about()) {
            writeln!(out, "{}", plain(&about.to_string()))?;
        }
        for argument in sub.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help") {
            let names = argument.get_value_names().map_or_else(String::new, |names| names.join(" "));
            let head = match (argument.get_long(), argument.get_action().takes_values()) {
                (Some(long), true) => format!("--{long} {names}"),
                (Some(long), false) => format!("--{long}"),
                (None, _) => names,
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            writeln!(out, ".TP\n.B {}\n{}", plain(&head), plain(&help))?;
        }
        if let Some(after) = sub.get_after_help() {
            writeln!(out, ".PP\n.nf\n{}\n.fi", plain(&after.to_string()))?;
        }
        describe(sub, out)?;
    }
    Ok(())
}
