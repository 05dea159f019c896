//! `thalweg completions` and `thalweg man`: what shells and readers of manuals want, made from the
//! same types as `--help`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use super::Arguments;
use super::text::written;

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: for every user of bash, zsh or fish
  thalweg completions bash > /usr/share/bash-completion/completions/thalweg
  thalweg completions zsh > /usr/share/zsh/vendor-completions/_thalweg
  thalweg completions fish > /usr/share/fish/vendor_completions.d/thalweg.fish
For this shell only
  source <(thalweg completions bash)")]
pub struct Completions {
    /// The shell.
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: read it here, or install a page for each command
  thalweg man | man -l -
  thalweg man --directory /usr/local/share/man/man1")]
pub struct Man {
    /// The page of this command, as `check`; without it the page of all.
    #[arg(value_name = "COMMAND", conflicts_with = "directory")]
    command: Option<String>,
    /// Write a page for each command here.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// The command line, as the generators want it.
fn command() -> clap::Command {
    let mut command = Arguments::command();
    command.build();
    command
}

impl Completions {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let shell = match &*self.shell {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            _ => Shell::Fish,
        };
        // The generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "thalweg", &mut script);
        written(io::stdout().lock().write_all(&script))
    }
}

impl Man {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let all = command();
        if let Some(directory) = &self.directory {
            return match write_all(&all, directory) {
                Ok(count) => written(writeln!(io::stdout(), "{count} pages")),
                Err(error) => {
                    let _ = writeln!(io::stderr(), "{}: {error}", directory.display());
                    1
                }
            };
        }
        let mut path = self.command.iter().flat_map(|name| name.split(['-', ' ']));
        let Some(command) = path.try_fold(&all, |of, name| of.find_subcommand(name)) else {
            let name = self.command.unwrap_or_default();
            let _ = writeln!(io::stderr(), "there is no command `{}`", name.escape_debug());
            return 2;
        };
        let mut page = Vec::new();
        let rendered = render(command, &mut page);
        written(rendered.and_then(|()| io::stdout().lock().write_all(&page)))
    }
}

fn render(command: &clap::Command, out: &mut dyn Write) -> io::Result<()> {
    let examples = command.get_after_help().map(ToString::to_string);
    // The generator would run its lines together.
    let command = command.clone().after_help(clap::builder::Resettable::Reset);
    clap_mangen::Man::new(command).render(out)?;
    let Some(examples) = examples else { return Ok(()) };
    writeln!(out, ".SH EXAMPLES\n.nf")?;
    for line in examples.lines() {
        // No line is a request, no backslash an escape, and a dash can be pasted into a shell.
        writeln!(out, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(out, ".fi")
}

/// The pages of a command and of those below it; how many.
fn write_all(command: &clap::Command, directory: &Path) -> io::Result<u32> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut page = Vec::new();
    render(command, &mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    below.map(|below| write_all(below, directory)).try_fold(1, |sum, count| Ok(sum + count?))
}
