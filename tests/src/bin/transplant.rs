//! The `transplant` binary as the whole-program tests start it.

fn main() -> std::process::ExitCode {
    transplant_cli::main(transplant_pipeline::builtin())
}
