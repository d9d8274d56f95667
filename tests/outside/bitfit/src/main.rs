//! A runner that knows one strategy more.

fn main() -> std::process::ExitCode {
    transplant_cli::main(transplant_pipeline::builtin().with(bitfit::plugin))
}
