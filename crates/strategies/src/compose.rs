//! Several strategies as one: `strategy = ["lora", "l2_sp"]`.
//!
//! What they need is joined, their plans are merged phase by phase, and the terms that each adds to the supervised loss are
//! added up. A part that mixes batches does so for all of them; several that do take turns. Where two of them want to decide
//! the same thing, or one leaves the other nothing to do, it is an error that names both.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use transplant_core::{
    Boundary, Finish, HeadFit, Invalid, Mixed, ModelInfo, Modules, Needs, Pass, Phase, Result, Scope, Step, Strategy,
    Supervise, Term, Until, Update, Weighting,
};

struct Composed {
    parts: Vec<(String, Box<dyn Strategy>)>,
    needs: Needs,
    /// Those that mix batches: in each step one of them, each as often as another.
    mixers: Vec<usize>,
}

/// Makes one strategy of several; names are for errors. A single one is returned as it is.
///
/// # Errors
/// When there is none, one stands there twice, one wants fresh weights where another loads them, or two bring a head or
/// combine gradients.
pub fn compose(mut parts: Vec<(String, Box<dyn Strategy>)>) -> Result<Box<dyn Strategy>> {
    if parts.len() < 2 {
        return parts.pop().map(|(_, s)| s).ok_or_else(|| Invalid::new("needs at least one strategy").into());
    }
    for (i, (name, _)) in parts.iter().enumerate() {
        if parts[..i].iter().any(|(n, _)| n == name) {
            return Err(Invalid::new(format!("strategy `{name}` stands there twice")).into());
        }
    }
    only_one(&parts, "bring a head", |s| s.head().is_some())?;
    only_one(&parts, "weigh the terms of the loss", |s| s.weighting().is_some())?;
    let mixers = (0..parts.len()).filter(|i| parts[*i].1.mixes()).collect();
    let fresh = parts.iter().find(|(_, s)| s.needs().fresh);
    let loads = parts.iter().find(|(_, s)| s.needs().takes_weights());
    if let (Some((a, _)), Some((b, _))) = (fresh, loads) {
        return Err(Invalid::new(format!("`{a}` starts from fresh weights and `{b}` from loaded ones")).into());
    }
    let mut needs = Needs::default();
    for (_, s) in &parts {
        needs.join(s.needs())?;
    }
    Ok(Box::new(Composed { parts, needs, mixers }))
}

type Part = (String, Box<dyn Strategy>);

fn only_one(parts: &[Part], what: &str, does: impl Fn(&dyn Strategy) -> bool) -> Result<Option<usize>> {
    let mut all = (0..parts.len()).filter(|&i| does(parts[i].1.as_ref()));
    match (all.next(), all.next()) {
        (Some(a), Some(b)) => {
            Err(Invalid::new(format!("`{}` and `{}` both {what}; at most one may", parts[a].0, parts[b].0)).into())
        }
        (first, _) => Ok(first),
    }
}

impl Composed {
    /// The phases of each part, and which part says how many there are and how long.
    fn all_phases(&self, model: &ModelInfo) -> Result<(Vec<Vec<Phase>>, usize)> {
        let all = self.parts.iter().map(|(_, s)| s.phases(model)).collect::<Result<Vec<_>>>()?;
        let own = |p: &[Phase]| p.len() != 1 || p[0].until != Until::Budget || !p[0].updates.is_empty();
        let mut owners = (0..all.len()).filter(|&i| own(&all[i]));
        match (owners.next(), owners.next()) {
            (Some(a), Some(b)) => {
                let (a, b) = (&self.parts[a].0, &self.parts[b].0);
                Err(Invalid::new(format!("`{a}` and `{b}` both own the phases; at most one may")).into())
            }
            (first, _) => Ok((all, first.unwrap_or(0))),
        }
    }
}

impl Strategy for Composed {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let (mut all, owner) = self.all_phases(model)?;
        let steps = |phases: &[Phase]| phases.iter().any(|p| p.until != Until::Now);
        let idle = (0..all.len()).find(|i| !steps(&all[owner]) && steps(&all[*i]));
        if let Some(idle) = idle {
            let (idle, owner) = (&self.parts[idle].0, &self.parts[owner].0);
            let e =
                format!("`{idle}` acts in steps of training, and beside `{owner}`, which makes none, it never does");
            let help = format!("leave out `{idle}`, or choose options of `{owner}` with which it trains step by step");
            return Err(Invalid::new(e).help(help).into());
        }
        let mut phases = std::mem::take(&mut all[owner]);
        phases.iter_mut().for_each(|p| p.owner = Some(self.parts[owner].0.clone()));
        for (i, other) in all.into_iter().enumerate() {
            for plan in other.into_iter().map(|p| p.plan) {
                for phase in &mut phases {
                    phase.plan.merge(plan.clone(), &self.parts[owner].0, &self.parts[i].0)?;
                }
            }
        }
        for update in phases.iter().flat_map(|p| &p.updates).chain([&Update::default()]) {
            only_one(&self.parts, "say which streams an update learns from", |s| {
                s.supervises(update) != Supervise::Labelled
            })?;
        }
        Ok(phases)
    }

    fn head(&self) -> Option<Arc<dyn HeadFit>> {
        self.parts.iter().find_map(|(_, s)| s.head())
    }

    fn modules(&self, model: &ModelInfo, scope: &Scope) -> Result<Modules> {
        let mut out = BTreeMap::new();
        for (name, s) in &self.parts {
            for (module, m) in s.modules(model, scope)? {
                if out.insert(module.clone(), m).is_some() {
                    return Err(
                        Invalid::new(format!("`{name}` and another strategy both have a module `{module}`")).into()
                    );
                }
            }
        }
        Ok(out)
    }

    fn terms(&self, update: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let mut out: Vec<Term> = Vec::new();
        for (name, s) in &self.parts {
            for mut term in s.terms(update, step)? {
                if out.iter().any(|t| t.name == term.name) {
                    term.name = format!("{name}.{}", term.name);
                }
                out.push(term);
            }
        }
        Ok(out)
    }

    fn supervises(&self, update: &Update) -> Supervise {
        let all = self.parts.iter().map(|(_, s)| s.supervises(update));
        all.into_iter().find(|s| *s != Supervise::Labelled).unwrap_or_default()
    }

    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        self.parts.iter().find_map(|(_, s)| s.weighting())
    }

    fn mixes(&self) -> bool {
        !self.mixers.is_empty()
    }

    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        let turn = step.seeds().child(stream).stream("turn", &[]).random_range(0..self.mixers.len().max(1));
        self.mixers.get(turn).map_or(Ok(None), |i| self.parts[*i].1.mix(stream, step))
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        let owner = pass.phases().first().and_then(|p| p.owner.clone());
        let last = pass.phases().len().saturating_sub(1);
        for (name, s) in &self.parts {
            // A part with one phase lives through all of the owner's as through its own.
            let seen = match boundary {
                b if owner.as_ref() == Some(name) => Some(b),
                Boundary::PhaseStart(0) => Some(boundary),
                Boundary::EpochEnd(_, epoch) => Some(Boundary::EpochEnd(0, epoch)),
                Boundary::PhaseEnd(p) if p == last => Some(Boundary::PhaseEnd(0)),
                Boundary::PhaseStart(_) | Boundary::PhaseEnd(_) => None,
            };
            seen.map_or(Ok(()), |b| s.at(b, pass))?;
        }
        Ok(())
    }

    fn finish(&self) -> Finish {
        let mut all = Finish::default();
        for Finish { merge, remove } in self.parts.iter().map(|(_, s)| s.finish()) {
            all.merge.extend(merge);
            all.remove.extend(remove);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixing::tests::{OneBatch, batch};
    use crate::weights::tests::model;
    use crate::{Cutmix, CutmixOptions, Feature, L2Sp, Lora, Mixup, MixupOptions, Parameter, Structure};
    use candle_core::{DType, Device, Tensor};
    use std::rc::Rc;
    use transplant_core::{Acts, Batch, Ctx, Error, Forward, HIDDEN, Load, Params, Progress, Seeds, Targets, Use};

    /// Adds a term of its own to the supervised ones, and remembers nothing.
    struct Extra {
        phases: usize,
        supervises: Supervise,
    }

    impl Strategy for Extra {
        fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
            Ok((0..self.phases).map(|i| Phase::new(&format!("p{i}"), Default::default())).collect())
        }
        fn terms(&self, _: &Update, _: &mut dyn Step) -> Result<Vec<Term>> {
            Ok(vec![Term::new("extra", Tensor::new(1f32, &Device::Cpu)?)])
        }
        fn supervises(&self, _: &Update) -> Supervise {
            self.supervises.clone()
        }
    }

    /// Fits something without a step.
    struct AtOnce;

    impl Strategy for AtOnce {
        fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
            Ok(vec![Phase { until: Until::Now, ..Phase::new("fit", Default::default()) }])
        }
    }

    struct NoStep;

    impl Step for NoStep {
        fn streams(&self) -> Vec<String> {
            vec!["target".into()]
        }
        fn batch(&self, _: &str) -> Result<Rc<Batch>> {
            Err(Error::contract("not in this test"))
        }
        fn forward(&mut self, _: &str) -> Result<Rc<Forward>> {
            Err(Error::contract("not in this test"))
        }
        fn forward_on(&mut self, _: Acts, _: &str) -> Result<Forward> {
            Err(Error::contract("not in this test"))
        }
        fn module(&mut self, _: &str, _: &Acts) -> Result<Acts> {
            Err(Error::contract("not in this test"))
        }
        fn supervised(&mut self, _: &str) -> Result<Vec<Term>> {
            Err(Error::contract("not in this test"))
        }
        fn losses(&self, _: &Forward, _: &Targets) -> Result<Vec<Term>> {
            Err(Error::contract("not in this test"))
        }
        fn params(&self) -> &Params {
            unreachable!("not in this test")
        }
        fn progress(&self) -> Progress {
            Progress { step: 0, steps: 1, steps_per_epoch: 1 }
        }
        fn seeds(&self) -> Seeds {
            Seeds::new(0)
        }
        fn ctx(&self) -> Ctx {
            Ctx::eval(&[])
        }
    }

    fn of(parts: Vec<(&str, Box<dyn Strategy>)>) -> Result<Box<dyn Strategy>> {
        compose(parts.into_iter().map(|(n, s)| (n.to_owned(), s)).collect())
    }

    fn extra(phases: usize) -> Box<dyn Strategy> {
        Box::new(Extra { phases, supervises: Supervise::Labelled })
    }

    fn alone() -> Box<dyn Strategy> {
        Box::new(Extra { phases: 1, supervises: Supervise::Nothing })
    }

    fn fails(parts: Vec<(&str, Box<dyn Strategy>)>) -> String {
        of(parts).and_then(|s| s.phases(&model()).map(|_| ())).unwrap_err().to_string()
    }

    #[test]
    fn terms_are_added_up_under_names_of_their_own() -> Result<()> {
        let both = of(vec![("parameter", Box::<Parameter>::default()), ("a", extra(1)), ("b", extra(1))])?;
        let terms = both.terms(&Update::default(), &mut NoStep)?;
        assert_eq!(terms.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["extra", "b.extra"]);
        assert_eq!(both.supervises(&Update::default()), Supervise::Labelled);
        let without = of(vec![("a", extra(1)), ("b", alone())])?;
        assert_eq!(without.supervises(&Update::default()), Supervise::Nothing);
        let e = fails(vec![("a", alone()), ("b", alone())]);
        assert!(e.contains("`a` and `b` both say which streams an update learns from"), "{e}");
        Ok(())
    }

    #[test]
    fn plans_merge_into_each_phase_of_the_one_that_owns_them() -> Result<()> {
        let both = of(vec![("parameter", Box::<Parameter>::default()), ("gradual", extra(3))])?;
        let phases = both.phases(&model())?;
        assert_eq!(phases.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["p0", "p1", "p2"]);
        assert!(phases.iter().all(|p| p.plan.use_of("heads.class.weight") == Use::TRAINED && p.plan.uses.len() == 8));
        assert!(both.needs().source_required && both.needs().load == Load::BackboneAndHeads);
        Ok(())
    }

    #[test]
    fn several_that_mix_take_turns() -> Result<()> {
        // Means of one-hot pictures have two values a row, swapped boxes keep whole pixels.
        let pictures = Tensor::eye(4, DType::F32, &Device::Cpu)?.reshape((4, 1, 4, 1))?.repeat((1, 1, 1, 4))?;
        let mixup = Mixup::new(MixupOptions { alpha: 1.0, ..Default::default() })?;
        let cutmix = Cutmix::new(CutmixOptions { alpha: 1.0, ..Default::default() })?;
        let both = of(vec![("mixup", Box::new(mixup)), ("cutmix", Box::new(cutmix))])?;
        assert!(both.mixes());
        let whole = |step: u64| -> Result<bool> {
            let mixed = both.mix("target", &OneBatch(Rc::new(batch(pictures.clone())), step))?.unwrap();
            let values = mixed.inputs.get(HIDDEN)?.flatten_all()?.to_vec1::<f32>()?;
            Ok(values.iter().all(|v| *v == 0.0 || *v == 1.0))
        };
        let cut = (0..200).filter(|step| whole(*step).unwrap()).count();
        assert!((70..=130).contains(&cut), "{cut}");
        Ok(())
    }

    #[test]
    fn two_that_want_to_decide_the_same_are_both_named() {
        let parameter = || -> Box<dyn Strategy> { Box::<Parameter>::default() };
        let e = fails(vec![("structure", Box::new(Structure)), ("parameter", parameter())]);
        assert_eq!(e, "`structure` starts from fresh weights and `parameter` from loaded ones");
        let e = fails(vec![("parameter", parameter()), ("lora", Box::<Lora>::default())]);
        assert!(e.contains("`parameter` and `lora` disagree about the use of `backbone."), "{e}");
        let e = fails(vec![("a", extra(2)), ("b", extra(3))]);
        assert!(e.contains("`a` and `b` both own the phases"), "{e}");
        let mixup = || -> Box<dyn Strategy> { Box::<Mixup>::default() };
        let e = fails(vec![("fitted", Box::new(AtOnce)), ("mixup", mixup())]);
        assert!(e.starts_with("`mixup` acts in steps of training, and beside `fitted`, which makes none"), "{e}");
        let e = fails(vec![("l2_sp", Box::<L2Sp>::default()), ("fitted", Box::new(AtOnce))]);
        assert!(e.starts_with("`l2_sp` acts in steps of training, and beside `fitted`"), "{e}");
        assert!(fails(vec![("a", parameter()), ("a", parameter())]).contains("`a` stands there twice"));
        assert!(of(vec![]).is_err() && of(vec![("feature", Box::new(Feature::linear()))]).is_ok());
    }
}
