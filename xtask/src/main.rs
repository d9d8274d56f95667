//! `cargo xtask`: builds Transplant's runner with just the features a pipeline and this machine need, and hands over
//! to it; and `test`, `lint` and `docs` for people who work on Transplant itself.
//!
//! It is compiled at a user's very first command, so it stays small: no candle, no crate of the workspace.
//! Exit codes: those of the runner; 2 when the request is wrong, 1 when building or checking failed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on its standard streams")]

mod cli;
mod clock;
mod develop;
mod features;
#[path = "../../crates/pipeline/src/run/file_names.rs"]
mod file_names;
mod house;
mod layers;
mod lint;
mod machine;
mod process;
mod request;
mod runner;
mod shared;
mod test;

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;

use request::Request;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    dispatch(&args).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(if error.is::<Wrong>() { 2 } else { 1 })
    })
}

/// What the user asked for is wrong (exit code 2), as opposed to something that failed on the way (1).
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

fn dispatch(args: &[OsString]) -> Result<ExitCode> {
    let verb = args.get(1).and_then(|arg| arg.to_str()).unwrap_or_default();
    match cli::command().try_get_matches_from(args) {
        Ok(matches) => match matches.subcommand() {
            Some(("test", flags)) => test::test(flags),
            Some(("bench", flags)) => develop::bench(flags),
            Some(("docs", flags)) => develop::docs(flags),
            Some(("lint", _)) => lint::lint(),
            _ => runner::pass_on(&Request::read(&args[1..])?),
        },
        // An argument that only the runner knows, such as one a plugin added: the runner is the judge of it.
        Err(error) if error.kind() == ErrorKind::UnknownArgument && cli::is_passed_on(verb) => {
            runner::pass_on(&Request::read(&args[1..])?)
        }
        Err(error) => {
            error.print()?;
            Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
        }
    }
}
