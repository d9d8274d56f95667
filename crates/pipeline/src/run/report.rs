//! `report.md`: the tables of a run with the protocol card that says how the figures came about.

use std::collections::{BTreeMap, BTreeSet};

use transplant_core::{Predictions, Result};
use transplant_metrics::{FEWEST_FOR_INTERVAL, FEWEST_TO_TRUST, confusion};

use super::cells::VALIDATION;
use super::compare::{Comparison, Done, label};
use super::overview::of_dataset;
use super::record::Record;
use super::summary::Summary;
use super::table::{Table, in_cell, number};
use super::{labels, leaks};
use crate::resolved::{StreamSpec, TEST};
use crate::span;

/// Confusion matrices with more classes than this are left to `predictions.csv`.
const MOST_CLASSES: usize = 12;

/// The report of a finished run.
pub(crate) fn report(summary: &Summary, tables: &[Table], done: &[Done<'_>]) -> Result<String> {
    let mut out = format!("# {}\n", summary.name);
    for (i, table) in tables.iter().enumerate() {
        let is = |d: &Done<'_>| d.record.cell.step == table.step && d.predictions.contains_key(&table.test);
        let of_step: Vec<_> = done.iter().copied().filter(is).collect();
        let is = |c: &&Comparison| c.step == table.step && c.split == table.test;
        let comparison: Vec<&Comparison> = summary.comparison.iter().filter(is).collect();
        out.push_str(&format!("\n## {}\n\n{}\n", table.title, table.markdown()));
        out.push_str(&how_to_read(&comparison));
        out.push_str(&others(&comparison));
        // What is said of the step's data stands under its first table.
        if tables.iter().take(i).all(|t| t.step != table.step) {
            out.push_str(&card(&of_step));
            out.push_str(&validators(&of_step, &table.test));
        }
        out.push_str(&confusions(&of_step, &table.test)?);
    }
    if tables.is_empty() {
        out.push_str("\nNo step was tested: no cell has `test = true` and a metric.\n");
    }
    out.push_str(&findings(summary));
    out.push_str(&cells(summary));
    Ok(out)
}

fn how_to_read(comparison: &[&Comparison]) -> String {
    let paired = comparison.iter().find_map(|c| c.paired.as_ref());
    let groups: Vec<usize> = comparison.iter().filter_map(|c| c.groups).collect();
    let over = match groups.is_empty() {
        true => "test row".to_owned(),
        false => {
            format!("test group: intervals over {} groups, whose rows stay together", span(groups.iter().copied()))
        }
    };
    let mut text = format!(
        "Intervals: hierarchical bootstrap (95 %) over source seed, draw and {over}; the rows of all folds are taken together."
    );
    if comparison.iter().any(|c| c.few().is_some()) {
        text.push_str(&format!(
            " Fewer than {FEWEST_TO_TRUST} groups are few: an interval over them is too narrow, and not to be trusted (Cameron, Gelbach \
             and Miller 2008); fewer than {FEWEST_FOR_INTERVAL} groups or rows have none."
        ));
    }
    if comparison.iter().any(|c| c.repeated > 0) {
        text.push_str(
            " `all runs alike`, `equal another`: repetitions that predict exactly the same, since neither seed nor draw changes \
             what they learn from or how. They count once in p, and there is no p over a single pair, or where all pairs differ by \
             the same amount; a budget of labels, or a strategy that begins at random, makes repetitions differ.",
        );
    }
    if let Some(p) = paired {
        let against = &p.against;
        let pairs = if p.runs == 1 { "1 pair".to_owned() } else { format!("{} pairs", p.runs) };
        text.push_str(&format!(
            " Differences to {against} are paired by seed, draw and fold ({pairs}); p by the corrected resampled t test \
             (Nadeau–Bengio, ratio of test rows to the pool that training rows are drawn from), adjusted by Holm. The interval says \
             how large the difference is, given runs like these; p asks whether it would be there with other training rows, which \
             the runs share, so that with few pairs it stays large although the interval leaves 0 out. Flags follow the interval."
        ));
        text.push_str(&match p.control {
            true => format!(
                " `negative transfer`: the whole interval is on the side of {against}, which takes nothing from the source."
            ),
            false => {
                format!(" {against} takes weights from the source as well: nothing is flagged as negative transfer.")
            }
        });
    }
    text + " `below` names a baseline without a network; the whole interval of the paired difference is on its side.\n"
}

/// Means of all other metrics.
fn others(here: &[&Comparison]) -> String {
    let metrics: BTreeSet<&str> = here.iter().map(|c| c.metric.as_str()).collect();
    if metrics.len() < 2 {
        return String::new();
    }
    let shown = |m: &str| here.iter().find(|c| c.metric == m).map_or_else(String::new, |c| c.metric_name());
    let mut rows = vec![std::iter::once("strategy".to_owned()).chain(metrics.iter().map(|m| shown(m))).collect()];
    let mut seen = BTreeSet::new();
    for c in here {
        let name = label(&c.strategy, &c.swept);
        if !seen.insert(name.clone()) {
            continue;
        }
        let mean =
            |m: &&str| here.iter().find(|d| d.metric == *m && label(&d.strategy, &d.swept) == name).map(|d| d.mean);
        let means = metrics.iter().map(|m| mean(m).map(number).unwrap_or_default());
        rows.push(std::iter::once(name.clone()).chain(means).collect());
    }
    format!("\n### All metrics, means over runs\n\n{}", Table { rows, ..Table::default() }.markdown())
}

/// The protocol card of a step.
fn card(done: &[Done<'_>]) -> String {
    let records: Vec<&Record> = done.iter().map(|d| d.record).collect();
    let Some(first) = records.first() else { return String::new() };
    let set = |f: &dyn Fn(&Record) -> String| {
        records.iter().map(|r| f(r)).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    let rows = |r: &Record, part: &str| r.rows.get(part).copied().unwrap_or_default();
    // Folds differ by a row or two.
    let span = |of: &dyn Fn(&Record) -> usize| span(records.iter().map(|r| of(r)));
    let labels = span(&|r| r.labels);
    let of_record = |r: &Record| Some(r.cell.streams.get(r.cell.main())?.budget(&r.dataset()?.spec));
    let budget = |r: &Record| match of_record(r).unwrap_or_default() {
        _ if r.labels == 0 => "none".to_owned(),
        (Some(k), _) => format!("{k} a class, {labels} in all"),
        (None, Some(n)) => format!("{n} in all"),
        (None, None) if first.cell.streams.len() > 1 => format!("{labels} in all"),
        (None, None) => format!("all {labels} of the pool"),
    };
    let before = labels::in_words(&records.iter().map(|r| r.labels_before.as_slice()).collect::<Vec<_>>());
    let validation = span(&|r| rows(r, VALIDATION));
    let selection = |r: &Record| {
        let unused = match rows(r, VALIDATION) {
            0 => String::new(),
            _ => format!(", although {validation} of the labels are a validation part"),
        };
        match (r.steps, r.chosen_by.as_slice()) {
            (0, _) => format!("none by validation rows: the head is fitted at once, to training rows alone{unused}"),
            (_, []) if unused.is_empty() => "none, a fixed recipe to its last step".to_owned(),
            (_, []) => format!("none{unused}"),
            (_, by) if r.selected_by.is_some() => {
                let validator = r.selected_by.as_deref().unwrap_or_default();
                format!(
                    "{} by the validator `{validator}` on rows without labels: no label was used{unused}",
                    by.join(", ")
                )
            }
            (_, by) => format!("{} on {validation} validation rows, which count as labels used", by.join(", ")),
        }
    };
    let transduction = |r: &Record| match (r.unlabelled, r.leak.shown) {
        (false, _) => "none".to_owned(),
        (true, 0) => "rows without labels, no test row among them as far as records, files and inputs tell".to_owned(),
        (true, n) => format!("rows without labels, {n} test rows among them"),
    };
    let fitted_on = |r: &Record| match r.cell.streams.values().filter(|s| s.labels).count() {
        0 => "none: no stream has labels".to_owned(),
        1 => "fitted to the labels that the strategies learn from".to_owned(),
        _ => format!("fitted to the labels of the stream `{}` alone", r.cell.main()),
    };
    let judged = |r: &Record| {
        let metric = r.main_metric.clone().unwrap_or_else(|| "no metric".to_owned());
        let first = r.cell.first_task.as_ref().filter(|_| r.cell.tasks.len() > 1);
        first.map_or_else(|| metric.clone(), |task| format!("{metric}; `{task}` is the first of the step's tasks"))
    };
    let tuned = "options are those of `pipeline.toml`, and no test row was used to choose anything here";
    let grouped = done.iter().any(|d| d.predictions.values().any(|p| !p.groups.is_empty()));
    let folds = first.dataset().and_then(|d| d.spec.folds);
    let tested = match folds {
        Some(folds) => format!("one of {folds} folds of the data set"),
        None => "the same for every draw".to_owned(),
    };
    let found: Vec<_> = records.iter().map(|r| (r.cell.fold, &r.leak)).collect();
    let told = leaks::sentences(&found, folds.is_some());
    let mut leaks: Vec<String> = told.into_iter().map(|(_, text)| text).collect();
    if records.iter().all(|r| r.leak.rows == 0) {
        let none = "none: no test row was learned from, in this step or one before it, as far as records, files and inputs tell";
        leaks.insert(0, none.to_owned());
    }
    leaks
        .extend(leaks::not_looked(records.iter().map(|r| &r.leak)).into_iter().map(|t| format!("not looked for: {t}")));
    let datasets = |r: &Record| match (r.cell.streams.len(), r.cell.tests.contains_key(TEST)) {
        (1, true) if r.cell.held_out.is_none() && r.cell.streams.values().all(|s| s.domains.is_none()) => {
            r.cell.dataset().to_owned()
        }
        _ => {
            let kind = |s: &StreamSpec| if s.labels { "" } else { ", without labels" };
            let streams = r.cell.streams.iter();
            let streams = streams.map(|(name, s)| format!("stream {name}: {}{}", of_dataset(&s.dataset, s), kind(s)));
            let tests = r.cell.tests.iter().map(|(name, t)| {
                let domains = t.domains.as_ref().map_or_else(String::new, |d| format!(" of {}", d.join(", ")));
                format!("test {name}: data set {}{domains}", t.dataset)
            });
            let held_out = r.cell.held_out.iter().map(|d| format!("held out: {d}"));
            streams.chain(tests).chain(held_out).collect::<Vec<_>>().join("; ")
        }
    };
    let lines: Vec<(&str, String)> = vec![
        ("judged by", set(&judged)),
        ("baselines", set(&fitted_on)),
        ("data set", set(&datasets)),
        ("labels", [Some(set(&budget)), before].into_iter().flatten().collect::<Vec<_>>().join("; ")),
        ("selection", by_strategy(done, &selection)),
        ("transduction", set(&transduction)),
        ("seeds", format!("{} (each re-runs the whole chain)", set(&|r| r.cell.seed.to_string()))),
        ("draws", set(&|r| r.cell.draw.to_string())),
        ("test rows", format!("{}, {tested}, read once a cell", span(&|r| rows(r, TEST)))),
        ("groups", if grouped { "kept on one side of every split" } else { "none, every row stands alone" }.to_owned()),
        ("leaks", leaks.join("; ")),
        ("tuned", tuned.to_owned()),
        ("device", first.device.clone()),
    ];
    let lines: String = lines.into_iter().map(|(k, v)| format!("| {k} | {} |\n", in_cell(&v))).collect();
    format!("\n### Protocol card\n\n| | |\n|---|---|\n{lines}")
}

/// What the validators of a step's cells said of the finished models, beside the metric by which they are judged.
fn validators(done: &[Done<'_>], test: &str) -> String {
    let records = || done.iter().map(|d| d.record);
    let names: BTreeSet<&String> = records().flat_map(|r| r.validators.keys()).collect();
    let Some(metric) = records().find_map(|r| r.main_metric.as_ref()).filter(|_| !names.is_empty()) else {
        return String::new();
    };
    let chose = |name: &str| records().any(|r| r.selected_by.as_deref() == Some(name));
    let head = names.iter().map(|n| if chose(n) { format!("{n} (chose)") } else { (*n).clone() });
    let head: Vec<String> =
        std::iter::once("cell".to_owned()).chain(head).chain([format!("{metric} on `{test}`")]).collect();
    let row = |r: &Record| -> Vec<String> {
        let of = |value: Option<&f64>| value.map(|v| number(*v)).unwrap_or_default();
        let scores = names.iter().map(|n| of(r.validators.get(*n)));
        let judged = of(r.metrics.get(test).and_then(|m| m.get(metric)));
        std::iter::once(r.cell.id.clone()).chain(scores).chain([judged]).collect()
    };
    let rows = std::iter::once(head).chain(records().map(row)).collect();
    let table = Table { rows, ..Table::default() }.markdown();
    format!("\n### Validators, which see no label of their rows; larger is better\n\n{table}")
}

/// What `text` says of the cells; where it is not the same of all, the strategies that each sentence is about in front.
fn by_strategy(done: &[Done<'_>], text: &dyn Fn(&Record) -> String) -> String {
    let mut by_text = BTreeMap::<String, BTreeSet<String>>::new();
    for d in done {
        by_text.entry(text(d.record)).or_default().insert(d.label());
    }
    let alone = by_text.len() == 1;
    let line = |(text, strategies): (String, BTreeSet<String>)| match alone {
        true => text,
        false => format!("{}: {text}", strategies.into_iter().collect::<Vec<_>>().join(", ")),
    };
    by_text.into_iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Confusion matrices, summed over the runs of each strategy.
fn confusions(done: &[Done<'_>], test: &str) -> Result<String> {
    let mut sums: Vec<(String, Vec<String>, Vec<Vec<u64>>)> = Vec::new();
    for d in done {
        for (task, p) in d.predictions.get(test).into_iter().flat_map(|s| &s.tasks) {
            let Predictions::Class { names, .. } = p else { continue };
            if names.len() > MOST_CLASSES {
                continue;
            }
            let (title, matrix) = (format!("{}, task `{task}`", d.label()), confusion(p)?);
            match sums.iter_mut().find(|(t, n, _)| *t == title && n == names) {
                Some((.., sum)) => {
                    sum.iter_mut().flatten().zip(matrix.iter().flatten()).for_each(|(s, m)| *s += m);
                }
                None => sums.push((title, names.clone(), matrix)),
            }
        }
    }
    let mut out = String::new();
    for (title, names, matrix) in sums {
        let mut rows =
            vec![std::iter::once("right ↓ said →".to_owned()).chain(names.iter().cloned()).collect::<Vec<_>>()];
        for (name, counts) in names.iter().zip(&matrix) {
            rows.push(std::iter::once(name.clone()).chain(counts.iter().map(u64::to_string)).collect());
        }
        let table = Table { rows, ..Table::default() }.markdown();
        out.push_str(&format!("\n### Confusion: {title}, summed over runs\n\n{table}"));
    }
    Ok(out)
}

/// What was found about data and steps.
fn findings(summary: &Summary) -> String {
    let found: String = summary.findings.iter().map(|f| format!("- {}\n", f.sentence())).collect();
    if found.is_empty() { found } else { format!("\n## Findings\n\n{found}") }
}

fn cells(summary: &Summary) -> String {
    let head = ["cell", "trained", "of", VALIDATION, "test"].map(str::to_owned).to_vec();
    let metrics = |of: &BTreeMap<String, BTreeMap<String, f64>>, split: &str| {
        let all = of.get(split).into_iter().flatten().map(|(k, v)| format!("{k} {}", number(*v)));
        all.collect::<Vec<_>>().join(", ")
    };
    let row = |s: &super::summary::StepSummary| {
        let (trained, all) = (s.trainable_parameters.to_string(), s.parameters.to_string());
        let tests = s.metrics.keys().filter(|split| *split != VALIDATION);
        let tested = tests.map(|test| match test == TEST {
            true => metrics(&s.metrics, test),
            false => format!("{test}: {}", metrics(&s.metrics, test)),
        });
        let tested = tested.collect::<Vec<_>>().join("; ");
        vec![s.cell.clone(), trained, all, metrics(&s.metrics, VALIDATION), tested]
    };
    let rows = std::iter::once(head).chain(summary.steps.iter().map(row)).collect();
    format!("\n## Cells\n\n{}", Table { rows, ..Table::default() }.markdown())
}
