//! The command line as `--help` shows it. The verbs of the runner are described by its own source, which is compiled in
//! here, so that help and plain mistakes need no build; their arguments are passed on as they were typed.

use std::str::FromStr;

use clap::{Arg, ArgAction, Command};

use crate::features::Device;

#[path = "../../crates/cli/src/args.rs"]
#[allow(dead_code, reason = "the runner reads the arguments; only their description serves here")]
mod args;

/// What users type to start this program.
const PROGRAM: &str = "cargo xtask";

const ABOUT: &str = "\
Transplant moves what one network has learned to a new task: one TOML file says which data, which network and which
way of transfer; `cargo xtask run FILE` does the rest on the CPU, CUDA or Metal. The first run builds the runner with
just the parts the file names; later runs start at once.";

/// Examples beside those of the runner.
const EXAMPLES: [(&str, &str); 3] = [
    ("run configs/quickstart.toml", ""),
    ("evaluate runs/quickstart", ""),
    ("test && cargo xtask lint", "before you send a change"),
];

/// The whole command line.
pub(crate) fn command() -> Command {
    let own = [
        verb("test", "Run the tests of the workspace (for developers)")
            .arg(flag("full", "Also the tests that take long or need a cargo feature (a long build)"))
            .arg(
                option("package", "CRATE", "Only this crate, and the runner's, whose build it shares")
                    .short('p')
                    .action(ArgAction::Append),
            )
            .arg(rest("Passed on to the test programs, such as a test's name")),
        verb("lint", "Check formatting, clippy, licences and the rules of the house (for developers)"),
        verb("bench", "Measure the engine, by itself or beside PyTorch; `bench --help` says how (for developers)")
            .disable_help_flag(true)
            .arg(
                Arg::new("args")
                    .value_name("ARGS")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("Passed on to the bench program, such as `table --against torch` or `ops depthwise`"),
            ),
        verb("docs", "Build the API documentation, warnings denied (for developers)")
            .arg(flag("open", "Open it in the browser"))
            .arg(flag("write", "First write the reference pages and the schema in docs/reference anew")),
    ];
    Command::new("xtask")
        .bin_name(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(args::examples(PROGRAM, &EXAMPLES))
        .subcommand_value_name("VERB")
        .subcommand_help_heading("Verbs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands(passed_on())
        .subcommands(own)
}

/// The verbs of the runner. A device is checked before anything is built.
fn passed_on() -> impl Iterator<Item = Command> {
    let verbs: Vec<Command> = args::command(PROGRAM).get_subcommands().cloned().collect();
    verbs.into_iter().map(|verb| {
        let on_a_device = verb.get_arguments().any(|arg| arg.get_id() == "device");
        if on_a_device {
            verb.mut_arg("device", |arg| arg.value_parser(|text: &str| Device::from_str(text)))
        } else {
            verb
        }
    })
}

/// Whether `verb` is one of the runner's, as opposed to xtask's own.
pub(crate) fn is_passed_on(verb: &str) -> bool {
    args::command(PROGRAM).find_subcommand(verb).is_some()
}

fn verb(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn rest(help: &'static str) -> Arg {
    Arg::new("args").value_name("ARGS").last(true).num_args(0..).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn verbs_have_the_help_of_the_runner() {
        let (mut ours, mut theirs) = (command(), args::command("transplant"));
        ours.build();
        theirs.build();
        let verbs: Vec<String> = theirs.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        assert!(verbs.iter().any(|verb| verb == "predict"), "{verbs:?}");
        for verb in &verbs {
            let help = |of: &mut Command| of.find_subcommand_mut(verb).unwrap().render_long_help().to_string();
            assert_eq!(help(&mut ours), help(&mut theirs).replace("Usage: transplant", "Usage: cargo xtask"), "{verb}");
            assert!(is_passed_on(verb));
        }
        assert!(!is_passed_on("lint"));
    }

    #[test]
    fn help_names_every_verb() {
        let help = command().render_help().to_string();
        for verb in command().get_subcommands() {
            assert!(help.contains(verb.get_name()), "{} is not in the help", verb.get_name());
        }
    }

    #[test]
    fn a_device_is_checked_before_anything_is_built() {
        let error = command().try_get_matches_from(["xtask", "run", "a.toml", "--device", "gpu"]).unwrap_err();
        assert!(error.to_string().contains("cuda:N"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
