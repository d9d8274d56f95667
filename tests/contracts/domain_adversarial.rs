//! Ganin & Lempitsky 2015: two streams, and a discriminator behind a gradient reversal.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rand::Rng;
use transplant_core::{
    Acts, Ctx, HIDDEN, ModelInfo, Modules, Needs, Phase, Plan, Result, Scope, Seeds, Stage, Step, Strategy, StreamNeed,
    Term, Update,
};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, cross_entropy_rows, grad_reverse, relu};
use transplant_tests::{Memory, Net, classify, loader, model, normal, recipe, tested, train};
use transplant_trainer::Data;

struct Dann {
    adversarial: bool,
}

impl Strategy for Dann {
    fn needs(&self) -> Needs {
        Needs { streams: vec![StreamNeed::labelled("source"), StreamNeed::unlabelled("target")], ..Needs::default() }
    }

    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("adapt", Plan::default())])
    }

    fn modules(&self, _: &ModelInfo, s: &Scope) -> Result<Modules> {
        let s = s.pp("domain");
        let (a, b) = (s.pp("a").linear(8, 16)?, s.pp("b").linear(16, 2)?);
        let run = move |acts: &Acts, _: &mut Ctx| Ok(Acts::hidden(b.forward(&relu(&a.forward(acts.get(HIDDEN)?)?)?)?));
        Ok(Modules::from([("domain".into(), Box::new(run) as _)]))
    }

    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let mut terms = Vec::new();
        if self.adversarial {
            let p = step.progress().fraction();
            let lambda = 2.0 / (1.0 + (-10.0 * p).exp()) - 1.0;
            for (stream, domain) in [("source", 0u32), ("target", 1)] {
                let features = step.forward(stream)?.features.get(HIDDEN)?.clone();
                let logits = step.module("domain", &Acts::hidden(grad_reverse(&features, lambda)?))?;
                let labels = Tensor::full(domain, features.dim(0)?, &Device::Cpu)?;
                let rows = cross_entropy_rows(logits.get(HIDDEN)?, &labels, 0.0, None, None)?;
                terms.push(Term::new("domain", rows.mean_all()?));
            }
        }
        Ok(terms)
    }
}

/// The first number tells the class everywhere; the second tells it better in the source and not at all in the target.
fn domain(target: bool, seed: u64) -> Arc<Memory> {
    let mut rng = Seeds::new(seed).stream("data", &[]);
    let (x, y): (Vec<_>, Vec<_>) = (0..400)
        .map(|_| {
            let class = rng.random_range(0..2u32);
            let side = class as f32 * 2.0 - 1.0;
            let second = if target { 3.0 } else { side * 2.0 };
            (vec![side + 0.4 * normal(&mut rng), second + 0.3 * normal(&mut rng)], class)
        })
        .unzip();
    Arc::new(Memory::vectors(x, &y, 2, 200))
}

#[test]
fn adversarial_features_carry_over_where_plain_ones_fail() {
    let (source, target) = (domain(false, 1), domain(true, 2));
    let accuracy = |adversarial| {
        let net = Net::new(8).stage(Stage::new("mlp"), |s| {
            let (a, b) = (s.pp("a").linear(2, 16)?, s.pp("b").linear(16, 8)?);
            Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(b.forward(&relu(&a.forward(acts.get(HIDDEN)?)?)?)?)))
        });
        let mut m = model(net, &source, &[("class", classify("class"))], Arc::new(Dann { adversarial }));
        let mut data = Data::default();
        data.labelled.insert("source".into(), Loader::train(&source.train(), loader(50)).unwrap());
        data.unlabelled.insert("target".into(), Loader::unlabelled(&target.unlabelled(), loader(50)).unwrap());
        train(&mut m, &recipe(150, "sgd", 0.003), &data);
        tested(&m, &target, "accuracy")
    };
    let (plain, adversarial) = (accuracy(false), accuracy(true));
    assert!(plain < 0.7, "the source alone should mislead: {plain}");
    assert!(adversarial > 0.9, "{adversarial}");
}
