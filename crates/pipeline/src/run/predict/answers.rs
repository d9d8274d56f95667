//! How predictions are written: CSV, one JSON object a line, or Parquet.

use std::io::Write;
use std::str::FromStr;

use serde_json::{Map, Value, json};
use transplant_core::{Error, Invalid, Predictions, Result};

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
    /// The task.
    pub(super) task: String,
    /// The class, or the number.
    pub(super) said: String,
    /// The score of that class; none for a number.
    pub(super) score: Option<f32>,
    /// The score of every class.
    pub(super) scores: Vec<f32>,
}

/// The answers of one task for some inputs.
pub(super) fn answers(inputs: &[String], task: &str, said: &Predictions) -> Vec<Answer> {
    let answer = |input: &String, said: String, score, scores| Answer {
        input: input.clone(),
        task: task.to_owned(),
        said,
        score,
        scores,
    };
    match said {
        Predictions::Class { names, scores, .. } => {
            let of_row = |(input, scores): (&String, &[f32])| {
                // The first of several equally high scores, as in the metrics.
                let best =
                    (0..names.len()).reduce(|b, i| if scores[i] > scores[b] { i } else { b }).unwrap_or_default();
                answer(input, names[best].clone(), scores.get(best).copied(), scores.to_vec())
            };
            inputs.iter().zip(scores.chunks(names.len().max(1))).map(of_row).collect()
        }
        Predictions::Number { values, .. } => {
            inputs.iter().zip(values).map(|(input, v)| answer(input, v.to_string(), None, Vec::new())).collect()
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
pub(super) fn writer<'a>(
    format: Format,
    classes: &[String],
    out: Box<dyn Write + Send + 'a>,
) -> Result<Box<dyn Writer + 'a>> {
    Ok(match format {
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            let columns = ["input", "task", "class", "score"].map(str::to_owned).into_iter();
            csv.write_record(columns.chain(classes.iter().map(|n| format!("score_{n}")))).map_err(unwritten)?;
            Box::new(Csv { csv, scores: !classes.is_empty() })
        }
        Format::Jsonl => Box::new(Jsonl { out, classes: classes.to_vec() }),
        Format::Parquet => parquet::writer(classes, out)?,
    })
}

#[cfg(feature = "parquet")]
mod parquet {
    use super::*;
    use transplant_datasets::{ParquetWriter, Values};

    struct Parquet<'a> {
        writer: ParquetWriter<'a>,
        classes: usize,
    }

    pub(super) fn writer<'a>(classes: &[String], out: Box<dyn Write + Send + 'a>) -> Result<Box<dyn Writer + 'a>> {
        let own = [("input", true), ("task", true), ("class", true), ("score", false)];
        let own = own.map(|(name, text)| (name.to_owned(), text));
        let columns: Vec<_> = own.into_iter().chain(classes.iter().map(|n| (format!("score_{n}"), false))).collect();
        Ok(Box::new(Parquet { writer: ParquetWriter::new(out, &columns)?, classes: classes.len() }))
    }

    impl Writer for Parquet<'_> {
        fn write(&mut self, answers: &[Answer]) -> Result<()> {
            let texts = |f: &dyn Fn(&Answer) -> &str| Values::Texts(answers.iter().map(|a| f(a).to_owned()).collect());
            let mut columns = vec![texts(&|a| &a.input), texts(&|a| &a.task), texts(&|a| &a.said)];
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

    pub(super) fn writer<'a>(_: &[String], _: Box<dyn Write + Send + 'a>) -> Result<Box<dyn Writer + 'a>> {
        let e = Invalid::new("Parquet needs the cargo feature `parquet`, and this binary was built without it");
        Err(e.help("`cargo xtask predict` turns it on; csv and jsonl need nothing").into())
    }
}

fn unwritten(e: impl Into<std::io::Error>) -> Error {
    Error::io("the answer", e.into())
}

struct Csv<W: Write> {
    csv: csv::Writer<W>,
    scores: bool,
}

impl<W: Write> Writer for Csv<W> {
    fn write(&mut self, answers: &[Answer]) -> Result<()> {
        for a in answers {
            let score = a.score.map(|s| s.to_string()).unwrap_or_default();
            let scores = a.scores.iter().filter(|_| self.scores).map(f32::to_string);
            let record = [a.input.clone(), a.task.clone(), a.said.clone(), score].into_iter().chain(scores);
            self.csv.write_record(record).map_err(unwritten)?;
        }
        self.csv.flush().map_err(unwritten)
    }

    fn end(mut self: Box<Self>) -> Result<()> {
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
            let mut line = json!({ "input": a.input, "task": a.task });
            match a.score {
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
