//! The `transplant` binary as a function, so that a runner with more plugins is three lines:
//!
//! ```no_run
//! # mod my_crate { pub fn plugin(_: &mut transplant_core::Plugins) {} }
//! fn main() -> std::process::ExitCode {
//!     transplant_cli::main(transplant_pipeline::builtin().with(my_crate::plugin))
//! }
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on its standard streams")]

mod args;
mod failure;
mod progress;
mod signals;
mod verbs;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches;
use tracing_subscriber::EnvFilter;
use transplant_core::{Error, Plugins};

use args::Cli;
use failure::Failure;
use signals::Signals;

/// What is told on the standard error without `TRANSPLANT_LOG`: also what is fetched, which may take minutes.
const LOGGED: &str = "warn,transplant_pipeline::run::source=info";

/// Stack of the thread that trains: graphs of some ten thousand nodes are walked recursively.
const STACK_BYTES: usize = 64 << 20;

/// Reads the command line, does what it says with these plugins, and tells how it went.
pub fn main(plugins: Plugins) -> ExitCode {
    let matches = args::command(&program()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(e) => {
            // Help goes to the standard output with code 0, mistakes to the standard error with code 2.
            let code = u8::try_from(e.exit_code()).unwrap_or(2);
            return e.print().map_or(ExitCode::FAILURE, |()| ExitCode::from(code));
        }
    };
    let filter = EnvFilter::try_from_env("TRANSPLANT_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let coloured =
        coloured(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(coloured).with_writer(std::io::stderr).init();
    let signals = Signals::watch();
    let outcome = std::thread::scope(|scope| {
        let work = std::thread::Builder::new().name("transplant".into()).stack_size(STACK_BYTES);
        match work.spawn_scoped(scope, || verbs::execute(cli.verb, &plugins, &signals)) {
            Ok(thread) => thread.join().unwrap_or(Err(Failure::Panicked)),
            Err(e) => Err(Error::resource("the thread that trains", format!("cannot be started: {e}")).into()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("{text}");
            }
            ExitCode::from(failure.code(signals.received()))
        }
    }
}

/// The name under which this program was started: that of a runner of one's own is not `transplant`.
fn program() -> String {
    let started = std::env::args_os().next();
    let name = started.as_deref().and_then(|path| Path::new(path).file_stem());
    name.map_or_else(|| "transplant".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Whether log lines have colours: on a terminal, unless the variable `NO_COLOR` is set (<https://no-color.org>).
fn coloured(terminal: bool, no_color: bool) -> bool {
    terminal && !no_color
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        let cases = [(true, false, true), (true, true, false), (false, false, false), (false, true, false)];
        for (terminal, no_color, expected) in cases {
            assert_eq!(coloured(terminal, no_color), expected);
        }
    }
}
