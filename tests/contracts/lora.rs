//! Hu et al. 2022: low-rank adapters on a convolution and a linear layer; the base stays as it is, bit for bit.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use transplant_core::{Acts, Ctx, Field, HIDDEN, Role, Schema, Seeds, Spec, Stage, Strategy};
use transplant_datasets::Loader;
use transplant_ops::{Conv2dGeometry, ScopeExt, global_avg_pool, relu};
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe, tested, train};
use transplant_trainer::Data;

/// Pictures of 6×6 with a bar, horizontal or vertical; `dark` ones are negatives with another contrast.
fn bars(dark: bool, seed: u64) -> Arc<Memory> {
    let mut rng = Seeds::new(seed).stream("bars", &[]);
    let (x, y): (Vec<_>, Vec<_>) = (0..300u32)
        .map(|i| {
            let (class, at) = (i % 2, (i / 2 % 6) as usize);
            let bar = |p: usize| if class == 0 { p / 6 == at } else { p % 6 == at };
            let level = |p: usize| if bar(p) == dark { -1.0 } else { 1.5 };
            ((0..36).map(|p| level(p) + 0.2 * normal(&mut rng)).collect::<Vec<f32>>(), class)
        })
        .unzip();
    let n = x.len();
    let mut memory = Memory::vectors(x, &y, 2, 150);
    memory.inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 1, height: 6, width: 6 })]);
    memory.acts = memory.acts.map(|_, t| Ok(t.reshape((n, 1, 6, 6))?)).unwrap();
    Arc::new(memory)
}

fn network() -> Net {
    Net::new(8)
        .stage(Stage::new("conv"), |s| {
            let geometry = Conv2dGeometry::padded(1);
            let layer = s.pp("conv").conv2d(1, 8, 3, geometry, true)?;
            Ok(move |acts: Acts, _: &mut Ctx| {
                Ok(Acts::hidden(global_avg_pool(&relu(&layer.forward(acts.get(HIDDEN)?)?)?)?))
            })
        })
        .stage(Stage::new("fc"), |s| {
            let layer = s.pp("fc").linear(8, 8)?;
            Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
        })
}

fn strategy(tag: &str) -> Arc<dyn Strategy> {
    Arc::from(make(Spec::<dyn Strategy>::new(tag)))
}

#[test]
fn adapters_learn_while_the_base_stays() {
    let (light, dark) = (bars(false, 1), bars(true, 2));
    let mut source = model(network(), &light, &[("class", classify("class"))], strategy("structure"));
    train(&mut source, &recipe(60, "adamw", 0.01), &Data::target(Loader::train(&light.train(), loader(30)).unwrap()));
    assert!(tested(&source, &light, "accuracy") > 0.95);
    let before = tested(&source, &dark, "accuracy");
    let weights = source.params().snapshot(|_| true).unwrap();

    let mut m = model(network(), &dark, &[("class", classify("class"))], strategy("lora"));
    m.load_source(&weights, "light", &["class".to_owned()]).unwrap();
    let fitted =
        train(&mut m, &recipe(80, "adamw", 0.02), &Data::target(Loader::train(&dark.train(), loader(30)).unwrap()));
    let after = tested(&m, &dark, "accuracy");
    assert!(before < 0.8 && after > 0.9, "{before} -> {after}");

    let names = m.params().names();
    let is_adapter = |n: &&String| m.params().get(n).unwrap().role == Role::Adapter;
    let (adapters, base): (Vec<_>, Vec<_>) = names.iter().filter(|n| n.starts_with("backbone.")).partition(is_adapter);
    assert!(adapters.len() >= 4, "{names:?}");
    for name in base {
        let bytes = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bytes(&m.params().get(name).unwrap().view()), bytes(&weights[name]), "{name} changed");
    }
    for name in adapters {
        let moved =
            m.params().get(name).unwrap().view().to_device(&Device::Cpu).unwrap().sqr().unwrap().sum_all().unwrap();
        assert!(moved.to_scalar::<f32>().unwrap() > 0.0, "{name} did not move");
    }
    assert!(fitted.trainable < fitted.parameters);
}
