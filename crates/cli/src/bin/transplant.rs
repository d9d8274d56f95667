//! Transplant with everything that is built in.

use std::process::ExitCode;

fn main() -> ExitCode {
    transplant_cli::main(transplant_pipeline::builtin())
}
