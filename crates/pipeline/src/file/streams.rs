//! What a step learns from and is tested on: `dataset`, `streams` and `tests`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use transplant_core::{Invalid, Sampler, Spec};
use transplant_datasets::Draw;

use super::check::{Sections, component, fit_name, under, unknown};
use super::section::{NameOr, OfDataset, StepSection, StreamTable, TestTable};
use super::steps::spelled;
use crate::resolved::{StreamSpec, TARGET, TestSpec};

/// What a step learns from; at least one stream.
pub(super) fn streams(step: &StepSection, sections: &Sections<'_>) -> Result<BTreeMap<String, StreamSpec>, Invalid> {
    let mut out = BTreeMap::new();
    if let Some(name) = &step.dataset {
        known_dataset(name, sections).map_err(under("dataset"))?;
        if step.streams.contains_key(TARGET) {
            let e = Invalid::key("dataset", format!("stands for `streams.{TARGET}`, which is there, too"));
            return Err(e.help("leave one of them out"));
        }
        let table = StreamTable::of_dataset(name);
        out.insert(TARGET.to_owned(), stream(&table, None));
    }
    for (name, NameOr(table)) in &step.streams {
        let wrong = |key: &str, e| under("streams")(under(name)(under(key)(e)));
        fit_name(name).map_err(|e| under("streams")(under(name)(e)))?;
        known_dataset(&table.dataset, sections).map_err(|e| wrong("dataset", e))?;
        if table.batch_size == Some(0) {
            return Err(wrong("batch_size", Invalid::new("must be at least 1")));
        }
        let (labels_per_class, labels_in_all) = (table.labels_per_class, table.labels_in_all);
        let draw = Draw { labels_per_class, labels_in_all, ..Draw::default() };
        draw.check().map_err(|e| under("streams")(under(name)(e)))?;
        let budgets = [("labels_per_class", labels_per_class), ("labels_in_all", labels_in_all)];
        if let Some((key, _)) = budgets.iter().find(|(_, budget)| budget.is_some() && !table.labels) {
            return Err(wrong(key, Invalid::new("has no meaning for a stream without labels")));
        }
        if table.part.is_some() && sections.datasets[&table.dataset].parts.is_none() {
            let e = Invalid::new(format!("data set `{}` has no `parts`", table.dataset));
            let help = format!(
                "set `datasets.{}.parts`, such as `{{ learn = 0.5, adapt = 0.25, test = 0.25 }}`",
                table.dataset
            );
            return Err(wrong("part", e.help(help)));
        }
        let sampler = table.sampler.as_ref().map(|s| component(sections.plugins, s, &[])).transpose();
        out.insert(name.clone(), stream(table, sampler.map_err(|e| wrong("sampler", e))?));
    }
    if out.is_empty() {
        return Err(Invalid::new("missing key `dataset`").help("or name what the step learns from under `streams`"));
    }
    Ok(out)
}

fn stream(table: &StreamTable, sampler: Option<Spec<dyn Sampler>>) -> StreamSpec {
    StreamSpec {
        dataset: table.dataset.clone(),
        part: table.part.clone(),
        domains: table.domain.as_ref().map(|words| words.0.clone()),
        labels: table.labels,
        labels_per_class: table.labels_per_class,
        labels_in_all: table.labels_in_all,
        batch_size: table.batch_size,
        sampler,
    }
}

/// What a step says it is tested on.
pub(super) fn tests(
    step: &StepSection,
    sections: &Sections<'_>,
) -> Result<Option<BTreeMap<String, TestSpec>>, Invalid> {
    if step.tests.is_empty() {
        return Ok(None);
    }
    if step.test == Some(false) {
        return Err(
            Invalid::key("test", "says that nothing is tested, and `tests` says what").help("leave one of them out")
        );
    }
    let test = |(name, NameOr(table)): (&String, &NameOr<TestTable>)| {
        fit_name(name).map_err(under(name))?;
        known_dataset(&table.dataset, sections).map_err(under("dataset")).map_err(under(name))?;
        let domains = table.domain.as_ref().map(|words| words.0.clone());
        Ok((name.clone(), TestSpec { dataset: table.dataset.clone(), domains }))
    };
    step.tests.iter().map(test).collect::<Result<_, _>>().map(Some).map_err(under("tests"))
}

fn known_dataset(name: &str, sections: &Sections<'_>) -> Result<(), Invalid> {
    match sections.datasets.contains_key(name) {
        true => Ok(()),
        false => Err(unknown("dataset", name, sections.datasets.keys().map(String::as_str))),
    }
}

/// The streams of a step as they could have been written, without the one that `dataset` stands for.
pub(super) fn streams_full(step: &StepSection, streams: &BTreeMap<String, StreamSpec>) -> Value {
    let written = streams.iter().filter(|(name, _)| step.streams.contains_key(*name));
    let full = |s: &StreamSpec| {
        json!({"dataset": s.dataset, "part": s.part, "domain": s.domains, "labels": s.labels,
               "labels_per_class": s.labels_per_class, "labels_in_all": s.labels_in_all,
               "batch_size": s.batch_size, "sampler": s.sampler.as_ref().map(spelled)})
    };
    some_table(written.map(|(name, s)| (name.clone(), full(s))).collect())
}

/// The tests of a step as they could have been written.
pub(super) fn tests_full(step: &StepSection) -> Value {
    let domain = |t: &TestTable| t.domain.as_ref().map(|words| words.0.clone());
    let full = |t: &TestTable| json!({"dataset": t.dataset, "domain": domain(t)});
    some_table(step.tests.iter().map(|(name, NameOr(t))| (name.clone(), full(t))).collect())
}

/// A table, where there is anything in it.
fn some_table(table: Map<String, Value>) -> Value {
    if table.is_empty() { Value::Null } else { Value::Object(table) }
}
