//! Cells: every step under each of its seeds and each combination of its sweep, with names for folders and tables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use transplant_core::Invalid;

use super::check::Sections;
use super::steps::{self, Draft, Held, Path, Step};
use super::sweep::in_step;
use crate::resolved::{Cell, TEST, TestSpec};

/// Longest part of a folder's name that stands for one swept value.
const LONGEST: usize = 40;
/// Swept keys with places of their own in a cell and its name.
const OWN: [&str; 3] = ["strategy", "draw", "fold"];

/// The key paths of a cell that are written elsewhere than in its step, and where.
pub(crate) type Origins = BTreeMap<String, Vec<(Path, Path)>>;

/// The cells of all steps, in the order in which they can run.
pub(crate) fn fan_out(steps: &[Step], sections: &Sections<'_>) -> Result<(Vec<Cell>, Origins), Invalid> {
    let mut ids = Ids::default();
    let mut cells: Vec<Cell> = Vec::new();
    let mut held: Vec<&Held> = Vec::new();
    let mut origins = Origins::new();
    for step in steps {
        let labels = (0..step.sweep.axes.len()).map(|axis| labels(step, axis));
        let labels: Vec<Vec<String>> = labels.collect::<Result<_, _>>().map_err(in_step(&step.name))?;
        for &seed in &step.seeds {
            for draft in &step.drafts {
                let axes = step.sweep.axes.iter().zip(&draft.pick).zip(&labels);
                let mut swept: Vec<_> = axes.map(|((axis, &i), labels)| (axis.name(), labels[i].clone())).collect();
                swept.extend(followed(step, draft, sections));
                let id = ids.unique(id(step, seed, &swept));
                origins.insert(id.clone(), draft.origins.clone());
                let cell = Cell { id, seed, ..cell(step, draft, swept, sections) };
                let mut earlier = cells.iter().zip(&held).filter(|(c, _)| step.from.as_ref() == Some(&c.step));
                let from = earlier.find(|(c, theirs)| c.seed == seed && may_start(&draft.held, theirs));
                let from = from.map(|(c, _)| c.id.clone());
                cells.push(Cell { from, ..cell });
                held.push(&draft.held);
            }
        }
    }
    Ok((cells, origins))
}

/// Whether a cell may start from an earlier one: on rows that both, or steps before them, learn from they have one draw
/// and fold.
fn may_start(cell: &Held, from: &Held) -> bool {
    from.iter().all(|(rows, pair)| cell.get(rows).is_none_or(|own| own == pair))
}

/// Draw and fold of a step that has several because those building on it do: its own, and those of rows of the steps
/// before it.
fn followed(step: &Step, draft: &Draft, sections: &Sections<'_>) -> Vec<(String, String)> {
    let own = sections.rows_of(draft.dataset());
    let mut out = Vec::new();
    // Its own come first.
    let (first, others): (Vec<_>, Vec<_>) = draft.held.iter().partition(|(rows, _)| rows.as_str() == own);
    for (rows, pair) in first.into_iter().chain(others) {
        for (key, of) in [("draw", (|p| p.0) as fn((u64, u64)) -> u64), ("fold", |p| p.1)] {
            let differs = |d: &Draft| d.held.get(rows).is_some_and(|p| of(*p) != of(*pair));
            if step.follows() && step.drafts.iter().any(differs) {
                let key = if rows == own { key.to_owned() } else { format!("{rows} {key}") };
                out.push((key, of(*pair).to_string()));
            }
        }
    }
    out
}

fn cell(step: &Step, draft: &Draft, swept: Vec<(String, String)>, sections: &Sections<'_>) -> Cell {
    let tasks = draft.tasks.iter().filter_map(|t| Some((t.clone(), sections.tasks.get(t)?.clone())));
    let strategy = swept.iter().find(|(key, _)| key == "strategy").map(|(_, label)| label.clone());
    let strategy = strategy.unwrap_or_else(|| draft.names.join("+"));
    let mut others = BTreeMap::new();
    for (axis, (key, label)) in swept.into_iter().enumerate().filter(|(_, (key, _))| !OWN.contains(&key.as_str())) {
        let Some(pick) = draft.pick.get(axis) else {
            others.insert(key, label.into());
            continue;
        };
        let value = steps::full_value(step, axis, *pick);
        // A table shows numbers and words; components and lists go by their labels.
        let composite = value.is_object() || value.is_array();
        others.insert(key, if composite { Value::String(label) } else { value });
    }
    Cell {
        id: String::new(),
        step: step.name.clone(),
        strategy,
        seed: 0,
        draw: draft.draw.unwrap_or_default(),
        fold: draft.fold.unwrap_or_default(),
        swept: others,
        streams: draft.streams.clone(),
        tests: tests(step, draft),
        held_out: draft.held_out.clone(),
        backbone: draft.backbone.clone(),
        tasks: tasks.collect(),
        first_task: draft.tasks.first().cloned(),
        strategies: draft.strategies.clone(),
        trainer: draft.trainer.clone(),
        metrics: draft.metrics.clone(),
        select: draft.select.clone(),
        validators: draft.validators.clone(),
        from: None,
        weights: draft.weights.clone(),
        test_views: draft.test_views,
    }
}

/// What a cell is tested on: what its step says, or the test part of its main data set where the step is one that is
/// tested.
fn tests(step: &Step, draft: &Draft) -> BTreeMap<String, TestSpec> {
    if let Some(tests) = &draft.tests {
        return tests.clone();
    }
    if !draft.test.unwrap_or(step.last) {
        return BTreeMap::new();
    }
    // What is learned from one domain is tested on it, unless another is held out.
    let main = draft.streams.values().find(|s| s.labels).or_else(|| draft.streams.values().next());
    let domains = main.filter(|_| draft.held_out.is_none()).and_then(|s| s.domains.clone());
    BTreeMap::from([(TEST.to_owned(), TestSpec { dataset: draft.dataset().to_owned(), domains })])
}

/// What each value of an axis is called in names and tables: components by their tags or names, several joined by `+`.
/// Where two values would be called the same, the options that set them apart follow: `parameter(freeze_until=block1)`.
fn labels(step: &Step, axis: usize) -> Result<Vec<String>, Invalid> {
    let values = (0..step.sweep.axes[axis].values.len()).map(|i| steps::full_value(step, axis, i));
    let values: Vec<Value> = values.collect();
    let mut labels = Vec::new();
    for (i, value) in values.iter().enumerate() {
        let twins = |other: &&Value| *other != value && names(other) == names(value);
        let twins: Vec<&Value> = values.iter().filter(twins).collect();
        if let Some(same) = (0..i).find(|&j| values[j] == *value) {
            return Err(step.sweep.axes[axis].error(i, format!("means the same as number {same} of this list, from 0")));
        }
        let mut apart = Vec::new();
        for (n, part) in parts(value).iter().enumerate() {
            for (key, option) in part.as_object().into_iter().flatten() {
                let others = || twins.iter().map(|t| parts(t).get(n).and_then(|p| p.get(key)));
                if others().any(|other| other != Some(option)) {
                    // A component's tag will do where no other value has it.
                    let tag = names(option).join("+");
                    let alone = others().all(|other| other.is_none_or(|o| names(o).join("+") != tag));
                    apart.push(format!("{key}={}", if alone { tag } else { shown(option) }));
                }
            }
        }
        let apart = if apart.is_empty() { String::new() } else { format!("({})", apart.join(",")) };
        labels.push(names(value).join("+") + &apart);
    }
    Ok(labels)
}

fn parts(value: &Value) -> &[Value] {
    match value {
        Value::Array(parts) => parts,
        one => std::slice::from_ref(one),
    }
}

fn names(value: &Value) -> Vec<String> {
    let name = |part: &Value| match part {
        Value::Object(map) => map.get("type").map(shown).unwrap_or_default(),
        other => shown(other),
    };
    parts(value).iter().map(name).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(s) => s.clone(),
        Value::Object(map) => {
            let options = map.iter().filter(|(k, _)| *k != "type").map(|(k, v)| format!("{k}={}", shown(v)));
            let options: Vec<String> = options.collect();
            let name = map.get("type").and_then(Value::as_str).unwrap_or_default();
            if options.is_empty() { name.to_owned() } else { format!("{name}({})", options.join(",")) }
        }
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join("+"),
        other => other.to_string(),
    }
}

/// The name of a cell's folder: `transfer-parameter-seed0-draw1-epochs3`.
fn id(step: &Step, seed: u64, swept: &[(String, String)]) -> String {
    let find = |name: &str| swept.iter().find(|(key, _)| key == name).map(|(_, label)| label);
    let mut id = step.name.clone();
    if let Some(label) = find("strategy") {
        id += &format!("-{}", safe(label));
    }
    id += &format!("-seed{seed}");
    for key in ["draw", "fold"] {
        if let Some(number) = find(key) {
            id += &format!("-{key}{number}");
        }
    }
    for (key, label) in swept.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        let name = key.rsplit('.').next().unwrap_or_default();
        id += &format!("-{}", safe(&format!("{name}{label}")));
    }
    id
}

/// A text with only those characters that every file system takes, and not too many of them.
fn safe(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let fits = c.is_ascii_alphanumeric() || ".+-_".contains(c);
        let c = if fits { c } else { '_' };
        if !(c == '_' && out.ends_with('_')) && out.len() < LONGEST {
            out.push(c);
        }
    }
    out.trim_end_matches(['_', '.']).to_owned()
}

/// Makes sure that no two folders are one, on file systems that do not tell `A` from `a` either.
#[derive(Default)]
struct Ids(BTreeSet<String>);

impl Ids {
    fn unique(&mut self, id: String) -> String {
        let mut candidate = id.clone();
        let mut n = 2;
        while !self.0.insert(candidate.to_ascii_lowercase()) {
            candidate = format!("{id}-{n}");
            n += 1;
        }
        candidate
    }
}
