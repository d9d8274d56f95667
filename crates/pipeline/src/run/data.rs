//! Data sets of a run: opened once, split for each cell, fed through their transforms.

use std::sync::Arc;

use transplant_core::{
    BuildCx, Dataset, Field, Finding, FindingKind, HIDDEN, Invalid, Result, Schema, Seeds, Spec, Train, Transform,
    rows_at_a_time,
};
use transplant_datasets::{Chain, LoaderOptions, Parts, fit};

use super::hash;
use super::parts::{Components, in_order};
use crate::at;
use crate::resolved::{Cell, DatasetSpec};

/// An open data set.
pub struct Opened {
    /// Its rows.
    pub dataset: Arc<dyn Dataset>,
    /// Hash of its content.
    pub hash: String,
    /// Deterministic transforms.
    pub transforms: Vec<Arc<dyn Transform>>,
    /// Random transforms.
    pub augment: Vec<Arc<dyn Transform>>,
    /// The deterministic transforms as the file, or weights, list them, where they depend on nothing else.
    pub identity: Option<String>,
    /// Whether training batches pass through random transforms.
    pub random: bool,
    /// What the network is given, transforms included.
    pub inputs: Schema,
    /// The rows that data set and transforms were fitted to, as a hash; `None`: nothing was fitted.
    pub fitted_to: Option<String>,
}

impl Opened {
    /// The same with more transforms behind its own.
    pub(crate) fn followed_by(&self, more: &[Spec<dyn Transform>], cx: &BuildCx<'_>) -> Result<Self> {
        let transforms = [self.transforms.clone(), make(more, "transforms", cx)?].concat();
        let inputs = Chain::new(transforms.clone(), Vec::new())?.schema(self.dataset.inputs())?;
        let (dataset, hash, augment) = (self.dataset.clone(), self.hash.clone(), self.augment.clone());
        let identity = self.identity.as_ref().and_then(|before| Some(before.clone() + &identity(more, &transforms)?));
        let fitted_to = self.fitted_to.clone();
        Ok(Self { dataset, hash, transforms, augment, identity, random: self.random, inputs, fitted_to })
    }

    /// The same, data set and transforms fitted to the rows that a stream learns from, as far as they have something to
    /// fit. `None`: nothing has.
    pub(crate) fn fitted(&self, drawn: &Parts) -> Result<Option<Self>> {
        let learned = learned(drawn);
        let (pool, rows) = (&learned.dataset().roles().pool, learned.rows());
        let fitted = learned.dataset().fitted(pool, rows).map_err(at(""))?;
        let learned = fitted.as_ref().map_or(learned.clone(), |fitted| Train::new(fitted.clone(), rows.to_vec()));
        let transforms = fit(&self.transforms, &learned).map_err(at("transforms"))?;
        if transforms.is_none() && fitted.is_none() {
            return Ok(None);
        }
        let transforms = transforms.unwrap_or_else(|| self.transforms.clone());
        let dataset = learned.dataset().clone();
        let inputs = Chain::new(transforms.clone(), Vec::new())?.schema(dataset.inputs())?;
        let rows = hash::of_value(&(&dataset.roles().pool, learned.rows()))?;
        Ok(Some(Self {
            dataset,
            hash: self.hash.clone(),
            transforms,
            augment: self.augment.clone(),
            // What a row becomes depends on more than the row and the options.
            identity: None,
            random: self.random,
            inputs,
            fitted_to: Some(rows),
        }))
    }

    /// The same rows through the transforms of another, with what these were fitted to there.
    pub(crate) fn with_transforms_of(&self, other: &Self) -> Result<Self> {
        let inputs = Chain::new(other.transforms.clone(), Vec::new())?.schema(self.dataset.inputs())?;
        Ok(Self {
            dataset: self.dataset.clone(),
            hash: self.hash.clone(),
            transforms: other.transforms.clone(),
            augment: self.augment.clone(),
            identity: None,
            random: self.random,
            inputs,
            fitted_to: other.fitted_to.clone(),
        })
    }

    /// How batches are made of it.
    pub fn loader(&self, batch_size: usize, seeds: Seeds) -> LoaderOptions {
        let (transforms, augment) = (self.transforms.clone(), self.augment.clone());
        LoaderOptions { transforms, augment, seeds, identity: self.identity.clone(), ..LoaderOptions::new(batch_size) }
    }
}

/// Opens a data set: headers and labels are read, schemas carried through the transforms. Key paths of errors start at
/// its section.
pub(crate) fn open(spec: &DatasetSpec, cx: &BuildCx<'_>) -> Result<Opened> {
    let dataset: Arc<dyn Dataset> = cx.make(&spec.source).map_err(at(""))?.into();
    let transforms = make(&spec.transforms, "transforms", cx)?;
    let augment = make(&spec.augment, "augment", cx)?;
    let inputs = Chain::new(transforms.clone(), Vec::new())?.schema(dataset.inputs())?;
    let chain = Chain::new(transforms.clone(), augment.clone())?;
    if chain.schema(dataset.inputs())? != inputs {
        return Err(Invalid::key("augment", "changes the shape of the inputs")
            .help("list it under `transforms`")
            .into());
    }
    let random = chain.random();
    let hash = dataset.content_hash();
    let identity = identity(&spec.transforms, &transforms);
    Ok(Opened { dataset, hash, transforms, augment, identity, random, inputs, fitted_to: None })
}

/// What tells transforms from others: their options; `None` when one of them reads a file, too.
fn identity(specs: &[Spec<dyn Transform>], made: &[Arc<dyn Transform>]) -> Option<String> {
    if made.iter().any(|t| t.carried().is_some()) {
        return None;
    }
    serde_json::to_string(specs).ok()
}

/// Builds transforms.
pub(crate) fn make(specs: &[Spec<dyn Transform>], key: &str, cx: &BuildCx<'_>) -> Result<Vec<Arc<dyn Transform>>> {
    let one = |(i, s): (usize, &Spec<dyn Transform>)| Ok(cx.make(s).map_err(at(&format!("{key}.{i}")))?.into());
    specs.iter().enumerate().map(one).collect()
}

/// The rows that a stream learns from, with labels or without.
pub(crate) fn learned(parts: &Parts) -> Train {
    match parts.train.rows().is_empty() {
        false => parts.train.clone(),
        true => Train::new(parts.unlabelled.dataset().clone(), parts.unlabelled.rows().to_vec()),
    }
}

/// The classes and numbers among these targets that a step's tasks learn, each once: that of the task that the step
/// names first before the others.
pub(crate) fn learned_targets<'c>(cell: &Cell, targets: &Schema, c: &'c Components) -> Vec<&'c str> {
    let mut out = Vec::new();
    for (_, task) in in_order(cell, &c.tasks) {
        let can_be = matches!(targets.get(task.target()), Some(Field::Class { .. } | Field::Number));
        if can_be && !out.contains(&task.target()) {
            out.push(task.target());
        }
    }
    out
}

/// The class target by which rows are drawn and classes balanced: that of the task that the step names first, or of the
/// first other that has one.
pub(crate) fn drawn_by<'c>(cell: &Cell, targets: &Schema, c: &'c Components) -> Option<&'c str> {
    let mut by = learned_targets(cell, targets, c).into_iter();
    by.find(|target| matches!(targets.get(*target), Some(Field::Class { .. })))
}

/// The largest absolute values of two columns may differ so many times before it is told.
const SCALES_APART: f32 = 1000.;

/// Tells when columns of the rows that are learned from are on scales far apart, as the network is given them.
pub(crate) fn scales_apart(open: &Opened, drawn: &Parts) -> Result<Option<Finding>> {
    let vector = |schema: &Schema| matches!(schema.get(HIDDEN), Some(Field::Vector { .. }));
    if !vector(open.dataset.inputs()) || !vector(&open.inputs) {
        return Ok(None);
    }
    let chain = Chain::new(open.transforms.clone(), Vec::new())?;
    let rows = learned(drawn);
    let learned = Train::new(open.dataset.clone(), rows.rows().to_vec());
    let mut largest: Vec<f32> = Vec::new();
    for rows in learned.rows().chunks(rows_at_a_time(&open.inputs)) {
        for row in chain.plain(learned.batch(rows)?.inputs, rows)?.get(HIDDEN)?.to_vec2::<f32>()? {
            largest.resize(row.len(), 0.);
            largest.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(value.abs()));
        }
    }
    let of = |i: usize| (i, largest[i]);
    let there = || (0..largest.len()).map(of).filter(|(_, most)| *most > 0. && most.is_finite());
    let (Some(most), Some(least)) =
        (there().max_by(|a, b| a.1.total_cmp(&b.1)), there().min_by(|a, b| a.1.total_cmp(&b.1)))
    else {
        return Ok(None);
    };
    let names = open.dataset.column_names();
    let called =
        |i: usize| names.get(i).filter(|_| names.len() == largest.len()).map_or(format!("{i}"), |n| format!("`{n}`"));
    Ok((most.1 > least.1 * SCALES_APART).then(|| {
        let message = format!(
            "column {} reaches {} and column {} only {}, and most networks learn little from columns that are so much smaller than \
             others; `transforms = [\"standardise\"]` brings all to one scale",
            called(most.0),
            most.1,
            called(least.0),
            least.1
        );
        Finding::new(FindingKind::ScalesApart, message)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Overrides, open as open_file};
    use candle_core::{Device, Tensor};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;
    use transplant_core::{Acts, Batch, Component, Plugins, Roles, Target};

    /// Twenty rows with two class targets, of which the second half lacks the one that is first by name.
    struct Two {
        inputs: Schema,
        targets: Schema,
        roles: Roles,
    }

    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    struct Options {}

    impl Dataset for Two {
        fn inputs(&self) -> &Schema {
            &self.inputs
        }

        fn targets(&self) -> &Schema {
            &self.targets
        }

        fn roles(&self) -> &Roles {
            &self.roles
        }

        fn classes_of(&self, target: &str) -> transplant_core::Result<Vec<Option<u32>>> {
            Ok((0..20).map(|row| (target == "second" || row < 10).then_some(row % 2)).collect())
        }

        fn batch(&self, rows: &[u64]) -> transplant_core::Result<Batch> {
            let values = Tensor::zeros((rows.len(), 2), candle_core::DType::F32, &Device::Cpu)?;
            let target = |name: &String| {
                let labels = self.classes_of(name)?;
                let labels: Vec<_> = rows.iter().map(|row| labels[*row as usize]).collect();
                Ok((name.clone(), Target::classes(&labels)?))
            };
            let targets = self.targets.keys().map(target).collect::<transplant_core::Result<BTreeMap<_, _>>>()?;
            Ok(Batch::new(Acts::hidden(values), targets, rows.to_vec()))
        }

        fn content_hash(&self) -> String {
            "two".to_owned()
        }
    }

    impl Component<dyn Dataset> for Two {
        const TYPE: &'static str = "two";
        type Options = Options;

        fn build(_: Options, _: &BuildCx<'_>) -> transplant_core::Result<Box<dyn Dataset>> {
            let class = || Field::Class { names: vec!["no".to_owned(), "yes".to_owned()] };
            Ok(Box::new(Self {
                inputs: Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 2 })]),
                targets: Schema::from([("first".to_owned(), class()), ("second".to_owned(), class())]),
                roles: Roles { pool: (0..20).collect(), ..Roles::default() },
            }))
        }
    }

    /// Rows, note and target of a step with these tasks.
    fn drawn(tasks: &str) -> (usize, Option<String>, Option<String>) {
        let text = format!(
            "schema = 1\nname = \"two\"\n[datasets.two]\ntype = \"two\"\n\
             [tasks.a]\ntype = \"classification\"\ntarget = \"first\"\n\
             [tasks.b]\ntype = \"classification\"\ntarget = \"second\"\n\
             [steps.train]\ntype = \"train\"\ndataset = \"two\"\nbackbone = \"mlp\"\nstrategy = \"structure\"\n\
             test = false\n{tasks}\n"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.toml");
        std::fs::write(&path, text).unwrap();
        let plugins = crate::builtin().with(|p: &mut Plugins| p.add::<dyn Dataset, Two>());
        let overrides = Overrides { device: Some("cpu".into()), ..Overrides::default() };
        let pipeline = open_file(&path, &overrides, &plugins).unwrap();
        let prepared = crate::run::prepare(&pipeline, &plugins, Some(&dir.path().join("out"))).unwrap();
        let ready = &prepared.cells[0];
        let by = Some(ready.main().target.clone()).filter(|target| !target.is_empty());
        (ready.parts().train.rows().len(), ready.parts().note.clone(), by)
    }

    #[test]
    fn rows_are_drawn_by_the_step_s_first_task() {
        let second = Some("second".to_owned());
        assert_eq!(drawn("tasks = [\"b\"]"), (20, None, second.clone()));
        assert_eq!(drawn("tasks = [\"b\", \"a\"]"), (20, None, second));
        let (rows, note, by) = drawn("tasks = [\"a\"]");
        assert_eq!((rows, by.as_deref()), (10, Some("first")));
        let told = "10 of the 20 rows that may be learned from have no label `first`, and are not learned from";
        assert_eq!(note.as_deref(), Some(told));
        // The other half has the second label.
        assert_eq!(drawn("tasks = [\"a\", \"b\"]"), (20, None, Some("first".to_owned())));
    }
}
