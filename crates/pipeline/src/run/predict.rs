//! `predict`: classes and scores for files, by the model of a finished cell.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;
use transplant_core::{Acts, Error, Field, Invalid, Plugins, Predictions, Result, Schema};
use transplant_datasets::read_image;

use super::artefact::{self, Artefact};

/// The model's folder: of the cell named, of the cell folder given, or of the first cell of a run's last step, which is
/// the last step's first strategy under the first seed and draw.
///
/// # Errors
/// When there is no such run or cell.
pub fn model_folder(run: &Path, cell: Option<&str>) -> Result<PathBuf> {
    let alone = [run.join("model"), run.to_owned()];
    if let Some(model) = alone.into_iter().find(|f| cell.is_none() && f.join("model.json").is_file()) {
        return Ok(model);
    }
    let id = match cell {
        Some(id) => id.to_owned(),
        None => default_cell(run)?,
    };
    let folder = run.join("cells").join(&id).join("model");
    if folder.join("model.json").is_file() {
        return Ok(folder);
    }
    let mut there: Vec<String> = std::fs::read_dir(run.join("cells"))
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
    let summary = read_summary(run)?;
    finished(run, &summary).map_err(|e| e.help("name one of its cells with `--cell`, or finish it with `--resume`"))?;
    let steps = summary["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = steps.last().map(|s| &s["name"]);
    let first = steps.iter().find(|s| Some(&s["name"]) == last).and_then(|s| s["cell"].as_str());
    let none = || Invalid::new(format!("{} has no finished cell yet", run.display()));
    Ok(first.ok_or_else(none)?.to_owned())
}

/// That a run has come to its end.
pub(crate) fn finished(run: &Path, summary: &Value) -> Result<(), Invalid> {
    match summary["status"].as_str() {
        Some("finished") => Ok(()),
        other => {
            let cells = summary["steps"].as_array().map_or(0, Vec::len);
            let status = other.unwrap_or("unknown");
            Err(Invalid::new(format!("{} is not finished: it is {status}, with {cells} cells done", run.display())))
        }
    }
}

/// The summary of a run.
pub(crate) fn read_summary(run: &Path) -> Result<Value> {
    let path = run.join("summary.json");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Invalid::new(format!("{} is not the folder of a run: cannot read {}: {e}", run.display(), path.display()))
    })?;
    serde_json::from_str(&text).map_err(|e| Error::data(&path, None, e.to_string()))
}

/// Predicts for files; the answer is CSV: file, class, its score, and the score of every class.
///
/// # Errors
/// When a file cannot be read or is of a size that the model's transforms do not take.
pub fn predict(model: &Path, inputs: &[PathBuf], plugins: &Plugins, device: &Device) -> Result<String> {
    let artefact = artefact::load(model, plugins, device)?;
    let mut csv = csv::Writer::from_writer(Vec::new());
    let bad = |e: csv::Error| Error::contract(format!("cannot write CSV: {e}"));
    for (i, file) in inputs.iter().enumerate() {
        let rows = one(&artefact, file)?;
        if i == 0 {
            csv.write_record(["file", "task", "class", "score"].into_iter().map(str::to_owned).chain(header(&rows)))
                .map_err(bad)?;
        }
        for (task, said) in rows {
            let shown = file.display().to_string();
            csv.write_record([shown, task].into_iter().chain(record(&said))).map_err(bad)?;
        }
    }
    let bytes = csv.into_inner().map_err(|e| Error::contract(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| Error::contract(e.to_string()))
}

/// What the model says of one file, by task.
fn one(a: &Artefact, file: &Path) -> Result<Vec<(String, Predictions)>> {
    let image = a.manifest.raw_inputs.iter().find_map(|(name, f)| match f {
        Field::Image { channels, .. } => Some((name.clone(), *channels)),
        _ => None,
    });
    let (name, channels) =
        image.ok_or_else(|| Invalid::new("this model is not given images, and predicts for images only"))?;
    let pixels = read_image(file, channels).map_err(|e| match e {
        // A file the user named is the user's to get right.
        Error::Io { .. } => Invalid::new(e.to_string()).into(),
        e => e,
    })?;
    let pixels = pixels.unsqueeze(0)?;
    let (height, width) = (pixels.dim(2)?, pixels.dim(3)?);
    let raw = Schema::from([(name.clone(), Field::Image { channels, height, width })]);
    if a.transforms.schema(&raw)? != a.manifest.inputs {
        let wanted = format!("{:?}", a.manifest.raw_inputs[&name]);
        let message = format!("is {height}×{width} pixels, and the model was trained on {wanted} without resizing");
        return Err(Error::data(file, None, message));
    }
    let acts = a.transforms.plain(Acts::new().with(&name, pixels), &[0])?;
    let outputs = a.model.predict(acts, &[0])?;
    let fields = a.model.info().tasks;
    let said = |(name, task): (&String, &std::sync::Arc<dyn transplant_core::Task>)| {
        Ok((name.clone(), task.decode(&outputs[name], &fields[name])?))
    };
    a.model.tasks().iter().map(said).collect()
}

/// Names of the score columns, when all tasks have the same classes.
fn header(rows: &[(String, Predictions)]) -> Vec<String> {
    match rows {
        [(_, Predictions::Class { names, .. })] => names.iter().map(|n| format!("score_{n}")).collect(),
        _ => Vec::new(),
    }
}

fn record(said: &Predictions) -> Vec<String> {
    match said {
        Predictions::Class { names, scores, .. } => {
            // The first of several equally high scores, as in the metrics.
            let best = (0..names.len()).reduce(|b, i| if scores[i] > scores[b] { i } else { b }).unwrap_or_default();
            let scores = scores.iter().map(f32::to_string);
            [names[best].clone(), scores.clone().nth(best).unwrap_or_default()].into_iter().chain(scores).collect()
        }
        Predictions::Number { values, .. } => {
            vec![values.first().map(f32::to_string).unwrap_or_default(), String::new()]
        }
        _ => Vec::new(),
    }
}
