//! Feature transfer: the source's network is frozen, its features are computed once, and only a head is fitted on them.
//!
//! Nothing of the network can be forgotten and the fit takes seconds (Donahue et al. 2014). The head is fitted to
//! convergence by default; `head = "linear"` trains the task's own head step by step instead.
//!
//! Use it with few labels or little time, and when one network serves many tasks. With more labels `parameter` wins.

use std::sync::Arc;

use candle_core::Tensor;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use transplant_core::{
    Boundary, BuildCx, Component, Error, Features, Field, HeadFit, Invalid, Labels, Load, ModelInfo, Needs, NormPolicy,
    Origin, Pass, Phase, Plugins, Result, Role, Spec, Strategy, Until, Use, join_rows,
};

use crate::weights::{is_head, norms, plan, trained};

/// The word for a head that the trainer trains.
const LINEAR: &str = "linear";

/// Feature transfer: the source's network stays frozen, and a head is fitted on its features.
///
/// Use it with few labels or little time, and when one network serves many tasks; with more labels `parameter` wins.
/// Donahue et al. 2014.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureOptions {
    /// The head: one that is fitted, by name or as a table with `type`, or `"linear"`: the task's own head, trained step by
    /// step, from the source's where the labels are the same.
    #[schemars(schema_with = "head_schema")]
    pub head: Spec<dyn HeadFit>,
}

impl Default for FeatureOptions {
    fn default() -> Self {
        Self { head: Spec::new("logistic_regression") }
    }
}

fn head_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "const": LINEAR }, generator.subschema_for::<Spec<dyn HeadFit>>()] })
}

/// Fits a head on the features of a frozen network.
#[derive(Clone)]
pub struct Feature {
    head: Option<Arc<dyn HeadFit>>,
}

impl Feature {
    /// With a head that is fitted.
    pub fn fitted(head: Arc<dyn HeadFit>) -> Self {
        Self { head: Some(head) }
    }

    /// With the task's own head, trained step by step.
    pub fn linear() -> Self {
        Self { head: None }
    }
}

impl Component<dyn Strategy> for Feature {
    const TYPE: &'static str = "feature";
    type Options = FeatureOptions;

    fn check(o: &Self::Options, plugins: &Plugins) -> Result<(), Invalid> {
        if o.head.tag == LINEAR {
            return match o.head.options.keys().next() {
                Some(key) => Err(Invalid::key(&format!("head.{key}"), "unknown key").help("`linear` has no options")),
                None => Ok(()),
            };
        }
        plugins.check(&o.head).map(|_| ()).map_err(|e| e.under("head"))
    }

    fn build(o: Self::Options, cx: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        let linear = o.head.tag == LINEAR;
        Ok(Box::new(if linear { Self::linear() } else { Self::fitted(cx.make(&o.head)?.into()) }))
    }
}

impl Strategy for Feature {
    fn needs(&self) -> Needs {
        Needs { load: Load::BackboneAndHeads, source_required: true, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let fitted = self.head.is_some();
        let mut plan = plan(model, |p| if is_head(p) && !fitted { trained(p, 1.0) } else { Use::Frozen });
        plan.norms = norms(model.stages.iter().map(|s| s.name.as_str()), NormPolicy::Frozen);
        if !fitted {
            return Ok(vec![Phase::new("train the head", plan)]);
        }
        if let Some(head) = &self.head {
            model.tasks.iter().try_for_each(|(task, field)| check_suits(head.as_ref(), task, field))?;
        }
        Ok(vec![Phase { until: Until::Now, ..Phase::new("fit the head", plan) }])
    }

    fn head(&self) -> Option<Arc<dyn HeadFit>> {
        self.head.clone()
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        let (Some(head), Boundary::PhaseStart(0)) = (&self.head, boundary) else { return Ok(()) };
        let labelled = pass.streams().into_iter().filter(|s| s.labels == Labels::Learned);
        let features = labelled.map(|s| pass.features(&s.name)).collect::<Result<Vec<_>>>()?;
        let info = pass.info().clone();
        for (task, field) in &info.tasks {
            fit(head.as_ref(), task, field, &info, &features, pass)?;
        }
        Ok(())
    }
}

/// Whether a head can be fitted to what a task predicts.
fn check_suits(head: &dyn HeadFit, task: &str, field: &Field) -> Result<(), Invalid> {
    if head.suits(field) {
        return Ok(());
    }
    let message = format!("`{}` cannot be fitted to task `{task}`, which predicts {}", head.name(), field.learned_as());
    Err(Invalid::key("head", message).help(format!("`{LINEAR}` suits every task")))
}

/// The rows of all streams whose target of this name is known, and its values there.
///
/// # Errors
/// When no stream has such a target.
fn known(streams: &[Features], target: &str) -> Result<(Features, Tensor)> {
    let with = streams.iter().filter(|f| f.targets.contains_key(target));
    let mut all = with.map(|f| f.known(target)).collect::<Result<Vec<_>>>()?;
    if all.len() < 2 {
        return all.pop().ok_or_else(|| Error::contract(format!("no stream has the target `{target}`")));
    }
    let join =
        |of: fn(&(Features, Tensor)) -> &Tensor| join_rows(&all.iter().map(|a| of(a).clone()).collect::<Vec<_>>());
    let (values, labels) = (join(|a| &a.0.values)?, join(|a| &a.1)?);
    let rows = all.iter().flat_map(|(f, _)| f.rows.iter().copied()).collect();
    let (outputs, targets) = Default::default();
    Ok((Features { values, outputs, targets, rows }, labels))
}

/// Fits the head of one task and puts it in the place of what stood there.
fn fit(
    head: &dyn HeadFit,
    task: &str,
    field: &Field,
    info: &ModelInfo,
    streams: &[Features],
    pass: &mut dyn Pass,
) -> Result<()> {
    check_suits(head, task, field)?;
    let name = info.targets.get(task).map_or(task, String::as_str);
    let (known, labels) = known(streams, name)?;
    let prefix = format!("heads.{task}.");
    let own = |n: &str| info.kept_heads.iter().any(|t| t == task) && n.starts_with(&prefix);
    let prior = pass.params().snapshot(own)?;
    let prior = prior.into_iter().map(|(n, t)| (n[prefix.len()..].to_owned(), t)).collect();
    let fitted = head.fit(&known, &labels, field, &prior)?;
    pass.params().remove_where(|n| n.starts_with(&prefix));
    for (n, t) in &fitted {
        let origin = Origin::Fitted { by: head.name().to_owned() };
        pass.params().insert(&format!("{prefix}{n}"), t, Role::Buffer, origin)?;
    }
    pass.note(format!("fitted {} for task `{task}` on {} rows", head.name(), known.rows.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::model;
    use candle_core::{DType, Device};
    use std::collections::BTreeMap;
    use std::path::Path;
    use transplant_core::{Gradients, Module, Params, Schema, Scope, Seeds, StreamNeed, Target};

    /// Keeps how many rows it saw, and the prior's names.
    struct Count;

    impl HeadFit for Count {
        fn name(&self) -> &'static str {
            "count"
        }
        fn fit(
            &self,
            f: &Features,
            y: &Tensor,
            field: &Field,
            prior: &BTreeMap<String, Tensor>,
        ) -> Result<BTreeMap<String, Tensor>> {
            assert_eq!(
                (y.to_vec1::<u32>()?.as_slice(), f.rows.as_slice()),
                ([2u32, 1].as_slice(), [10u64, 12].as_slice())
            );
            assert_eq!(f.values.to_vec2::<f32>()?, [[0.0], [2.0]]);
            let Field::Class { names } = field else { return Err(Error::contract("not in this test")) };
            let n = [names.len() as f32, prior.len() as f32];
            Ok([("seen".to_owned(), Tensor::new(&n, &Device::Cpu)?)].into())
        }
        fn build(&self, _: &Schema, _: &Field, _: &Scope) -> Result<Box<dyn Module>> {
            Err(Error::contract("not built in this test"))
        }
    }
    impl Component<dyn HeadFit> for Count {
        const TYPE: &'static str = "count";
        type Options = crate::StructureOptions;
        fn build(_: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn HeadFit>> {
            Ok(Box::new(Self))
        }
    }

    struct FakePass {
        info: ModelInfo,
        params: Params,
    }

    impl Pass for FakePass {
        fn info(&self) -> &ModelInfo {
            &self.info
        }
        fn params(&self) -> &Params {
            &self.params
        }
        fn phases(&self) -> &[Phase] {
            &[]
        }
        fn streams(&self) -> Vec<StreamNeed> {
            vec![StreamNeed::labelled("target"), StreamNeed::unlabelled("other")]
        }
        fn gradients(&mut self, _: &str, _: usize, _: &mut dyn FnMut(usize, Gradients) -> Result<()>) -> Result<()> {
            Err(Error::contract("not in this test"))
        }
        fn features(&mut self, stream: &str) -> Result<Features> {
            assert_eq!(stream, "target");
            let target = Target {
                values: Tensor::new(&[2u32, 0, 1], &Device::Cpu)?,
                present: Some(Tensor::new(&[1f32, 0.0, 1.0], &Device::Cpu)?),
            };
            let values = Tensor::new(&[[0f32], [1.0], [2.0]], &Device::Cpu)?;
            Ok(Features {
                values,
                outputs: BTreeMap::new(),
                targets: [("class".to_owned(), target)].into(),
                rows: vec![10, 11, 12],
            })
        }
        fn seeds(&self) -> Seeds {
            Seeds::new(0)
        }
        fn note(&mut self, _: String) {}
    }

    #[test]
    fn a_fitted_head_takes_the_place_of_the_source_s() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        for n in ["heads.class.bias", "heads.class.weight", "heads.class2.weight"] {
            params.insert(n, &Tensor::zeros(1, DType::F32, &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        }
        let mut pass = FakePass { info: model(), params };
        let feature = Feature::fitted(Arc::new(Count));
        let phase = feature.phases(&pass.info)?.remove(0);
        assert_eq!(phase.until, Until::Now);
        assert!(phase.plan.uses.values().all(|u| *u == Use::Frozen));
        feature.at(Boundary::PhaseStart(0), &mut pass)?;
        assert_eq!(pass.params.names(), ["heads.class.seen", "heads.class2.weight"]);
        let seen = pass.params.get("heads.class.seen")?;
        assert_eq!(seen.view().to_vec1::<f32>()?, [3.0, 2.0]);
        assert_eq!((seen.role, seen.origin), (Role::Buffer, Origin::Fitted { by: "count".into() }));
        Ok(())
    }

    #[test]
    fn a_linear_head_is_trained_over_a_frozen_network() -> Result<()> {
        let phase = Feature::linear().phases(&model())?.remove(0);
        assert_eq!(phase.until, Until::Budget);
        assert_eq!(phase.plan.use_of("heads.class.weight"), Use::TRAINED);
        assert_eq!(phase.plan.use_of("backbone.block3.conv.weight"), Use::Frozen);
        assert_eq!(phase.plan.norms.get("block3"), Some(&NormPolicy::Frozen));
        Ok(())
    }

    #[test]
    fn heads_are_checked_at_the_door() -> Result<()> {
        let plugins = Plugins::new().with(crate::plugin).with(|p| p.add::<dyn HeadFit, Count>());
        let cx = BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) };
        let spec = |head: serde_json::Value| Spec::<dyn Strategy>::new("feature").with("head", head);
        assert!(cx.make(&spec("count".into()))?.head().is_some());
        assert!(cx.make(&spec("linear".into()))?.head().is_none());
        let error = |head| plugins.check(&spec(head)).unwrap_err().to_string();
        assert_eq!(error("cuont".into()), "head: there is no head `cuont` (did you mean `count`?)");
        assert!(error(serde_json::json!({"type": "linear", "c": 1})).starts_with("head.c: unknown key"));
        let numbers = ModelInfo { tasks: [("size".to_owned(), Field::Number)].into(), ..model() };
        let e = Feature::fitted(Arc::new(Count)).phases(&numbers).unwrap_err().to_string();
        assert!(e.contains("task `size`") && e.contains("`linear`"), "{e}");
        Ok(())
    }
}
