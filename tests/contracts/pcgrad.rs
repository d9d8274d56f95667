//! Yu et al. 2020, "Gradient Surgery": two tasks with missing labels, whose conflicting gradients are projected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use rand::Rng;
use transplant_core::{
    Acts, CombineCx, Ctx, Gradients, HIDDEN, ModelInfo, Phase, Plan, Result, Roles, Seeds, Stage, Strategy, Target,
    TermInfo, Weighting,
};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classes_target, classify, loader, model, normal, recipe, tested, train};
use transplant_trainer::Data;

struct PcGrad(Arc<Surgery>);

#[derive(Default)]
struct Surgery {
    conflicts: AtomicUsize,
}

impl Strategy for PcGrad {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("joint", Plan::default())])
    }

    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(self.0.clone())
    }
}

impl Weighting for Surgery {
    fn combines(&self) -> bool {
        true
    }

    fn combine(&self, gradients: Vec<(TermInfo, Gradients)>, _: &CombineCx<'_>) -> Result<Gradients> {
        let (mut sum, mut tasks) = (None::<Gradients>, Vec::new());
        for (i, (info, own)) in gradients.iter().enumerate() {
            tasks.push(info.task.clone());
            let mut g = own.clone();
            for (j, (_, other)) in gradients.iter().enumerate().filter(|(j, _)| *j != i) {
                let dot = g.dot(other)?;
                if dot < 0.0 {
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                    g.add_scaled(other, -dot / other.dot(other)?)?;
                    assert!(g.dot(other)? > -1e-4 * other.dot(other)?, "task {i} still fights task {j}");
                }
            }
            match &mut sum {
                None => sum = Some(g),
                Some(s) => s.add_scaled(&g, 1.0)?,
            }
        }
        assert_eq!(tasks, [Some("above".to_owned()), Some("left".to_owned())]);
        Ok(sum.unwrap_or_default())
    }
}

/// `left` is known for the even rows only, `above` for the odd ones.
fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(11).stream("points", &[]);
    let n = 600;
    let x: Vec<f32> = (0..2 * n).map(|_| normal(&mut rng)).collect();
    let noisy = |v: f32, rng: &mut transplant_core::Stream| u32::from(v + 0.05 * (rng.random::<f32>() - 0.5) > 0.0);
    let left: Vec<u32> = (0..n).map(|i| noisy(x[2 * i] - x[2 * i + 1], &mut rng)).collect();
    let above: Vec<u32> = (0..n).map(|i| noisy(x[2 * i] + x[2 * i + 1], &mut rng)).collect();
    let known = |odd: usize| {
        let mask: Vec<f32> = (0..n).map(|i| if i >= 300 || i % 2 == odd { 1.0 } else { 0.0 }).collect();
        Some(Tensor::new(mask, &Device::Cpu).unwrap())
    };
    let target = |y: &[u32], odd| {
        // A missing label holds a wrong value, which must not be learned.
        let y: Vec<u32> =
            y.iter().enumerate().map(|(i, c)| if i >= 300 || i % 2 == odd { *c } else { 1 - *c }).collect();
        let (field, t) = classes_target(&y, 2);
        (field, Target { present: known(odd), ..t })
    };
    let labels = BTreeMap::from([("left".to_owned(), target(&left, 0)), ("above".to_owned(), target(&above, 1))]);
    let roles = Roles { pool: (0..300).collect(), validation: vec![], test: (300..n as u64).collect() };
    let acts = Acts::hidden(Tensor::from_vec(x, (n, 2), &Device::Cpu).unwrap());
    let inputs = Memory::vectors(vec![vec![0.0; 2]], &[0], 2, 1).inputs;
    Arc::new(Memory::new(acts, inputs, labels, roles))
}

#[test]
fn both_tasks_are_learned_from_half_of_their_labels() {
    let data = data();
    let surgery = Arc::new(Surgery::default());
    let net = Net::new(8).stage(Stage::new("mlp"), |s| {
        let layer = s.pp("fc").linear(2, 8)?;
        Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
    });
    let tasks = [("left", classify("left")), ("above", classify("above"))];
    let mut m = model(net, &data, &tasks, Arc::new(PcGrad(surgery.clone())));
    train(&mut m, &recipe(60, "sgd", 0.1), &Data::target(Loader::train(&data.train(), loader(50)).unwrap()));
    for task in ["left", "above"] {
        let accuracy = tested(&m, &data, &format!("{task}.accuracy"));
        assert!(accuracy > 0.93, "{task}: {accuracy}");
    }
    assert!(surgery.conflicts.load(Ordering::Relaxed) > 0, "the tasks never disagreed, so nothing was shown");
}
