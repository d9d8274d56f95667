//! `data`: what a pipeline's data sets hold, before anything is trained: rows and classes by part, rows that are there
//! twice, and a sheet of pictures as the network is given them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use transplant_codecs::picture::encode_png;
use transplant_core::{Dataset, Error, Field, HIDDEN, Result, TEXT, Train, write_atomically};
use transplant_datasets::{Chain, Loader, Prints, Twins};

use super::data::Opened;
use super::leaks::{self, Because, Leak, Leaks};
use super::prepare::{Prepared, Ready};
use crate::resolved::TEST;

/// A step's name, whether it is tested, and its leaks by fold.
type StepLeaks<'a> = (&'a str, bool, Vec<(u64, Leak)>);

/// Pictures in a row of the sheet, and rows.
const SHEET: usize = 8;
/// Pairs that are named.
const NAMED: usize = 5;
/// Texts that are shown, and characters of each.
const TEXTS: usize = 3;
const CHARACTERS: usize = 100;

/// Describes the data of a prepared pipeline, each data set once, as the first step that uses it sees it. Sheets of pictures go into
/// `folder`.
///
/// # Errors
/// When a row cannot be read, or a sheet cannot be written.
pub fn inspect(run: &Prepared<'_>, folder: &Path) -> Result<String> {
    let mut out = String::new();
    let mut seen = Vec::new();
    for ready in &run.cells {
        for view in views(ready) {
            if !seen.contains(&view.dataset) {
                // Writing to a string cannot fail.
                let _ =
                    write!(out, "{}{}", if out.is_empty() { "" } else { "\n" }, of_view(run, ready, &view, folder)?);
                seen.push(view.dataset);
            }
        }
    }
    out.push_str(&chains(run)?);
    let mut told = Vec::new();
    for step in run.cells.iter().map(|ready| ready.cell.step.as_str()) {
        let lines: String = run.findings_of_step(step).map(|found| format!("  {}\n", found.line())).collect();
        if !lines.is_empty() && !told.contains(&step) {
            let _ = write!(out, "\nstep {step}\n{lines}");
            told.push(step);
        }
    }
    Ok(out)
}

/// Test rows of each step that it, the steps before it, or the weights they start from have learned from: what `run`
/// will tell.
fn chains(run: &Prepared<'_>) -> Result<String> {
    let mut search = Leaks::default();
    let mut steps: Vec<StepLeaks<'_>> = Vec::new();
    for ready in &run.cells {
        let leak = search.of(run, ready)?;
        let (step, folds, of_cell) = (ready.cell.step.as_str(), ready.spec().folds.is_some(), (ready.cell.fold, leak));
        match steps.iter_mut().find(|(s, ..)| *s == step) {
            Some((.., leaks)) => leaks.push(of_cell),
            None => steps.push((step, folds, vec![of_cell])),
        }
    }
    let mut out = String::new();
    for (step, folds, cells) in &steps {
        let of_cells: Vec<_> = cells.iter().map(|(fold, leak)| (*fold, leak)).collect();
        let found = leaks::sentences(&of_cells, *folds)
            .into_iter()
            .map(|(because, text)| format!("  {}{text}\n", if because == Because::Chance { "" } else { "LEAK: " }));
        let unknown = leaks::not_looked(cells.iter().map(|(_, leak)| leak));
        let lines: String =
            found.chain(unknown.into_iter().map(|text| format!("  not looked for: {text}\n"))).collect();
        if !lines.is_empty() {
            out.push_str(&format!("\nwhat step {step} is tested on\n{lines}"));
        }
    }
    Ok(out)
}

/// A data set as a step sees it.
struct View<'r> {
    dataset: &'r str,
    open: &'r Opened,
    /// Its rows by what they are for; none is empty.
    parts: Vec<(String, &'r [u64])>,
}

/// The data sets of a cell, each with all rows that its streams and tests have of it.
fn views(ready: &Ready) -> Vec<View<'_>> {
    let mut out = Vec::new();
    for dataset in ready.cell.datasets() {
        let streams: Vec<_> = ready.streams.iter().filter(|s| s.dataset() == dataset).collect();
        let tests: Vec<_> = ready.tests.iter().filter(|t| t.dataset == dataset).collect();
        let named = |stream: &str, part: &str| match ready.streams.len() {
            1 => part.to_owned(),
            _ => format!("{stream} {part}"),
        };
        let mut parts: Vec<(String, &[u64])> = Vec::new();
        for s in &streams {
            let p = &s.parts;
            let all = [("train", p.train.rows()), ("validation", p.validation_rows())];
            parts.extend(all.map(|(part, rows)| (named(&s.name, part), rows)));
            if !s.stream.labels || ready.streams.len() == 1 {
                parts.push((named(&s.name, "unlabelled"), p.unlabelled.rows()));
            }
        }
        match tests.is_empty() {
            true => parts.extend(streams.first().map(|s| ("test".to_owned(), s.parts.test.rows()))),
            false => parts.extend(tests.iter().map(|t| match t.name == TEST {
                true => ("test".to_owned(), t.rows.rows()),
                false => (format!("test {}", t.name), t.rows.rows()),
            })),
        }
        parts.retain(|(_, rows)| !rows.is_empty());
        let open = streams.first().map(|s| &*s.open).or_else(|| tests.first().map(|t| &*t.open));
        out.extend(open.map(|open| View { dataset, open, parts }));
    }
    out
}

fn of_view(run: &Prepared<'_>, ready: &Ready, view: &View<'_>, folder: &Path) -> Result<String> {
    let (name, dataset, parts) = (view.dataset, &view.open.dataset, &view.parts);
    let all: Vec<u64> = parts.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    let mut out = format!("data set {name}, as step {} sees it: {} rows\n", ready.cell.step, all.len());
    let line = |out: &mut String, text: String| out.push_str(&format!("  {text}\n"));
    line(&mut out, format!("the network is given {}", super::overview::fields(&view.open.inputs)));
    run.findings_of(name).for_each(|found| line(&mut out, found.line()));
    if let Some(groups) = dataset.groups() {
        let of =
            |rows: &[u64]| rows.iter().map(|r| groups[*r as usize]).collect::<std::collections::BTreeSet<_>>().len();
        let counts: Vec<_> = parts.iter().map(|(part, rows)| format!("{} {part}", of(rows))).collect();
        line(&mut out, format!("groups, none of them on two sides: {}", counts.join(", ")));
    }
    for (target, field) in dataset.targets() {
        match field {
            Field::Class { names } => out.push_str(&balance(target, names, &dataset.classes_of(target)?, parts)),
            Field::Number => out.push_str(&spread(target, &dataset.numbers_of(target)?, parts)),
            _ => {}
        }
    }
    let prints = Prints::of(dataset.as_ref(), &all, &Chain::new(view.open.transforms.clone(), Vec::new())?)?;
    out.push_str(&twins(&prints, parts, dataset.as_ref()));
    let first = parts.first().map_or(&[][..], |(_, rows)| *rows);
    match view.open.inputs.get(HIDDEN) {
        Some(Field::Image { .. }) if !first.is_empty() => {
            let path = folder.join(format!("{name}.png"));
            sheet(ready, view, first, &path)?;
            line(&mut out, format!("training pictures as the network is given them: {}", path.display()));
        }
        _ if dataset.inputs().contains_key(TEXT) => {
            for text in texts(dataset.as_ref(), first)? {
                line(&mut out, format!("text: {text}"));
            }
        }
        _ => {}
    }
    Ok(out)
}

/// A table of classes: how many rows of each there are in each part.
fn balance(target: &str, names: &[String], labels: &[Option<u32>], parts: &[(String, &[u64])]) -> String {
    let count = |rows: &[u64]| {
        let mut counts = vec![0usize; names.len() + 1];
        for row in rows {
            counts[labels[*row as usize].map_or(names.len(), |c| c as usize)] += 1;
        }
        counts
    };
    let counts: Vec<Vec<usize>> = parts.iter().map(|(_, rows)| count(rows)).collect();
    let names: Vec<String> = names.iter().map(|n| n.replace(char::is_control, " ")).collect();
    let wide = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max(target.len()).max("no label".len());
    let mut out = format!("  {target:wide$}");
    parts.iter().for_each(|(part, _)| out.push_str(&format!("  {part:>10}")));
    out.push('\n');
    for class in 0..=names.len() {
        let of_class: Vec<usize> = counts.iter().map(|c| c[class]).collect();
        let name = names.get(class).map_or("no label", String::as_str);
        if class == names.len() && of_class.iter().all(|n| *n == 0) {
            continue;
        }
        out.push_str(&format!("  {name:wide$}"));
        of_class.iter().for_each(|n| out.push_str(&format!("  {n:>10}")));
        out.push('\n');
    }
    let totals: BTreeMap<usize, usize> = (0..names.len()).map(|c| (c, counts.iter().map(|n| n[c]).sum())).collect();
    let (most, least) = (totals.values().max().copied().unwrap_or(0), totals.values().min().copied().unwrap_or(0));
    if least > 0 && most > least {
        out.push_str(&format!(
            "  the largest class has {:.1} times the rows of the smallest\n",
            most as f64 / least as f64
        ));
    }
    out
}

/// A table of a number: how many rows have one in each part, and where these lie.
fn spread(target: &str, numbers: &[Option<f32>], parts: &[(String, &[u64])]) -> String {
    let mut out = String::new();
    for (part, rows) in parts {
        let known: Vec<f64> = rows.iter().filter_map(|row| numbers[*row as usize]).map(f64::from).collect();
        let n = known.len();
        if n == 0 {
            continue;
        }
        let mean = known.iter().sum::<f64>() / n as f64;
        let deviation = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        let (least, most) = known.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        let of = format!("{n} of {} {part} rows", rows.len());
        out.push_str(&format!(
            "  {target}: {of} have a number, {least} to {most}, mean {mean:.3}, standard deviation {deviation:.3}\n"
        ));
    }
    out
}

/// Rows that are there twice: within parts they weigh double, across parts they may leak.
fn twins(prints: &Prints, parts: &[(String, &[u64])], dataset: &dyn Dataset) -> String {
    let mut out = String::new();
    let called = |row: u64| dataset.row_name(row).map_or_else(|| row.to_string(), |name| format!("{row} ({name})"));
    let named = |twins: &[Twins]| {
        let shown: Vec<_> =
            twins.iter().take(NAMED).map(|t| format!("{} = {}", called(t.row), called(t.like))).collect();
        let more = twins.len().saturating_sub(NAMED);
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    for (i, (part, rows)) in parts.iter().enumerate() {
        let within: Vec<Twins> = prints.same(rows, rows);
        if !within.is_empty() {
            out.push_str(&format!("  {} {part} rows are in it more than once: {}\n", within.len(), named(&within)));
        }
        for (other, others) in &parts[..i] {
            let same = prints.same(rows, others);
            if !same.is_empty() {
                let n = same.len();
                out.push_str(&format!("  {n} {part} rows have the inputs of {other} rows: {}\n", named(&same)));
            }
            let same_words = prints.same_words(rows, others);
            if !same_words.is_empty() {
                let n = same_words.len();
                out.push_str(&format!(
                    "  {n} {part} rows are other texts than {other} rows, and give the network the same words: {}\n",
                    named(&same_words)
                ));
            }
            let alike = prints.alike(rows, others);
            if !alike.is_empty() {
                let n = alike.len();
                out.push_str(&format!(
                    "  {n} {part} rows look like {other} rows (difference hash): {}\n",
                    named(&alike)
                ));
            }
        }
    }
    if out.is_empty() { "  no row is there twice, none looks like one of another part\n".to_owned() } else { out }
}

/// The first training pictures of the first epoch, random transforms applied, side by side as a PNG.
fn sheet(ready: &Ready, view: &View<'_>, rows: &[u64], path: &Path) -> Result<()> {
    let options = view.open.loader(SHEET * SHEET, super::cells::seeds(&ready.cell));
    let feed = Loader::train(&Train::new(view.open.dataset.clone(), rows.to_vec()), options)?;
    let images = feed.batch(0, 0)?.inputs.get(HIDDEN)?.to_dtype(DType::F32)?;
    let (n, channels, height, width) = images.dims4()?;
    let bytes = scaled(&images)?;
    let (across, down) = (SHEET.min(n), n.div_ceil(SHEET));
    let (w, h) = (across * (width + 1) + 1, down * (height + 1) + 1);
    let mut pixels = vec![128u8; w * h * 3];
    for i in 0..n {
        let (left, top) = ((i % SHEET) * (width + 1) + 1, (i / SHEET) * (height + 1) + 1);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for colour in 0..3 {
                let from = ((i * channels + colour.min(channels - 1)) * height + y) * width + x;
                pixels[((top + y) * w + left + x) * 3 + colour] = bytes[from];
            }
        }
    }
    if let Some(folder) = path.parent() {
        super::folder::make(folder)?;
    }
    write_atomically(path, &encode_png(&pixels, [h, w, 3]).map_err(Error::contract)?)
}

/// All values of a batch as bytes, the smallest black and the largest white: normalised pixels have no scale of their
/// own.
fn scaled(images: &Tensor) -> Result<Vec<u8>> {
    let values = images.flatten_all()?.to_vec1::<f32>()?;
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let span = (most - least).max(f32::MIN_POSITIVE);
    Ok(values.iter().map(|v| ((v - least) / span * 255.0).round() as u8).collect())
}

/// The first training texts.
fn texts(dataset: &dyn Dataset, rows: &[u64]) -> Result<Vec<String>> {
    let batch = dataset.batch(&rows[..TEXTS.min(rows.len())])?;
    let texts = batch.inputs.get(TEXT)?.to_vec2::<u8>()?;
    let shown = |bytes: Vec<u8>| {
        let text = String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\n', " ");
        let cut: String = text.chars().take(CHARACTERS).collect();
        if cut.len() < text.len() { cut + "…" } else { cut }
    };
    Ok(texts.into_iter().map(shown).collect())
}

/// Where sheets go when no folder is named: beside the run's, which is not to be there before a run makes it.
pub fn sheets_folder(run: &Prepared<'_>) -> PathBuf {
    run.folder.root().with_file_name(format!("{}.data", run.pipeline.name))
}
