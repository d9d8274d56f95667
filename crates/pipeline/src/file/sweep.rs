//! The sweep of a step: its axes, their combinations, and where a wrong value was written.

use serde_json::{Map, Value, json};
use transplant_core::{Invalid, InvalidKind};

use super::check::{some, under};
use crate::resolved::TrainerSpec;

/// Keys of a step that stay the same in all its runs.
const NOT_SWEPT: [&str; 4] = ["type", "from", "test", "sweep"];
/// More runs of one step than anybody means.
const MOST: usize = 10_000;

/// A swept key of a step and its values.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// The key path within the step.
    pub(crate) key: Vec<String>,
    /// The key path within the step where the values are written: below `sweep`, with or without quotes.
    at: Vec<String>,
    /// What it goes through.
    pub(crate) values: Vec<Value>,
}

/// The axes of a step, and the seeds when these are swept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sweep {
    pub(crate) axes: Vec<Axis>,
    pub(crate) seeds: Option<Vec<u64>>,
}

impl Sweep {
    /// Reads the `sweep` of a step.
    pub(crate) fn read(step: &Map<String, Value>) -> Result<Self, Invalid> {
        let mut axes = Vec::new();
        match step.get("sweep") {
            None => {}
            Some(Value::Object(sweep)) => flatten(sweep, &["sweep".to_owned()], &mut axes)?,
            Some(_) => return Err(Invalid::key("sweep", "must be a table of keys, each with a list of values")),
        }
        let mut sweep = Self::default();
        for axis in axes {
            sweep.add(axis)?;
        }
        let runs = sweep.axes.iter().map(|a| a.values.len()).chain(sweep.seeds.as_ref().map(Vec::len));
        match runs.fold(1, usize::saturating_mul) {
            runs if runs > MOST => Err(Invalid::key("sweep", format!("makes more than {MOST} runs"))),
            _ => Ok(sweep),
        }
    }

    fn add(&mut self, axis: Axis) -> Result<(), Invalid> {
        let wrong = |message: &str| Err(Invalid { path: axis.at.clone(), ..Invalid::new(message) });
        if axis.key.iter().any(String::is_empty) {
            return wrong("is no key");
        }
        if NOT_SWEPT.contains(&axis.key[0].as_str()) {
            return wrong("cannot be swept");
        }
        if let Some(i) = (1..axis.values.len()).find(|&i| axis.values[..i].contains(&axis.values[i])) {
            return Err(axis.error(i, "stands in this list twice"));
        }
        if axis.key == ["seed"] {
            let values = axis.values.iter().enumerate();
            let seed = |(i, v): (usize, &Value)| {
                let seed = v.as_u64().filter(|&s| i64::try_from(s).is_ok());
                seed.ok_or_else(|| axis.error(i, "must be a whole number from 0"))
            };
            let seeds: Vec<u64> = values.map(seed).collect::<Result<_, _>>()?;
            return if self.seeds.replace(seeds).is_some() { wrong("is swept twice") } else { Ok(()) };
        }
        if let Some(other) = self.axes.iter().find(|o| o.key.starts_with(&axis.key) || axis.key.starts_with(&o.key)) {
            return wrong(&format!("cannot be swept together with `{}`", other.key.join(".")));
        }
        self.axes.push(axis);
        Ok(())
    }

    /// All combinations: for each axis the number of its value; the first axis changes slowest.
    pub(crate) fn picks(&self) -> Vec<Vec<usize>> {
        self.axes.iter().fold(vec![Vec::new()], |picks, axis| {
            let more = |pick: Vec<usize>| (0..axis.values.len()).map(move |i| [pick.as_slice(), &[i]].concat());
            picks.into_iter().flat_map(more).collect()
        })
    }

    /// The step with the values of one combination in their places. `named` finds the table of a name in the file.
    pub(crate) fn set(
        &self,
        step: &Map<String, Value>,
        pick: &[usize],
        named: &dyn Fn(&str, &str) -> Option<Value>,
    ) -> Result<Map<String, Value>, Invalid> {
        let mut step = step.clone();
        for (axis, &i) in self.axes.iter().zip(pick) {
            let value = axis.values[i].clone();
            if !put(&mut step, &axis.key, value, named) {
                return Err(Invalid { path: axis.at.clone(), ..Invalid::new("leads into something that is no table") });
            }
        }
        step.shift_remove("sweep");
        Ok(step)
    }

    /// Where the key path of an error in a step with a combination in place was written.
    pub(crate) fn written(&self, step: &Map<String, Value>, pick: &[usize], error: &Invalid) -> Vec<String> {
        let path = &error.path;
        let unknown = error.kind == InvalidKind::UnknownKey;
        for (axis, i) in self.axes.iter().zip(pick) {
            if path.starts_with(&axis.key) && !(unknown && path.len() == axis.key.len()) {
                let value = [i.to_string()];
                return [axis.at.as_slice(), &value, &path[axis.key.len()..]].concat();
            }
            // A part of the axis' key that is not in the step, or is no table there, came with the sweep.
            let made = value_at(step, path).is_none() || error.kind == InvalidKind::UnexpectedTable;
            if !path.is_empty() && axis.key.starts_with(path) && made {
                return axis.at.clone();
            }
        }
        path.clone()
    }
}

impl Axis {
    /// The key with dots.
    pub(crate) fn name(&self) -> String {
        self.key.join(".")
    }

    /// An error about one of its values.
    pub(crate) fn error(&self, value: usize, message: impl Into<String>) -> Invalid {
        let value = [value.to_string()];
        Invalid { path: [self.at.as_slice(), &value].concat(), ..Invalid::new(message) }
    }
}

fn flatten(map: &Map<String, Value>, at: &[String], axes: &mut Vec<Axis>) -> Result<(), Invalid> {
    for (name, value) in map {
        let at = [at, std::slice::from_ref(name)].concat();
        let wrong = |e: Invalid| Invalid { path: at.clone(), ..e };
        match value {
            Value::Object(inner) => flatten(inner, &at, axes)?,
            Value::Array(values) => {
                let values = some(values.clone()).map_err(wrong)?;
                let key = at[1..].iter().flat_map(|k| k.split('.')).map(str::to_owned).collect();
                axes.push(Axis { key, at, values });
            }
            _ => return Err(wrong(Invalid::new("must be a list of values"))),
        }
    }
    Ok(())
}

/// Puts a value at a key path; `false` when the path leads through something that is no table.
fn put(
    step: &mut Map<String, Value>,
    key: &[String],
    value: Value,
    named: &dyn Fn(&str, &str) -> Option<Value>,
) -> bool {
    let Some((last, outer)) = key.split_last() else { return false };
    let defaults = Map::from_iter([("trainer".to_owned(), json!(TrainerSpec::default()))]);
    let mut table = step;
    for (depth, name) in outer.iter().enumerate() {
        let default = value_at(&defaults, &outer[..=depth]).filter(|v| v.is_string());
        let inner = table.entry(name).or_insert_with(|| default.cloned().unwrap_or_else(|| json!({})));
        if let Value::String(tag) = inner {
            // A bare tag is a table with nothing but its `type`; a name stands for its table.
            let table = if depth == 0 { named(name, tag) } else { None };
            *inner = table.unwrap_or_else(|| json!({ "type": tag }));
        }
        match inner {
            Value::Object(inner) => table = inner,
            _ => return false,
        }
    }
    table.insert(last.clone(), value);
    true
}

/// The value at a key path.
pub(crate) fn value_at<'a>(table: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let step = |value: &'a Value, name: &String| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    };
    rest.iter().try_fold(table.get(first)?, step)
}

/// Puts `steps.NAME` in front.
pub(crate) fn in_step(name: &str) -> impl Fn(Invalid) -> Invalid + '_ {
    move |e| under("steps")(under(name)(e))
}
