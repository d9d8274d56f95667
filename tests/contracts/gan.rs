//! Goodfellow et al. 2014: a generator and a discriminator with an optimiser each, updated in turn.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use transplant_core::{
    Acts, Ctx, HIDDEN, ModelInfo, Modules, Pattern, Phase, Plan, Result, Scope, Seeds, Stage, Step, Strategy, Stream,
    Supervise, Term, Update,
};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, cross_entropy_rows, relu};
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe, train};
use transplant_trainer::Data;

const NOISE: usize = 4;

struct Gan;

fn noise(rng: &mut Stream, n: usize) -> Result<Acts> {
    let values: Vec<f32> = (0..n * NOISE).map(|_| normal(rng)).collect();
    Ok(Acts::hidden(Tensor::from_vec(values, (n, NOISE), &Device::Cpu)?))
}

impl Strategy for Gan {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        let own =
            |lr: f64| Some(Arc::from(make(transplant_core::Spec::new("adamw").with("lr", lr).with("beta1", 0.5))));
        let update = |name: &str, trains: &[&str], lr| Update {
            name: name.into(),
            trains: trains.iter().map(|t| Pattern::new(*t)).collect(),
            optimiser: own(lr),
            every: 1,
        };
        let updates = vec![
            update("discriminator", &["backbone", "heads"], 2e-3),
            update("generator", &["modules.generator"], 1e-3),
        ];
        Ok(vec![Phase { updates, ..Phase::new("duel", Plan::default()) }])
    }

    fn supervises(&self, _: &Update) -> Supervise {
        Supervise::Nothing
    }

    fn modules(&self, _: &ModelInfo, s: &Scope) -> Result<Modules> {
        let s = s.pp("generator");
        let (a, b) = (s.pp("a").linear(NOISE, 32)?, s.pp("b").linear(32, 2)?);
        let run = move |acts: &Acts, _: &mut Ctx| Ok(Acts::hidden(b.forward(&relu(&a.forward(acts.get(HIDDEN)?)?)?)?));
        Ok(Modules::from([("generator".into(), Box::new(run) as _)]))
    }

    fn terms(&self, update: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let n = step.batch("target")?.rows.len();
        let z = noise(&mut step.seeds().stream(&update.name, &[]), n)?;
        let fake = step.module("generator", &z)?;
        let judged = |out: &Acts, real: u32| -> Result<Tensor> {
            let labels = Tensor::full(real, n, &Device::Cpu)?;
            Ok(cross_entropy_rows(out.get("logits")?, &labels, 0.0, None, None)?.mean_all()?)
        };
        if update.name == "generator" {
            let out = step.forward_on(fake, "target")?;
            return Ok(vec![Term::new("fooled", judged(&out.outputs["real"], 1)?)]);
        }
        let of_fake = step.forward_on(fake.detach(), "target")?;
        let mut terms = step.supervised("target")?;
        terms.push(Term::new("fake", judged(&of_fake.outputs["real"], 0)?));
        Ok(terms)
    }
}

#[test]
fn the_generator_learns_where_the_points_are() {
    let mut rng = Seeds::new(5).stream("points", &[]);
    let points = (0..512).map(|_| vec![2.0 + 0.5 * normal(&mut rng), -1.0 + 0.25 * normal(&mut rng)]).collect();
    let data = Arc::new(Memory::vectors(points, &[1; 512], 2, 512));
    let discriminator = Net::new(32).stage(Stage::new("mlp"), |s| {
        let (a, b) = (s.pp("a").linear(2, 32)?, s.pp("b").linear(32, 32)?);
        Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&b.forward(&relu(&a.forward(acts.get(HIDDEN)?)?)?)?)?)))
    });
    let mut m = model(discriminator, &data, &[("real", classify("class"))], Arc::new(Gan));
    train(&mut m, &recipe(150, "sgd", 0.1), &Data::target(Loader::train(&data.train(), loader(64)).unwrap()));

    let made =
        m.module("generator", &noise(&mut rng, 512).unwrap()).unwrap().get(HIDDEN).unwrap().to_vec2::<f32>().unwrap();
    let mean = |i: usize| made.iter().map(|p| p[i]).sum::<f32>() / 512.0;
    let spread = |i: usize| (made.iter().map(|p| (p[i] - mean(i)).powi(2)).sum::<f32>() / 512.0).sqrt();
    assert!((mean(0) - 2.0).abs() < 0.3 && (mean(1) + 1.0).abs() < 0.3, "centre {} {}", mean(0), mean(1));
    assert!(spread(0) > 0.15 && spread(0) < 1.0, "spread {} {}", spread(0), spread(1));
}
