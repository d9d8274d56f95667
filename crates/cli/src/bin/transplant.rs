//! Transplant with everything that is built in.

use std::process::ExitCode;

fn main() -> ExitCode {
    transplant_allocator::keep_freed_memory();
    transplant_cli::main(transplant_pipeline::builtin())
}
