//! How predictions are written: CSV, one JSON object a line, or Parquet.

use std::io::Write;
use std::str::FromStr;

use serde_json::{Map, Value, json};
use transplant_core::{Error, Invalid, Predictions, Result};

use super::inputs::Item;
use crate::decimal;

/// The form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A table with a header.
    #[default]
    Csv,
    /// One object a line.
    Jsonl,
    /// A column file.
    Parquet,
}

impl FromStr for Format {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            "parquet" => Ok(Self::Parquet),
            _ => Err(Invalid::new(format!("there is no format `{text}`")).help("there are: csv, jsonl, parquet")),
        }
    }
}

/// What was said of one input by one task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// The input.
    pub(super) input: String,
    /// The word in the column `id` of its table.
    pub(super) id: Option<String>,
    /// The task.
    pub(super) task: String,
    /// The class, or the number; empty when the input could not be read.
    pub(super) said: String,
    /// The score of that class; none for a number.
    pub(super) score: Option<f32>,
    /// The score of every class.
    pub(super) scores: Vec<f32>,
    /// Why the input could not be read.
    pub(super) error: Option<String>,
}

impl Answer {
    /// For a row that could not be read.
    pub(super) fn none(item: &Item, task: &str, error: String) -> Self {
        Self { error: Some(error), ..Self::new(item, task, String::new()) }
    }

    fn new(item: &Item, task: &str, said: String) -> Self {
        let (input, id, task) = (item.name.clone(), item.id.clone(), task.to_owned());
        Self { input, id, task, said, score: None, scores: Vec::new(), error: None }
    }
}

/// The answers of one task for some inputs.
pub(super) fn answers(inputs: &[&Item], task: &str, said: &Predictions) -> Vec<Answer> {
    match said {
        Predictions::Class { names, scores, .. } => {
            let of_row = |(item, scores): (&&Item, &[f32])| {
                // The first of several equally high scores, as in the metrics.
                let best =
                    (0..names.len()).reduce(|b, i| if scores[i] > scores[b] { i } else { b }).unwrap_or_default();
                let (score, scores) = (scores.get(best).copied(), scores.to_vec());
                Answer { score, scores, ..Answer::new(item, task, names[best].clone()) }
            };
            inputs.iter().zip(scores.chunks(names.len().max(1))).map(of_row).collect()
        }
        Predictions::Number { values, .. } => {
            inputs.iter().zip(values).map(|(item, v)| Answer::new(item, task, v.to_string())).collect()
        }
        _ => Vec::new(),
    }
}

/// Writes answers as they come.
pub(super) trait Writer {
    /// Some more of them.
    fn write(&mut self, answers: &[Answer]) -> Result<()>;

    /// There are no more.
    fn end(self: Box<Self>) -> Result<()>;
}

/// A writer of a format. `classes` names the columns of scores; empty when the tasks' classes differ, or are none.
/// `ids` says whether there is a column `id`; `said` is the name of the column of classes or numbers.
pub(super) fn writer<'a>(
    format: Format,
    classes: &[String],
    ids: bool,
    said: &'static str,
    out: Box<dyn Write + Send + 'a>,
) -> Result<Box<dyn Writer + 'a>> {
    Ok(match format {
        Format::Csv => {
            let columns = own_columns(ids, said).into_iter().map(|(name, _)| name.to_owned());
            let header = columns.chain(classes.iter().map(|n| format!("score_{n}"))).collect();
            Box::new(Csv { csv: csv::Writer::from_writer(out), header: Some(header), ids, scores: classes.len() })
        }
        Format::Jsonl => Box::new(Jsonl { out, classes: classes.to_vec() }),
        Format::Parquet => parquet::writer(classes, ids, said, out)?,
    })
}

/// The columns before the scores of all classes, and whether they are texts.
fn own_columns(ids: bool, said: &'static str) -> Vec<(&'static str, bool)> {
    let columns = [("input", true), ("id", true), ("task", true), (said, true), ("score", false)];
    columns.into_iter().filter(|(name, _)| ids || *name != "id").collect()
}

#[cfg(feature = "parquet")]
mod parquet {
    use super::*;
    use transplant_datasets::{ParquetWriter, Values};

    struct Parquet<'a> {
        writer: ParquetWriter<'a>,
        ids: bool,
        classes: usize,
    }

    pub(super) fn writer<'a>(
        classes: &[String],
        ids: bool,
        said: &'static str,
        out: Box<dyn Write + Send + 'a>,
    ) -> Result<Box<dyn Writer + 'a>> {
        let own = own_columns(ids, said).into_iter().map(|(name, text)| (name.to_owned(), text));
        let columns: Vec<_> = own.chain(classes.iter().map(|n| (format!("score_{n}"), false))).collect();
        Ok(Box::new(Parquet { writer: ParquetWriter::new(out, &columns)?, ids, classes: classes.len() }))
    }

    impl Writer for Parquet<'_> {
        fn write(&mut self, answers: &[Answer]) -> Result<()> {
            let texts = |f: &dyn Fn(&Answer) -> &str| Values::Texts(answers.iter().map(|a| f(a).to_owned()).collect());
            let mut columns = vec![texts(&|a| &a.input)];
            if self.ids {
                columns.push(texts(&|a| a.id.as_deref().unwrap_or_default()));
            }
            columns.extend([texts(&|a| &a.task), texts(&|a| &a.said)]);
            columns.push(Values::Numbers(answers.iter().map(|a| a.score).collect()));
            let of_class = |c| Values::Numbers(answers.iter().map(|a| a.scores.get(c).copied()).collect());
            columns.extend((0..self.classes).map(of_class));
            self.writer.write(&columns)
        }

        fn end(self: Box<Self>) -> Result<()> {
            self.writer.end()
        }
    }
}

#[cfg(not(feature = "parquet"))]
mod parquet {
    use super::*;

    pub(super) fn writer<'a>(
        _: &[String],
        _: bool,
        _: &str,
        _: Box<dyn Write + Send + 'a>,
    ) -> Result<Box<dyn Writer + 'a>> {
        let e = Invalid::new("Parquet needs the cargo feature `parquet`, and this binary was built without it");
        Err(e.help("build it with that feature of `transplant-cli`, as `cargo xtask` does by itself; csv and jsonl need nothing").into())
    }
}

fn unwritten(e: impl Into<std::io::Error>) -> Error {
    Error::io("the answer", e.into())
}

struct Csv<W: Write> {
    csv: csv::Writer<W>,
    /// Until it is written, with the first answers: where there are none, nothing is written.
    header: Option<Vec<String>>,
    ids: bool,
    /// Columns of scores.
    scores: usize,
}

impl<W: Write> Csv<W> {
    fn header(&mut self) -> Result<()> {
        self.header.take().map_or(Ok(()), |header| self.csv.write_record(header).map_err(unwritten))
    }
}

impl<W: Write> Writer for Csv<W> {
    fn write(&mut self, answers: &[Answer]) -> Result<()> {
        self.header()?;
        for a in answers {
            let score = a.score.map(|s| s.to_string()).unwrap_or_default();
            let id = self.ids.then(|| a.id.clone().unwrap_or_default());
            let scores = (0..self.scores).map(|c| a.scores.get(c).map(f32::to_string).unwrap_or_default());
            let own = [Some(a.input.clone()), id, Some(a.task.clone()), Some(a.said.clone()), Some(score)];
            self.csv.write_record(own.into_iter().flatten().chain(scores)).map_err(unwritten)?;
        }
        self.csv.flush().map_err(unwritten)
    }

    fn end(mut self: Box<Self>) -> Result<()> {
        self.header()?;
        self.csv.flush().map_err(unwritten)
    }
}

struct Jsonl<W: Write> {
    out: W,
    classes: Vec<String>,
}

impl<W: Write> Writer for Jsonl<W> {
    fn write(&mut self, answers: &[Answer]) -> Result<()> {
        for a in answers {
            let mut line = json!({ "input": a.input });
            if let Some(id) = &a.id {
                line["id"] = json!(id);
            }
            line["task"] = json!(a.task);
            match a.score {
                _ if a.error.is_some() => line["error"] = json!(a.error),
                Some(score) => {
                    let scores: Map<String, Value> =
                        self.classes.iter().cloned().zip(a.scores.iter().map(|s| json!(decimal(*s)))).collect();
                    line["class"] = json!(a.said);
                    line["score"] = json!(decimal(score));
                    if !scores.is_empty() {
                        line["scores"] = Value::Object(scores);
                    }
                }
                None => line["value"] = a.said.parse::<f32>().map_or_else(|_| json!(a.said), |v| json!(decimal(v))),
            }
            writeln!(self.out, "{line}").map_err(unwritten)?;
        }
        self.out.flush().map_err(unwritten)
    }

    fn end(mut self: Box<Self>) -> Result<()> {
        self.out.flush().map_err(unwritten)
    }
}
