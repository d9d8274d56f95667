//! A runner that knows a few parts more.

fn main() -> std::process::ExitCode {
    transplant_cli::main(transplant_pipeline::builtin().with(own_parts::plugin))
}
