//! What `check` prints: cells, data, streams, stages and what is trained of them.

use std::fmt::Write;

use transplant_core::Result;

use super::compare::label;
use super::folder::Left;
use super::leaks::{Because, Leak, Leaks};
use super::prepare::{Prepared, Ready};
use super::shape::Shape;
use super::{cache, labels, leaks};
use crate::resolved::{Cell, StreamSpec, TEST};
use crate::{counted, span};

/// Describes a prepared pipeline.
///
/// # Errors
/// When a row cannot be read: test rows are looked for among those that a network has learned from.
pub fn overview(run: &Prepared<'_>) -> Result<String> {
    let mut leaks = Leaks::default();
    let found = run.cells.iter().map(|ready| leaks.of(run, ready)).collect::<Result<Vec<_>>>()?;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = describe(run, &found, &mut out);
    Ok(out)
}

fn describe(run: &Prepared<'_>, leaks: &[Leak], out: &mut String) -> std::fmt::Result {
    let (name, cells) = (&run.pipeline.name, run.cells.len());
    let folder = run.folder.root().display();
    writeln!(out, "{name}: {} on {}, run folder {folder}", counted(cells, "cell"), run.device_name)?;
    let is_finished = |c: &&Ready| matches!(run.folder.left(&c.cell.id, &c.key), Ok(Left::Finished(_)));
    let finished = run.cells.iter().filter(is_finished).count();
    if finished > 0 {
        writeln!(out, "{finished} of them are finished there and will not be run again")?;
    }
    writeln!(out, "{}", cache::limits_in_words(run))?;
    for (name, d) in &run.datasets {
        let roles = d.dataset.roles();
        let (pool, validation, test) = (roles.pool.len(), roles.validation.len(), roles.test.len());
        writeln!(
            out,
            "\ndata set {name}: {pool} rows in the pool, {validation} official validation rows, {test} test rows"
        )?;
        writeln!(out, "  the network is given {}", fields(&d.inputs))?;
        writeln!(out, "  targets: {}", fields(d.dataset.targets()))?;
        for found in run.findings_of(name) {
            writeln!(out, "  {}", found.line())?;
        }
    }
    let (mut shown, mut told) = (Vec::new(), Vec::new());
    for ready in &run.cells {
        let kind = (ready.shape, label(&ready.cell.strategy, &ready.cell.swept));
        if !shown.contains(&kind) {
            let of_kind = |c: &Ready| (c.shape, label(&c.cell.strategy, &c.cell.swept)) == kind;
            let alike: Vec<_> = run.cells.iter().zip(leaks).filter(|(c, _)| of_kind(c)).collect();
            one_kind(&kind.1, &alike, &run.shapes[ready.shape], run, out)?;
            if !told.contains(&ready.cell.step.as_str()) {
                told.push(&ready.cell.step);
                for found in run.findings_of_step(&ready.cell.step) {
                    writeln!(out, "  {}", found.line())?;
                }
            }
            shown.push(kind);
        }
    }
    Ok(())
}

fn one_kind(
    name: &str,
    alike: &[(&Ready, &Leak)],
    shape: &Shape,
    run: &Prepared<'_>,
    out: &mut String,
) -> std::fmt::Result {
    let first = alike[0].0;
    let cell = &first.cell;
    let from = run.source_name(first).map_or_else(|| "from scratch".to_owned(), |from| format!("from {from}"));
    writeln!(out, "\nstep {}, {name}: {}, {from}", cell.step, counted(alike.len(), "cell"))?;
    let folds = first.spec().folds.is_some();
    let at = |c: &Cell| format!("{}/{}{}", c.seed, c.draw, if folds { format!("/{}", c.fold) } else { String::new() });
    let seeds: Vec<_> = alike.iter().map(|(c, _)| at(&c.cell)).collect();
    writeln!(out, "  seed/draw{}: {}", if folds { "/fold" } else { "" }, seeds.join(" "))?;
    let several = first.streams.len() > 1 || first.tests.iter().any(|t| t.name != TEST);
    match several {
        false => one_stream(&alike.iter().map(|(c, _)| *c).collect::<Vec<_>>(), shape, out)?,
        true => several_streams(first, shape, out)?,
    }
    let before: Vec<_> = alike.iter().map(|(c, _)| labels::before(run, c)).collect();
    if let Some(text) = labels::in_words(&before.iter().map(Vec::as_slice).collect::<Vec<_>>()) {
        writeln!(out, "  labels {text}")?;
    }
    for note in first.streams.iter().filter_map(|s| s.parts.note.as_ref()) {
        writeln!(out, "  {note}")?;
    }
    for note in &shape.notes {
        writeln!(out, "  {note}")?;
    }
    for text in run.warnings_of(first) {
        writeln!(out, "  warning: {text}")?;
    }
    let found: Vec<_> = alike.iter().map(|(c, leak)| (c.cell.fold, *leak)).collect();
    for (because, text) in leaks::sentences(&found, folds) {
        writeln!(out, "  {}{text}", if because == Because::Chance { "" } else { "warning: " })?;
    }
    for text in leaks::not_looked(found.iter().map(|(_, leak)| *leak)) {
        writeln!(out, "  not looked for: {text}")?;
    }
    let stages: Vec<_> = shape.stages.iter().map(|(name, numbers)| format!("{name} ({numbers})")).collect();
    writeln!(out, "  stages: {}", stages.join(", "))?;
    let backbone: usize = shape.stages.iter().map(|(_, n)| n).sum();
    writeln!(out, "  parameters: {} ({} beside the backbone)", shape.parameters, shape.parameters - backbone)?;
    for phase in &shape.phases {
        let share = 100.0 * phase.trainable as f64 / shape.parameters.max(1) as f64;
        match phase.fitted {
            true => write!(out, "  phase {}: the head is fitted, the rest stays", phase.name)?,
            false => write!(out, "  phase {}: {} trained ({share:.1} %)", phase.name, phase.trainable)?,
        }
        writeln!(out, "{}", cache::in_words(run, first, phase))?;
    }
    Ok(())
}

/// The rows of a step with one stream and the test part of its data set, over cells that differ in seed, draw and fold.
fn one_stream(cells: &[&Ready], shape: &Shape, out: &mut String) -> std::fmt::Result {
    let first = cells[0];
    let rows = |of: &dyn Fn(&Ready) -> usize| span(cells.iter().map(|c| of(c)));
    writeln!(
        out,
        "  data set {}: {} train, {} validation, {} unlabelled, {} test rows; stream {}",
        first.cell.dataset(),
        rows(&|c| c.parts().train.rows().len()),
        rows(&|c| c.parts().validation_rows().len()),
        rows(&|c| c.parts().unlabelled.rows().len()),
        rows(&|c| c.tests.first().map_or(0, |t| t.rows.rows().len())),
        shape.streams.join(", ")
    )?;
    if let Some(domain) = &first.cell.held_out {
        writeln!(out, "  held out: {domain}")?;
    }
    let budget = match first.main().stream.budget(first.spec()) {
        (Some(k), _) => format!("{k} a class"),
        (None, Some(n)) => format!("{n} in all"),
        (None, None) => "no limit".to_owned(),
    };
    writeln!(out, "  label budget: {budget}, {} labels used", rows(&|c| c.parts().labelled_rows().len()))
}

/// The rows of each stream and test.
fn several_streams(ready: &Ready, shape: &Shape, out: &mut String) -> std::fmt::Result {
    for s in &ready.streams {
        let (train, validation) = (s.parts.train.rows().len(), s.parts.validation_rows().len());
        let rows = match s.stream.labels {
            true => format!("{train} train, {validation} validation rows, {} labels used", train + validation),
            false => format!("{} rows without labels", s.parts.unlabelled.rows().len()),
        };
        writeln!(out, "  stream {}: {}, {rows}", s.name, of_dataset(s.dataset(), &s.stream))?;
    }
    for name in shape.streams.iter().skip(ready.streams.len()) {
        let rows = ready.parts().unlabelled.rows().len();
        writeln!(out, "  stream {name}: data set {}, {rows} rows that are not drawn", ready.cell.dataset())?;
    }
    for t in &ready.tests {
        let domains = ready.cell.tests.get(&t.name).and_then(|t| t.domains.as_ref());
        let domains = domains.map_or_else(String::new, |d| format!(" of {}", d.join(", ")));
        writeln!(out, "  test {}: data set {}, {} rows{domains}", t.name, t.dataset, t.rows.rows().len())?;
    }
    if let Some(domain) = &ready.cell.held_out {
        writeln!(out, "  held out: {domain}")?;
    }
    Ok(())
}

/// A data set with what a stream takes of it.
pub(super) fn of_dataset(name: &str, stream: &StreamSpec) -> String {
    let part = stream.part.as_ref().map_or_else(String::new, |p| format!(", part {p}"));
    let domains = stream.domains.as_ref().map_or_else(String::new, |d| format!(" of {}", d.join(", ")));
    format!("data set {name}{part}{domains}")
}

/// The fields of a schema in words.
pub(super) fn fields(schema: &transplant_core::Schema) -> String {
    use transplant_core::Field;
    let field = |f: &Field| match f {
        Field::Image { channels, height, width } => format!("image {channels}×{height}×{width}"),
        Field::Vector { width } => format!("{width} numbers"),
        Field::Sequence { width } => format!("sequence of {width} numbers a step"),
        Field::Text => "text".to_owned(),
        Field::Tokens { length, vocabulary } => format!("up to {length} of {vocabulary} tokens"),
        Field::Class { names } => format!("one of {} classes", names.len()),
        Field::Number => "a number".to_owned(),
        other => format!("{other:?}"),
    };
    schema.iter().map(|(name, f)| format!("{name} ({})", field(f))).collect::<Vec<_>>().join(", ")
}
