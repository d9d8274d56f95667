//! The command line as `--help` shows it. The verbs of the runner are described here a second time, so that help and
//! plain mistakes need no build; their arguments are passed on as they were typed.

use std::str::FromStr;

use clap::{Arg, ArgAction, Command};

use crate::features::Device;

const ABOUT: &str = "\
Transplant moves what one network has learned to a new task: one TOML file says which data, which network and which
way of transfer; `cargo xtask run FILE` does the rest on the CPU, CUDA or Metal. The first run builds the runner with
just the parts the file names; later runs start at once.";

const EXAMPLES: &str = "\
Examples:
  cargo xtask run configs/quickstart.toml
  cargo xtask run configs/quickstart.toml --set 'steps.transfer.sweep.seed=[3]'
  cargo xtask run my.toml --device cpu --out runs/on_cpu
  cargo xtask check my.toml                  validate a file, train nothing
  cargo xtask data my.toml                   classes, duplicates and leaks, a sheet of pictures
  cargo xtask list strategy                  what there is
  cargo xtask explain strategy.parameter     what it does, and its options
  cargo xtask evaluate runs/quickstart
  cargo xtask test && cargo xtask lint       before you send a change";

/// The whole command line.
pub(crate) fn command() -> Command {
    let passed_on = [
        verb("run", "Run a pipeline: train, transfer, evaluate, and leave a run folder")
            .args([file(), set(), device()])
            .arg(option("out", "DIR", "Where the run folder goes [default: runs/<name>]"))
            .arg(option("seed", "N", "Replace the file's seed"))
            .arg(flag("resume", "Go on from the last checkpoint of a run that was stopped or killed")),
        verb("check", "Validate a pipeline and show its stages and parameters; trains and writes nothing").args([
            file(),
            set(),
            device(),
        ]),
        verb("data", "Show what the data of a pipeline hold: classes, parts, duplicates, and sheets of pictures")
            .args([file(), set()])
            .arg(option("out", "DIR", "Where the sheets go [default: runs/<name>.data]")),
        verb("list", "List the strategies, datasets, backbones, ... that a file can name")
            .arg(Arg::new("kind").value_name("KIND").help("Only this kind, such as `strategy`")),
        verb("explain", "Explain one of them and its options")
            .arg(Arg::new("tag").value_name("KIND.TAG").required(true).help("Such as `strategy.parameter`")),
        verb("schema", "Print the JSON schema of the pipeline file, for editors"),
        verb("predict", "Predict with the model of a finished run")
            .arg(run_folder())
            .arg(option("cell", "ID", "The cell whose model predicts [default: the last step's first]"))
            .arg(option("format", "FORMAT", "csv, jsonl or parquet [default: by the ending of --output, else csv]"))
            .arg(option("output", "FILE", "The file that the answer goes to [default: the standard output]").short('o'))
            .arg(device())
            .arg(
                Arg::new("input")
                    .value_name("INPUT")
                    .num_args(1..)
                    .required(true)
                    .help("Pictures and folders of pictures; for texts, files with a text a line"),
            ),
        verb("export", "Write the model of a finished run so that timm, torchvision or transformers opens it")
            .args([
                run_folder(),
                Arg::new("out").value_name("FILE|FOLDER").required(true).help(
                    "A file that ends in `.safetensors`, or a folder, which also gets configuration and tokenizer",
                ),
            ])
            .arg(option("cell", "ID", "The cell whose model is written [default: the last step's first]")),
        verb("evaluate", "Evaluate the model of a finished run on its test data again").args([run_folder(), device()]),
        verb("assets", "List the pretrained weights of the catalogue, fetch or verify them")
            .arg(Arg::new("what").value_name("WHAT").help("`list`, `fetch` or `verify` [default: list]"))
            .arg(Arg::new("name").value_name("NAME").num_args(0..).help("Names of assets"))
            .arg(option("folder", "DIR", "Where they are kept [default: TRANSPLANT_ASSETS, or the user's]")),
        verb("cache", "List or clear what is kept of frozen stages from run to run")
            .arg(
                Arg::new("what").value_name("WHAT").help("`list`, or `clear` with or without an ENTRY [default: list]"),
            )
            .arg(Arg::new("entry").value_name("ENTRY").help("The beginning of an entry's name"))
            .arg(option("folder", "DIR", "The folder of the cache [default: TRANSPLANT_CACHE, or the user's]")),
    ];
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
        .bin_name("cargo xtask")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(EXAMPLES)
        .subcommand_value_name("VERB")
        .subcommand_help_heading("Verbs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands(passed_on)
        .subcommands(own)
}

/// Whether `verb` is one of the runner's, as opposed to xtask's own.
pub(crate) fn is_passed_on(verb: &str) -> bool {
    matches!(
        verb,
        "run"
            | "check"
            | "data"
            | "list"
            | "explain"
            | "schema"
            | "predict"
            | "export"
            | "evaluate"
            | "assets"
            | "cache"
    )
}

fn verb(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about)
}

fn file() -> Arg {
    Arg::new("file").value_name("FILE").required(true).help("The pipeline, a TOML file")
}

fn run_folder() -> Arg {
    Arg::new("run").value_name("RUN").required(true).help("The folder of a run, such as runs/quickstart")
}

fn set() -> Arg {
    option("set", "KEY=VALUE", "Replace a value of the file, such as steps.transfer.trainer.epochs=3 (repeatable)")
        .action(ArgAction::Append)
}

fn device() -> Arg {
    option("device", "DEVICE", "auto, cpu, cuda, cuda:N or metal [default: auto]")
        .value_parser(|text: &str| Device::from_str(text))
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
