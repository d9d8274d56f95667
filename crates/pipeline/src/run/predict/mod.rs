//! `predict`: classes and scores for pictures and texts, by the model of a finished cell.

mod answers;
mod inputs;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use candle_core::{Device, Tensor};
use transplant_core::{Acts, Error, Field, Invalid, Plugins, Predictions, Result, Schema, Seeds, TEXT};
use transplant_datasets::{Chain, read_image, read_picture};
use transplant_kernels::parallel;

use super::artefact::{self, Artefact, Manifest};
use super::layout::{CellLayout, ModelLayout, RunLayout};
use super::pretrained::pretrained;
use super::summary::Summary;
pub use answers::Format;
use inputs::{Content, Item};

/// Inputs that are read and answered at a time.
const CHUNK: usize = 128;

/// The model's folder: of the cell named, of the cell folder given, or of the first cell of a run's last step, which is
/// the last step's first strategy under the first seed and draw.
///
/// # Errors
/// When there is no such run or cell.
pub fn model_folder(run: &Path, cell: Option<&str>) -> Result<PathBuf> {
    let alone = [CellLayout::new(run).model(), ModelLayout::new(run)];
    if let Some(model) = alone.into_iter().find(|m| cell.is_none() && m.manifest().is_file()) {
        return Ok(model.root().to_owned());
    }
    let id = match cell {
        Some(id) => id.to_owned(),
        None => default_cell(run)?,
    };
    let model = RunLayout::new(run).cell(&id).model();
    if model.manifest().is_file() {
        return Ok(model.root().to_owned());
    }
    let mut there: Vec<String> = std::fs::read_dir(RunLayout::new(run).cells())
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    there.sort();
    let e = Invalid::new(format!("{} has no finished cell `{id}`", run.display()));
    let near = transplant_core::nearest(&id, there.iter().map(String::as_str));
    Err(e
        .help(near.map_or_else(|| format!("there are: {}", there.join(", ")), |n| format!("did you mean `{n}`?")))
        .into())
}

/// The first cell of the last step in the summary of a finished run: before that, the last step there may be one that others
/// were to start from.
fn default_cell(run: &Path) -> Result<String> {
    let files = RunLayout::new(run);
    let summary = Summary::read(&files)?;
    let help = "name one of its cells with `--cell`, or finish it with `--resume`";
    summary.check_finished(&files).map_err(|e| e.help(help))?;
    let last = summary.steps.last().map(|s| &s.name);
    let first = summary.steps.iter().find(|s| Some(&s.name) == last);
    let none = || Invalid::new(format!("{} has no finished cell yet", run.display()));
    Ok(first.ok_or_else(none)?.cell.clone())
}

/// How a prediction is asked for and answered.
pub struct Asked<'a> {
    /// Pictures and folders of them; for a model of texts, files with a text a line.
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
}

/// The model of a finished run, as [`model_folder`] finds it, or the classifier of the catalogue that `what` names.
///
/// # Errors
/// When there is neither, or it is damaged.
pub fn model_of(what: &Path, cell: Option<&str>, plugins: &Plugins, device: &Device) -> Result<Artefact> {
    match what.to_str().filter(|name| !what.exists() && transplant_assets::find(name).is_ok()) {
        Some(name) => pretrained(name, plugins, device),
        None => artefact::load(&model_folder(what, cell)?, plugins, device),
    }
}

/// Predicts. Inputs are read while the model works on those before them, and answers are written as they come. One of several
/// inputs that cannot be read is left out and told in what is returned.
///
/// # Errors
/// When the only input cannot be read, or nothing can be written.
pub fn predict(artefact: &Artefact, asked: Asked<'_>) -> Result<Predicted> {
    let takes = Takes::of(artefact)?;
    let items = match takes {
        Takes::Pictures { .. } => inputs::pictures(asked.inputs)?,
        Takes::Texts => inputs::texts(asked.inputs)?,
    };
    let fields = artefact.model.info().tasks;
    let mut writer = answers::writer(asked.format, &classes(&fields), asked.out)?;
    let mut said = Predicted::default();
    let chunks: Vec<&[Item]> = items.chunks(CHUNK).collect();
    let (reader, model) =
        (Reader { takes, transforms: &artefact.transforms, manifest: &artefact.manifest }, &artefact.model);
    std::thread::scope(|scope| {
        let (give, take) = sync_channel(1);
        scope.spawn(move || {
            // An answer that nobody waits for any more ends it.
            chunks.into_iter().all(|chunk| give.send(reader.read(chunk)).is_ok());
        });
        for (names, acts, unread) in take {
            if items.len() == 1 {
                if let Some((_, e)) = unread.into_iter().next() {
                    return Err(e);
                }
            } else {
                said.unread.extend(unread.into_iter().map(|(name, e)| told(&name, &e)));
            }
            if !names.is_empty() {
                let rows: Vec<u64> = (said.done as u64..).take(names.len()).collect();
                let views = acts?.into_iter().map(|acts| model.predict(acts, &rows)).collect::<Result<Vec<_>>>()?;
                for (name, task) in model.tasks() {
                    let views = views.iter().map(|outputs| task.decode(&outputs[name], &fields[name]));
                    let mean = Predictions::mean(views.collect::<Result<_>>()?)?;
                    writer.write(&answers::answers(&names, name, &mean))?;
                }
                said.done += names.len();
            }
            (asked.progress)(said.done + said.unread.len(), items.len());
        }
        Ok(())
    })?;
    writer.end()?;
    Ok(said)
}

fn told(name: &str, e: &Error) -> String {
    let e = e.to_string();
    if e.contains(name) { e } else { format!("{name}: {e}") }
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

/// What a model predicts for.
enum Takes {
    Pictures {
        /// The input's name.
        input: String,
        /// Its colour channels.
        channels: usize,
    },
    Texts,
}

impl Takes {
    fn of(a: &Artefact) -> Result<Self> {
        let raw = &a.manifest.raw_inputs;
        if raw.contains_key(TEXT) {
            return Ok(Self::Texts);
        }
        let image = raw.iter().find_map(|(name, f)| match f {
            Field::Image { channels, .. } => Some(Self::Pictures { input: name.clone(), channels: *channels }),
            _ => None,
        });
        Ok(image.ok_or_else(|| {
            Invalid::new("this model is given neither pictures nor texts, and predicts for those only")
        })?)
    }
}

/// Makes inputs of a network from what is predicted for.
struct Reader<'a> {
    takes: Takes,
    transforms: &'a Chain,
    manifest: &'a Manifest,
}

/// The names of what could be read, its tensors as they are and in each view, and what could not be read.
type Chunk = (Vec<String>, Result<Vec<Acts>>, Vec<(String, Error)>);

impl Reader<'_> {
    fn read(&self, items: &[Item]) -> Chunk {
        let (mut names, mut rows, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        let read: Vec<Result<Vec<Acts>>> = parallel::map(items.len(), &|i| self.one(&items[i]));
        for (item, acts) in items.iter().zip(read) {
            match acts {
                Ok(views) => {
                    names.push(item.name.clone());
                    rows.push(views);
                }
                Err(e) => unread.push((item.name.clone(), e)),
            }
        }
        (names, joined(&rows), unread)
    }

    /// One input, as the network is given it: as it is, then its views.
    fn one(&self, item: &Item) -> Result<Vec<Acts>> {
        let acts = match (&item.content, &self.takes) {
            (Content::Picture(path), Takes::Pictures { input, channels }) => self.picture(path, input, *channels)?,
            (Content::Text(text), _) => {
                Acts::new().with(TEXT, Tensor::from_slice(text.as_bytes(), (1, text.len()), &Device::Cpu)?)
            }
            _ => return Err(Error::contract("a picture for a model of texts")),
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

/// Rows one after another, for each of their views.
fn joined(rows: &[Vec<Acts>]) -> Result<Vec<Acts>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let all = |view: usize, name: &str| rows.iter().map(|r| r[view].get(name).cloned()).collect::<Result<Vec<_>>>();
    let view = |(view, acts): (usize, &Acts)| acts.map(|name, _| Ok(Tensor::cat(&all(view, name)?, 0)?));
    first.iter().enumerate().map(view).collect()
}
