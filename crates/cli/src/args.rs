//! The command line as `--help` shows it. `cargo xtask` shows the same: it includes this file, so that help needs no
//! build.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, Parser, Subcommand};

/// Examples: what stands behind the program's name, and what it does.
const EXAMPLES: [(&str, &str); 10] = [
    ("check my.toml", "validate a file, train nothing"),
    ("run my.toml --set steps.transfer.strategy=feature --seed 3", ""),
    ("run my.toml --resume", "go on with a run that was stopped or killed"),
    ("data my.toml", "classes, duplicates and leaks, a sheet of pictures"),
    ("list strategy", "what there is"),
    ("explain strategy.parameter", "what it does, and its options"),
    ("predict runs/digits scan.png", "classes and scores as CSV"),
    ("predict runs/houses new.csv", "of rows of a table: its columns by name"),
    ("assets", "pretrained weights that a file can start from"),
    ("cache", "what is kept of frozen stages, and how much room it takes"),
];

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a difference was found, some inputs could not be read, or a fault of the program; 2 the request, the
pipeline, the data or the weights are wrong; 3 training diverged (a loss or score is not finite); 4 the system refused (a file
cannot be read or written, the disk is full, no memory or thread); 130 and 143 stopped by SIGINT and SIGTERM.";

/// Moves what one network has learned to a new task: one TOML file says which data, which network and which way of
/// transfer.
#[derive(Debug, Parser)]
#[command(name = "transplant", version, disable_help_subcommand = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The command line of a program of this name.
pub(crate) fn command(program: &str) -> Command {
    let after = format!("{}\n\n{EXIT_CODES}", examples(program, &[]));
    let command = Cli::command().display_name(program).bin_name(program).after_help(after);
    // The version is that of this crate, whatever the program.
    let of_another = concat!("(transplant ", env!("CARGO_PKG_VERSION"), ")");
    if program == "transplant" { command } else { command.version(of_another) }
}

/// The examples for a program of this name, and some more.
pub(crate) fn examples(program: &str, more: &[(&str, &str)]) -> String {
    let line = |(line, what): &(&str, &str)| format!("  {:<45}  {what}", format!("{program} {line}"));
    let lines = EXAMPLES.iter().chain(more).map(|example| line(example).trim_end().to_owned());
    lines.fold("Examples:".to_owned(), |all, line| all + "\n" + &line)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a pipeline: train, transfer, evaluate, and leave a run folder.
    Run {
        #[command(flatten)]
        pipeline: Pipeline,
        /// Go on from the last checkpoint of a run that was stopped or killed.
        #[arg(long)]
        resume: bool,
    },
    /// Validate a pipeline and show its cells, stages and parameters; trains and writes nothing.
    Check {
        #[command(flatten)]
        pipeline: Pipeline,
    },
    /// Show what the data of a pipeline hold: classes, parts, rows that are there twice, and sheets of pictures.
    Data {
        #[command(flatten)]
        pipeline: Pipeline,
    },
    /// List the strategies, datasets, backbones, … that a file can name.
    List {
        /// Only this kind, such as `strategy`.
        kind: Option<String>,
    },
    /// Explain one of them and its options.
    Explain {
        /// Such as `strategy.parameter`.
        #[arg(value_name = "KIND.TAG")]
        tag: String,
    },
    /// Print the JSON schema of the pipeline file, for editors.
    Schema,
    /// Write the reference pages and the schema into a folder.
    Reference {
        /// The folder.
        dir: PathBuf,
    },
    /// Predict with a model of a finished run: classes and scores of pictures, texts or rows of tables.
    ///
    /// There is one answer for each input: `input` is the file of a picture, or file and line of a text or row, and
    /// `id` the value of the column of that name, where a table has one. What cannot be read is told on the standard
    /// error; a row of a table then has an answer without class.
    Predict {
        /// The folder of a run, of one of its cells, or of a model; an export; or a classifier of the catalogue, such
        /// as efficientnet_lite0.
        run: PathBuf,
        /// What the model was trained on: pictures and folders of pictures; files with a text a line, or `-` for the
        /// standard input; tables (.csv, .tsv, .jsonl, .parquet) with the columns of the training by name, in any
        /// order.
        #[arg(required = true, value_name = "INPUT")]
        inputs: Vec<PathBuf>,
        /// The cell whose model predicts [default: the only one, or the best on the same validation rows].
        #[arg(long, value_name = "ID")]
        cell: Option<String>,
        /// The form of the answer: csv, jsonl or parquet [default: by the ending of --output, else csv].
        #[arg(long)]
        format: Option<String>,
        /// The file that the answer goes to [default: the standard output].
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where it computes: auto, cpu, cuda, cuda:N or metal.
        #[arg(long, default_value = "auto")]
        device: String,
    },
    /// Write the model of a finished run so that timm, torchvision or transformers opens it, and a step here starts
    /// from it.
    Export {
        /// The folder of a run, of one of its cells, or of a model; an export; or a classifier of the catalogue.
        run: PathBuf,
        /// What to write: a file that ends in `.safetensors`, or a folder, which also gets configuration and tokenizer.
        #[arg(value_name = "FILE|FOLDER")]
        file: PathBuf,
        /// The cell whose model is written [default: the only one, or the best on the same validation rows].
        #[arg(long, value_name = "ID")]
        cell: Option<String>,
    },
    /// List or clear what is kept of frozen stages from run to run [default: list].
    Cache {
        #[command(subcommand)]
        what: Option<Cache>,
    },
    /// List the pretrained weights of the catalogue, fetch or verify them [default: list].
    Assets {
        #[command(subcommand)]
        what: Option<Assets>,
        /// The folder they are kept in [default: TRANSPLANT_ASSETS, or `transplant/assets` in the user's folder of
        /// caches].
        #[arg(long, value_name = "DIR", global = true)]
        folder: Option<PathBuf>,
    },
    /// Evaluate the models of a finished run on their test data again and compare with its summary.
    Evaluate {
        /// The folder of a run.
        run: PathBuf,
        /// Only this cell [default: all that were tested].
        #[arg(long, value_name = "ID")]
        cell: Option<String>,
        /// Where it computes: auto, cpu, cuda, cuda:N or metal.
        #[arg(long, default_value = "auto")]
        device: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// Show names, sizes, licences and what they are.
    List,
    /// Fetch some of them.
    Fetch {
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read their files again and compare size and SHA-256.
    Verify {
        /// Their names [default: all].
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show its entries: rows, size, when it was used, network and stages.
    List {
        #[command(flatten)]
        folder: CacheFolder,
    },
    /// Remove all entries, or one. What a running training uses stays.
    Clear {
        /// The beginning of an entry's name, as `list` shows it.
        entry: Option<String>,
        #[command(flatten)]
        folder: CacheFolder,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct CacheFolder {
    /// The folder of the cache [default: TRANSPLANT_CACHE, or `transplant` in the user's folder of caches].
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
}

/// A pipeline file and what is laid over it.
#[derive(Debug, Args)]
pub(crate) struct Pipeline {
    /// The pipeline, a TOML file.
    pub(crate) file: PathBuf,
    /// Replace a value of the file, such as steps.transfer.trainer.epochs=3; a table is replaced whole (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where the run folder goes [default: runs/NAME]; for `data`, the sheets [default: runs/NAME.data].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where it computes: auto, cpu, cuda, cuda:N or metal [default: the file's].
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Replace the file's seed.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_help_names_every_verb() {
        let mut command = command("own_parts");
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for verb in command.get_subcommands() {
            assert!(help.contains(verb.get_name()), "{} is not in the help", verb.get_name());
        }
    }

    #[test]
    fn help_has_the_name_of_the_program() {
        let help = command("own_parts").render_long_help().to_string();
        assert!(help.contains("Usage: own_parts <VERB>") && help.contains("  own_parts check my.toml "), "{help}");
        assert!(!help.contains("transplant "), "{help}");
    }
}
