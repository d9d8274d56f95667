//! `predict`: classes and scores for pictures, texts and rows of tables, by the model of a finished cell.

mod answers;
mod choice;
mod inputs;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use candle_core::{DType, Device, Tensor};
use transplant_core::{Acts, Error, Field, Invalid, Plugins, Predictions, Result, Schema, Seeds};
use transplant_datasets::{Chain, read_image, read_picture};
use transplant_kernels::parallel;

use super::artefact::{self, Artefact, Manifest};
use super::pretrained::{exported, pretrained};
use answers::Answer;
pub use answers::Format;
pub use choice::{Choice, choose};
use inputs::{Content, Item, Items, Takes};

/// Inputs that are read and answered at a time.
const CHUNK: usize = 128;

/// How a prediction is asked for and answered.
pub struct Asked<'a> {
    /// Pictures and folders of them; for a model of texts, files with a text a line, or tables; for one of rows,
    /// tables.
    pub inputs: &'a [PathBuf],
    /// The form of the answer.
    pub format: Format,
    /// Where it goes.
    pub out: Box<dyn Write + Send + 'a>,
    /// Told how many inputs of how many are done.
    pub progress: &'a mut dyn FnMut(usize, usize),
}

/// What came of a prediction.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Predicted {
    /// Inputs that were answered.
    pub done: usize,
    /// What could not be read, and why.
    pub unread: Vec<String>,
    /// What was left out without being wrong, such as empty lines.
    pub notes: Vec<String>,
    /// Inputs of which the network was given no word that it knows: their answer is that of any such text.
    pub without_words: Vec<String>,
}

/// The model of a finished run, as [`choose`] finds it, an export, or the classifier of the catalogue that `what`
/// names; and a line for the user that says which it is.
///
/// # Errors
/// When there is neither, or it is damaged.
pub fn model_of(what: &Path, cell: Option<&str>, plugins: &Plugins, device: &Device) -> Result<(Artefact, String)> {
    if let Some(export) = exported(what, plugins, device)? {
        let told = format!("{}, an export", export.manifest.cell);
        return match cell {
            None => Ok((export, told)),
            Some(cell) => {
                Err(Invalid::new(format!("{} is an export, which has no cell `{cell}`", what.display())).into())
            }
        };
    }
    if let Some(name) = what.to_str().filter(|name| !what.exists() && transplant_assets::find(name).is_ok()) {
        return Ok((pretrained(name, plugins, device)?, name.to_owned()));
    }
    let Choice { folder, why } = choose(what, cell, plugins)?;
    let artefact = artefact::load(&folder, plugins, device)?;
    let told = format!("{}{why}", artefact.manifest.cell);
    Ok((artefact, told))
}

/// Predicts. Inputs are read while the model works on those before them, and answers are written as they come. One of
/// several inputs that cannot be read is told in what is returned: a picture is left out, a row of a table has an
/// answer that says nothing, so that there are as many answers as rows.
///
/// # Errors
/// When the only input, or every row of a table, cannot be read, or nothing can be written.
pub fn predict(artefact: &Artefact, asked: Asked<'_>) -> Result<Predicted> {
    let takes = Takes::of(artefact)?;
    let Items { items, notes } = Items::find(&takes, asked.inputs)?;
    let fields = artefact.model.info().tasks;
    let with_ids = items.iter().any(|item| item.id.is_some());
    let numbers = fields.values().all(|field| *field == Field::Number);
    let answer = if numbers { "value" } else { "class" };
    let mut writer = answers::writer(asked.format, &classes(&fields), with_ids, answer, asked.out)?;
    let mut said = Predicted { notes, ..Predicted::default() };
    let chunks: Vec<&[Item]> = items.chunks(CHUNK).collect();
    let (reader, model) =
        (Reader { takes, transforms: &artefact.transforms, manifest: &artefact.manifest }, &artefact.model);
    std::thread::scope(|scope| {
        let (give, take) = sync_channel(1);
        scope.spawn(move || {
            // An answer that nobody waits for any more ends it.
            chunks.into_iter().all(|chunk| give.send(reader.read(chunk)).is_ok());
        });
        for Chunk { items: chunk, views, mut unread, without_words } in take {
            if items.len() == 1
                && let Some(e) = unread.first_mut().and_then(Option::take)
            {
                return Err(e);
            }
            let read: Vec<&Item> =
                chunk.iter().zip(&unread).filter(|(_, e)| e.is_none()).map(|(item, _)| item).collect();
            let rows: Vec<u64> = (said.done as u64..).take(read.len()).collect();
            let views = views?.into_iter().map(|acts| model.predict(acts, &rows)).collect::<Result<Vec<_>>>()?;
            for (name, task) in model.tasks() {
                let mean = match views.is_empty() {
                    true => Vec::new(),
                    false => {
                        let views = views.iter().map(|outputs| task.decode(&outputs[name], &fields[name]));
                        answers::answers(&read, name, &Predictions::mean(views.collect::<Result<_>>()?)?)
                    }
                };
                writer.write(&in_order(chunk, &unread, name, mean))?;
            }
            said.done += read.len();
            said.without_words.extend(without_words.iter().map(|item| item.name.clone()));
            said.unread.extend(chunk.iter().zip(&unread).filter_map(|(item, e)| Some(told(item, e.as_ref()?))));
            (asked.progress)(said.done + said.unread.len(), items.len());
        }
        Ok(())
    })?;
    writer.end()?;
    Ok(said)
}

/// The answers of a chunk with those for rows that could not be read in their places.
fn in_order(chunk: &[Item], unread: &[Option<Error>], task: &str, answers: Vec<Answer>) -> Vec<Answer> {
    let mut answers = answers.into_iter();
    let of = |(item, e): (&Item, &Option<Error>)| match (e, &item.content) {
        (None, _) => answers.next(),
        (Some(_), Content::Picture(_)) => None,
        (Some(e), Content::Row(_)) => Some(Answer::none(item, task, e.to_string())),
    };
    chunk.iter().zip(unread).filter_map(of).collect()
}

/// What is wrong with an input; what is wrong with a row names its file and line already.
fn told(item: &Item, e: &Error) -> String {
    let (name, e) = (&item.name, e.to_string());
    if matches!(item.content, Content::Row(_)) || e.contains(name) { e } else { format!("{name}: {e}") }
}

/// The classes of all tasks, when they are the same.
fn classes(fields: &BTreeMap<String, Field>) -> Vec<String> {
    let mut names = fields.values().map(|f| match f {
        Field::Class { names } => names.as_slice(),
        _ => &[],
    });
    let first = names.next().unwrap_or_default();
    if names.all(|n| n == first) { first.to_vec() } else { Vec::new() }
}

/// Makes inputs of a network from what is predicted for.
struct Reader<'a> {
    takes: Takes,
    transforms: &'a Chain,
    manifest: &'a Manifest,
}

/// Some inputs as they were read.
struct Chunk<'a> {
    items: &'a [Item],
    /// The tensors of those that could be read, as they are and in each view.
    views: Result<Vec<Acts>>,
    /// What is wrong with each of the others.
    unread: Vec<Option<Error>>,
    /// Those of which the network is given no word that it knows.
    without_words: Vec<&'a Item>,
}

impl Reader<'_> {
    fn read<'i>(&self, items: &'i [Item]) -> Chunk<'i> {
        let (mut rows, mut unread, mut read_items) = (Vec::new(), Vec::new(), Vec::new());
        for (item, read) in items.iter().zip(parallel::map(items.len(), &|i| self.one(&items[i]))) {
            match read {
                Ok(views) => {
                    rows.push(views);
                    read_items.push(item);
                    unread.push(None);
                }
                Err(e) => unread.push(Some(e)),
            }
        }
        let with_words = joined(&rows).and_then(|views| {
            let has_words = views.first().map_or_else(|| Ok(Vec::new()), |plain| self.transforms.has_words(plain))?;
            Ok((views, has_words))
        });
        let (views, has_words) = with_words.map_or_else(|e| (Err(e), Vec::new()), |(views, has)| (Ok(views), has));
        let wordless = read_items.into_iter().zip(has_words).filter(|(_, has)| !has);
        Chunk { items, views, unread, without_words: wordless.map(|(item, _)| item).collect() }
    }

    /// One input, as the network is given it: as it is, then its views.
    fn one(&self, item: &Item) -> Result<Vec<Acts>> {
        let acts = match (&item.content, &self.takes) {
            (Content::Picture(path), Takes::Pictures { input, channels }) => self.picture(path, input, *channels)?,
            (Content::Picture(_), _) => return Err(Error::contract("a picture for a model of texts")),
            (Content::Row(Ok(acts)), _) => acts.clone(),
            (Content::Row(Err(e)), _) => return Err(Invalid::new(e.to_string()).into()),
        };
        let plain = self.transforms.plain(acts.clone(), &[0]);
        // The same views of an input, whatever stands beside it.
        let views =
            (0..self.manifest.test_views).map(|view| self.transforms.train(acts.clone(), &[0], view, Seeds::new(0)));
        std::iter::once(plain).chain(views).collect()
    }

    fn picture(&self, path: &Path, input: &str, channels: usize) -> Result<Acts> {
        let pixels = match &self.manifest.frame {
            Some(frame) => read_picture(path, frame),
            None => read_image(path, channels),
        };
        let pixels = pixels.map_err(|e| match e {
            // A file the user named is the user's to get right.
            Error::Io { .. } => Invalid::new(e.to_string()).into(),
            e => e,
        })?;
        let pixels = pixels.unsqueeze(0)?;
        let (height, width) = (pixels.dim(2)?, pixels.dim(3)?);
        let raw = Schema::from([(input.to_owned(), Field::Image { channels, height, width })]);
        if self.transforms.schema(&raw)? != self.manifest.inputs {
            let wanted = format!("{:?}", self.manifest.raw_inputs[input]);
            let message = format!("is {height}×{width} pixels, and the model was trained on {wanted} without resizing");
            return Err(Error::data(path, None, message));
        }
        Ok(Acts::new().with(input, pixels))
    }
}

/// Rows one after another, for each of their views; texts are filled up with zeros to the longest.
fn joined(rows: &[Vec<Acts>]) -> Result<Vec<Acts>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let all = |view: usize, name: &str| rows.iter().map(|r| r[view].get(name).cloned()).collect::<Result<Vec<_>>>();
    let view = |(view, acts): (usize, &Acts)| acts.map(|name, _| Ok(Tensor::cat(&filled_up(all(view, name)?)?, 0)?));
    first.iter().enumerate().map(view).collect()
}

/// Rows of bytes `u8 [1, bytes]` as long as the longest of them; other rows as they are.
fn filled_up(rows: Vec<Tensor>) -> Result<Vec<Tensor>> {
    if !rows.iter().all(|t| t.dtype() == DType::U8 && t.rank() == 2) {
        return Ok(rows);
    }
    let longest = rows.iter().map(|t| t.dims()[1]).max().unwrap_or_default();
    rows.into_iter().map(|t| Ok(t.pad_with_zeros(1, 0, longest - t.dims()[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::TEXT;

    #[test]
    fn texts_of_several_lengths_are_filled_up() -> Result<()> {
        let text = |bytes: &[u8]| {
            let t = Tensor::from_slice(bytes, (1, bytes.len()), &Device::Cpu)?;
            Ok::<_, Error>(vec![Acts::new().with(TEXT, t)])
        };
        let all = joined(&[text(b"ab")?, text(b"cdef")?, text(b"g")?])?;
        assert_eq!(all[0].get(TEXT)?.to_vec2::<u8>()?, [*b"ab\0\0", *b"cdef", *b"g\0\0\0"]);
        let numbers = [1usize, 2].map(|n| Acts::hidden(Tensor::zeros((1, n), DType::F32, &Device::Cpu).unwrap()));
        assert!(joined(&numbers.map(|acts| vec![acts])).is_err());
        Ok(())
    }
}
