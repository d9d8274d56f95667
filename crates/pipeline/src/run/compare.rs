//! Comparing strategies over seeds and draws: intervals by the hierarchical bootstrap, pairs by the corrected resampled
//! t test, several pairs by Holm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use transplant_core::{Metric, Predictions, Result, Seeds};
use transplant_metrics::{Cell as Run, FEWEST_FOR_INTERVAL, FEWEST_TO_TRUST, bootstrap, holm, paired_bootstrap};

use super::predictions::CellPredictions;
use super::record::{Metrics, Record, nan_for_null, nans_for_nulls};
use super::repeats::{distinct, p_value};
use super::whole::{At, OfCell, Whole, as_runs, whole};
use crate::counted;

/// Bootstrap replicates: enough for an interval's ends to be steady in the third digit.
const REPLICATES: usize = 1000;
/// A metric and the task it judges.
#[derive(Clone)]
pub struct Measure {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: Arc<dyn Metric>,
}

/// A finished cell with what it predicted.
#[derive(Clone, Copy)]
pub(crate) struct Done<'a> {
    /// Its record.
    pub record: &'a Record,
    /// Its predictions.
    pub predictions: &'a CellPredictions,
    /// What baselines without a network predicted for its test rows, by baseline.
    pub baselines: &'a CellPredictions,
    /// Whether it takes nothing from what it starts from, and so says what transfer is worth.
    pub control: bool,
    /// Its metrics by the name they have in the summary.
    pub measures: &'a BTreeMap<String, Measure>,
    /// The test by which the step is judged, and which baselines are fitted for.
    pub judged: Option<&'a str>,
}

/// One line of the comparison: a strategy of a step, over all its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The step.
    pub step: String,
    /// The strategy.
    pub strategy: String,
    /// Other swept keys and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub swept: BTreeMap<String, Value>,
    /// The metric.
    pub metric: String,
    /// The class that the metric is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The test.
    pub split: String,
    /// The mean over seeds, of the means over their draws; folds are taken together, as one prediction for every row.
    #[serde(deserialize_with = "nan_for_null")]
    pub mean: f64,
    /// Its 95 % interval over source seeds, draws and test groups, or test rows where rows have no groups; NaN where
    /// there are too few of them.
    #[serde(deserialize_with = "nans_for_nulls")]
    pub ci95: [f64; 2],
    /// Number of groups of the test rows; none where each row stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// Number of test rows that have a label.
    #[serde(default)]
    pub rows: usize,
    /// Number of runs.
    pub runs: usize,
    /// Number of its repetitions: pairs of a seed and a draw, the folds of which are one.
    #[serde(default)]
    pub repetitions: usize,
    /// How many of them predict exactly what an earlier one does, and so are no further evidence.
    #[serde(default)]
    pub repeated: usize,
    /// Whether a larger value is better.
    pub higher_is_better: bool,
    /// Test rows that the network had learned from, those of all folds together; of the seed and draw that have most of
    /// them.
    pub leaked: usize,
    /// How it differs from the reference; none for the reference itself, and where the two are tested on other rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired: Option<Paired>,
    /// How it differs from baselines without a network, by the metric that judges the step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<AgainstBaseline>,
}

/// The difference to what a baseline without a network predicts for the same test rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgainstBaseline {
    /// The baseline.
    pub baseline: String,
    /// Mean difference, the strategy's value minus the baseline's.
    #[serde(deserialize_with = "nan_for_null")]
    pub difference: f64,
    /// Its paired 95 % interval over source seeds, draws and test groups, or test rows; none where the baseline is not
    /// there for all runs, and where there are too few groups.
    pub ci95: Option<[f64; 2]>,
    /// Whether the strategy does worse: the whole interval says so, or, without one, the mean.
    pub worse: bool,
}

impl Comparison {
    /// The metric, and the class that it is about.
    pub(crate) fn metric_name(&self) -> String {
        match &self.class {
            Some(class) if !self.metric.ends_with(class.as_str()) => format!("{} of `{class}`", self.metric),
            _ => self.metric.clone(),
        }
    }

    /// Why its interval is not there or not to be trusted; `None` when it is.
    pub(crate) fn few(&self) -> Option<String> {
        let (n, what) = self.groups.map_or((self.rows, "row"), |groups| (groups, "group"));
        let units = counted(n, &format!("test {what}"));
        match (n, self.groups) {
            (..FEWEST_FOR_INTERVAL, _) => Some(format!("no interval over {units}")),
            (..FEWEST_TO_TRUST, Some(_)) => Some(format!("interval over {units} alone")),
            _ => None,
        }
    }

    /// That some of its repetitions predict exactly the same; `None` when all differ.
    pub(crate) fn repeats(&self) -> Option<String> {
        match (self.repetitions, self.repeated) {
            (_, 0) => None,
            (all, repeated) if repeated + 1 == all => Some("all runs alike".to_owned()),
            (all, repeated) => Some(format!("{repeated} of {all} repetitions equal another")),
        }
    }
}

/// The difference to the reference over the runs that both have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The reference: a control, which takes nothing from the source, where there is one, otherwise the first.
    pub against: String,
    /// Whether the reference is a control.
    pub control: bool,
    /// Mean difference, this minus the reference.
    #[serde(deserialize_with = "nan_for_null")]
    pub difference: f64,
    /// Its paired 95 % interval over source seeds, draws and test groups, or test rows.
    #[serde(deserialize_with = "nans_for_nulls")]
    pub ci95: [f64; 2],
    /// Number of pairs.
    pub runs: usize,
    /// Two-sided p of the corrected resampled t test (Nadeau and Bengio) over the pairs that repeat no other; none for a
    /// single one, and where all differences are equal. The ratio in its correction is test rows to the rows that
    /// training rows were drawn from.
    pub p: Option<f64>,
    /// The same, corrected by Holm for the number of strategies compared.
    pub p_holm: Option<f64>,
    /// Whether this is negative transfer: the reference is a control, and the whole interval says that it does better.
    pub negative: bool,
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    step: String,
    test: String,
    strategy: String,
    /// Other swept values.
    swept: String,
}

/// The runs of one strategy, judged by one test.
struct Group<'a> {
    key: Key,
    runs: Vec<Done<'a>>,
}

/// Compares all strategies of all steps whose cells were tested, in the order of the cells.
///
/// # Errors
/// When a metric fails.
pub(crate) fn compare(done: &[Done<'_>]) -> Result<Vec<Comparison>> {
    let groups = groups(done);
    let mut out: Vec<Comparison> = Vec::new();
    for group in &groups {
        // The metric that judges the step comes first. A test of other data may have no target of a task.
        let main = group.runs[0].record.main_metric.as_ref();
        let of_task = |m: &Measure| group.runs[0].predictions[&group.key.test].tasks.contains_key(&m.task);
        let measures = group.runs[0].measures.iter();
        let mut names: Vec<&String> = measures.filter(|(_, m)| of_task(m)).map(|(name, _)| name).collect();
        names.sort_by_key(|n| Some(*n) != main);
        for name in names {
            let line = group.line(name, reference(group, &groups))?;
            let judged = Some(name) == main && group.runs[0].judged == Some(group.key.test.as_str());
            let baselines = if judged { group.against_baselines(name)? } else { Vec::new() };
            out.push(Comparison { baselines, ..line });
        }
    }
    let families: BTreeSet<_> = out.iter().map(|c| (c.step.clone(), c.split.clone(), c.metric.clone())).collect();
    for (step, split, metric) in families {
        let mut tests: Vec<&mut Paired> = out
            .iter_mut()
            .filter(|c| c.step == step && c.split == split && c.metric == metric)
            .filter_map(|c| c.paired.as_mut().filter(|p| p.p.is_some()))
            .collect();
        let p: Vec<f64> = tests.iter().filter_map(|t| t.p).collect();
        tests.iter_mut().zip(holm(&p)?).for_each(|(t, corrected)| t.p_holm = Some(corrected));
    }
    Ok(out)
}

/// What baselines without a network score on the rows of the test that judges a step, by step and baseline: as for
/// strategies, folds are taken together. Where a sweep changes what is learned from or tested on, the baseline's name
/// tells the swept values.
///
/// # Errors
/// When a metric fails.
pub(crate) fn baselines(done: &[Done<'_>]) -> Result<BTreeMap<String, BTreeMap<String, Metrics>>> {
    // Cells of other strategies have the same baselines; those on other data or with other tasks have their own.
    let mut alike = BTreeMap::<(&str, String), Vec<&Done<'_>>>::new();
    for d in done {
        let c = &d.record.cell;
        let data = serde_json::json!([c.streams, c.tests, c.held_out, c.tasks]).to_string();
        alike.entry((&c.step, data)).or_default().push(d);
    }
    // The swept values that all cells on the same data have in common.
    let common = |cells: &[&Done<'_>]| -> BTreeMap<String, Value> {
        let mut all = cells.iter().map(|d| &d.record.cell.swept);
        let first = all.next().cloned().unwrap_or_default();
        first.into_iter().filter(|(k, v)| all.clone().all(|other| other.get(k) == Some(v))).collect()
    };
    let mut sums = BTreeMap::<(&str, String, &str), (f64, f64)>::new();
    for ((step, _), cells) in &alike {
        let others = || alike.iter().filter(|((s, _), _)| s == step).map(|(_, cells)| common(cells));
        let mut swept = common(cells);
        swept.retain(|k, v| others().any(|other| other.get(k) != Some(v)));
        let mut at_once = BTreeMap::<At, &Done<'_>>::new();
        cells.iter().for_each(|d| _ = at_once.entry(at(d)).or_insert(d));
        let Some(first) = at_once.values().next() else { continue };
        for (baseline, (name, m)) in first.baselines.keys().flat_map(|p| first.measures.iter().map(move |m| (p, m))) {
            let of_baseline =
                at_once.iter().filter_map(|(at, d)| OfCell::new(*at, d.baselines.get(baseline)?, &m.task));
            for whole in whole(of_baseline)? {
                let value = m.metric.compute(&whole.predictions)?;
                if value.is_finite() {
                    let sum = sums.entry((step, label(baseline, &swept), name)).or_default();
                    *sum = (sum.0 + value, sum.1 + 1.0);
                }
            }
        }
    }
    let mut means = BTreeMap::<String, BTreeMap<String, Metrics>>::new();
    for ((step, baseline, name), (sum, n)) in sums {
        means.entry(step.into()).or_default().entry(baseline).or_default().insert(name.into(), sum / n);
    }
    Ok(means)
}

fn groups<'a>(done: &[Done<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for d in done.iter().filter(|d| !d.measures.is_empty()) {
        let c = &d.record.cell;
        let swept = serde_json::to_string(&c.swept).unwrap_or_default();
        for test in c.tests.keys().filter(|test| d.predictions.contains_key(*test)) {
            let (step, strategy) = (c.step.clone(), c.strategy.clone());
            let key = Key { step, test: test.clone(), strategy, swept: swept.clone() };
            match groups.iter_mut().find(|g| g.key == key) {
                Some(g) => g.runs.push(*d),
                None => groups.push(Group { key, runs: vec![*d] }),
            }
        }
    }
    groups
}

/// What a strategy is compared with: a control under the same other swept values, or the first line there; where the
/// strategy stands alone there, the control or the first line of the step.
fn reference<'g, 'a>(group: &Group<'a>, groups: &'g [Group<'a>]) -> Option<&'g Group<'a>> {
    let same = |g: &&Group<'a>| g.key.step == group.key.step && g.key.test == group.key.test;
    let step: Vec<_> = groups.iter().filter(same).collect();
    let alike: Vec<_> = step.iter().copied().filter(|g| g.key.swept == group.key.swept).collect();
    let among = if alike.len() > 1 { alike } else { step };
    let found = among.iter().find(|g| g.runs[0].control).or_else(|| among.first()).copied();
    found.filter(|g| g.key != group.key)
}

impl Group<'_> {
    fn line(&self, name: &str, reference: Option<&Group<'_>>) -> Result<Comparison> {
        let first = self.runs[0];
        let measure = &first.measures[name];
        let whole = self.whole(&measure.task, |_| true)?;
        let runs = as_runs(&whole);
        let interval = bootstrap(&*measure.metric, &runs, REPLICATES, seeds())?;
        let paired = reference.map(|r| self.pair(measure, r)).transpose()?.flatten();
        let c = &first.record.cell;
        Ok(Comparison {
            step: c.step.clone(),
            strategy: c.strategy.clone(),
            swept: c.swept.clone(),
            metric: name.to_owned(),
            class: self.class(measure),
            split: self.key.test.clone(),
            mean: interval.mean,
            ci95: [interval.low, interval.high],
            groups: runs.first().filter(|run| !run.groups.is_empty()).map(Run::resampled),
            rows: runs.first().map_or(0, |run| Run { groups: &[], ..*run }.resampled()),
            runs: self.runs.len(),
            repetitions: runs.len(),
            repeated: runs.len() - distinct(&runs.iter().map(|run| run.predictions).collect::<Vec<_>>()).len(),
            higher_is_better: measure.metric.higher_is_better(),
            leaked: self.leaked(),
            paired,
            baselines: Vec::new(),
        })
    }

    /// How it differs from each of the baselines.
    fn against_baselines(&self, name: &str) -> Result<Vec<AgainstBaseline>> {
        let measure = &self.runs[0].measures[name];
        let names: BTreeSet<&String> = self.runs.iter().flat_map(|d| d.baselines.keys()).collect();
        let mut out = Vec::new();
        for baseline in names {
            let of = |d: &Done<'_>| d.baselines.get(baseline).is_some_and(|p| p.tasks.contains_key(&measure.task));
            let there: BTreeSet<At> = self.runs.iter().filter(|d| of(d)).map(at).collect();
            let theirs = self.runs.iter().filter_map(|d| OfCell::new(at(d), d.baselines.get(baseline)?, &measure.task));
            let mut theirs: Vec<_> = theirs.collect();
            theirs.sort_by_key(|cell| cell.at);
            let (ours, theirs) = (self.whole(&measure.task, |at| there.contains(&at))?, whole(theirs.into_iter())?);
            if ours.is_empty() {
                continue;
            }
            let i = paired_bootstrap(&*measure.metric, &as_runs(&ours), &as_runs(&theirs), REPLICATES, seeds())?;
            let ci95 = (there.len() == self.runs.len() && i.low.is_finite()).then_some([i.low, i.high]);
            let worse = worse(&*measure.metric, ci95.unwrap_or([i.mean, i.mean]));
            out.push(AgainstBaseline { baseline: baseline.clone(), difference: i.mean, ci95, worse });
        }
        Ok(out)
    }

    fn pair(&self, measure: &Measure, reference: &Group<'_>) -> Result<Option<Paired>> {
        let of = |g: &Group<'_>| g.runs.iter().map(at).collect::<BTreeSet<_>>();
        let both: BTreeSet<_> = of(self).intersection(&of(reference)).copied().collect();
        let shared = |k| both.contains(&k);
        let (a, b) = (self.cells(&measure.task, shared), reference.cells(&measure.task, shared));
        let rows = |g: &Group<'_>| {
            let rows = |d: &Done<'_>| d.predictions[&self.key.test].rows.clone();
            g.runs.iter().filter(|d| shared(at(d))).map(|d| (at(d), rows(d))).collect::<BTreeMap<_, _>>()
        };
        let data = |g: &Group<'_>| {
            let record = g.runs[0].record;
            record.cell.tests.get(&self.key.test).and_then(|t| Some(record.data.get(&t.dataset)?.hash.clone()))
        };
        let same = data(self) == data(reference) && rows(self) == rows(reference);
        if !same || a.is_empty() || b.len() != a.len() {
            return Ok(None);
        }
        let (first, second) = (self.whole(&measure.task, shared)?, reference.whole(&measure.task, shared)?);
        let interval = paired_bootstrap(&*measure.metric, &as_runs(&first), &as_runs(&second), REPLICATES, seeds())?;
        let value = |p: &Predictions| measure.metric.compute(p);
        // A pair that repeats another one, as runs without chance do for each seed, is the same evidence.
        let pairs: Vec<_> = a.iter().zip(&b).map(|(a, b)| (a.at.2, a.predictions, b.predictions)).collect();
        let different = distinct(&pairs).into_iter().map(|pair| pairs[pair]);
        let differences = different.map(|(_, a, b)| Ok(value(a)? - value(b)?)).collect::<Result<Vec<_>>>()?;
        let rows = |name: &str| self.runs[0].record.rows.get(name).copied().unwrap_or_default();
        let tested = self.runs[0].predictions[&self.key.test].rows.len();
        let p = p_value(&differences, rows("pool"), tested)?;
        let control = reference.runs[0].control;
        Ok(Some(Paired {
            against: reference.runs[0].label(),
            control,
            difference: interval.mean,
            ci95: [interval.low, interval.high],
            runs: a.len(),
            p,
            p_holm: None,
            negative: control && worse(&*measure.metric, [interval.low, interval.high]),
        }))
    }

    /// The class that a metric is about.
    fn class(&self, measure: &Measure) -> Option<String> {
        match self.runs[0].predictions[&self.key.test].tasks.get(&measure.task)? {
            Predictions::Class { names, .. } => names.get(measure.metric.class(names)?).cloned(),
            _ => None,
        }
    }

    fn leaked(&self) -> usize {
        let mut sums = BTreeMap::<_, usize>::new();
        for d in &self.runs {
            let rows = d.record.leak.by_test.get(&self.key.test).copied().unwrap_or_default();
            *sums.entry((d.record.cell.seed, d.record.cell.draw)).or_default() += rows;
        }
        sums.into_values().max().unwrap_or_default()
    }

    /// The cells with their predictions for a task, in order.
    fn cells(&self, task: &str, which: impl Fn(At) -> bool) -> Vec<OfCell<'_>> {
        let chosen = self.runs.iter().filter(|d| which(at(d)));
        let mut cells: Vec<_> =
            chosen.filter_map(|d| OfCell::new(at(d), &d.predictions[&self.key.test], task)).collect();
        cells.sort_by_key(|cell| cell.at);
        cells
    }

    /// The predictions for a task, folds taken together.
    fn whole(&self, task: &str, which: impl Fn(At) -> bool) -> Result<Vec<Whole<'_>>> {
        whole(self.cells(task, which).into_iter())
    }
}

/// Whether all of an interval of differences is on the side that is worse.
fn worse(metric: &dyn Metric, [low, high]: [f64; 2]) -> bool {
    if metric.higher_is_better() { high < 0.0 } else { low > 0.0 }
}

impl Done<'_> {
    /// Strategy and other swept values, for tables.
    pub(crate) fn label(&self) -> String {
        label(&self.record.cell.strategy, &self.record.cell.swept)
    }
}

/// Strategy and other swept values, for tables.
pub(crate) fn label(strategy: &str, swept: &BTreeMap<String, Value>) -> String {
    let value = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let swept = swept.iter().map(|(k, v)| format!(", {k} = {}", value(v)));
    strategy.to_owned() + &swept.collect::<String>()
}

fn at(d: &Done<'_>) -> At {
    let cell = &d.record.cell;
    (cell.seed, cell.draw, cell.fold)
}

/// The same replicates for everything that is compared.
fn seeds() -> Seeds {
    Seeds::new(0).child("comparison")
}
