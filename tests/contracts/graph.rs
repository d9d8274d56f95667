//! Kipf & Welling 2017 on Zachary's karate club: one graph whose nodes have three roles.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use transplant_core::{Acts, Ctx, Field, HIDDEN, Roles, Schema, Spec, Stage, Strategy, Train, Validation};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classes_target, classify, loader, make, model, recipe, tested, train};
use transplant_trainer::Data;

/// Zachary 1977: for each member the friends with a larger number.
const FRIENDS: [&[usize]; 34] = [
    &[1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31],
    &[2, 3, 7, 13, 17, 19, 21, 30],
    &[3, 7, 8, 9, 13, 27, 28, 32],
    &[7, 12, 13],
    &[6, 10],
    &[6, 10, 16],
    &[16],
    &[],
    &[30, 32, 33],
    &[33],
    &[],
    &[],
    &[],
    &[33],
    &[32, 33],
    &[32, 33],
    &[],
    &[],
    &[32, 33],
    &[33],
    &[32, 33],
    &[],
    &[32, 33],
    &[25, 27, 29, 32, 33],
    &[25, 27, 31],
    &[31],
    &[29, 33],
    &[33],
    &[31, 33],
    &[32, 33],
    &[32, 33],
    &[32, 33],
    &[33],
    &[],
];
/// Those who stayed with the instructor; all others followed the officer.
const INSTRUCTOR: [u32; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21];

fn club() -> Arc<Memory> {
    let n = FRIENDS.len();
    let mut adjacency = vec![vec![0f32; n]; n];
    for (i, friends) in FRIENDS.iter().enumerate() {
        adjacency[i][i] = 1.0;
        for &j in *friends {
            (adjacency[i][j], adjacency[j][i]) = (1.0, 1.0);
        }
    }
    let degree: Vec<f32> = adjacency.iter().map(|row| row.iter().sum()).collect();
    let normalised: Vec<f32> =
        (0..n * n).map(|k| adjacency[k / n][k % n] / (degree[k / n] * degree[k % n]).sqrt()).collect();
    let device = &Device::Cpu;
    let acts = Acts::hidden(Tensor::eye(n, DType::F32, device).unwrap())
        .with("adjacency", Tensor::from_vec(normalised, (n, n), device).unwrap());
    let inputs = Schema::from([
        (HIDDEN.to_owned(), Field::Vector { width: n }),
        ("adjacency".to_owned(), Field::Tensor { sizes: vec![Some(n)] }),
    ]);
    let y: Vec<u32> = (0..n as u32).map(|i| u32::from(!INSTRUCTOR.contains(&i))).collect();
    let labelled = [0u64, 1, 32, 33];
    let validation = [2u64, 3, 23, 31];
    let test = (0..n as u64).filter(|i| !labelled.contains(i) && !validation.contains(i)).collect();
    let roles = Roles { pool: labelled.to_vec(), validation: validation.to_vec(), test };
    let labels = BTreeMap::from([("class".to_owned(), classes_target(&y, 2))]);
    Arc::new(Memory { whole: true, ..Memory::new(acts, inputs, labels, roles) })
}

fn convolution(name: &str, inputs: usize, outputs: usize, net: Net) -> Net {
    let stage = Stage { reads: vec![HIDDEN.into(), "adjacency".into()], row_wise: false, ..Stage::new(name) };
    net.stage(stage, move |s| {
        let layer = s.pp("fc").linear(inputs, outputs)?;
        Ok(move |acts: Acts, _: &mut Ctx| {
            let mixed = acts.get("adjacency")?.matmul(&layer.forward(acts.get(HIDDEN)?)?)?;
            Ok(acts.with(HIDDEN, relu(&mixed)?))
        })
    })
}

#[test]
fn four_labels_tell_the_two_sides_of_the_club_apart() {
    let club = club();
    let net = convolution("gcn2", 16, 8, convolution("gcn1", 34, 16, Net::new(8)));
    let strategy: Arc<dyn Strategy> = Arc::from(make(Spec::<dyn Strategy>::new("structure")));
    let mut m = model(net, &club, &[("class", classify("class"))], strategy);
    let chosen = Validation::new(club.clone(), club.roles.validation.clone());
    let data = Data::target(Loader::train(&Train::new(club.clone(), club.roles.pool.clone()), loader(4)).unwrap())
        .validated_on(Loader::validation(&chosen, loader(4)).unwrap());
    let fitted = train(&mut m, &recipe(100, "adamw", 0.02), &data);
    assert_eq!(fitted.steps, 100, "one step an epoch: the graph is one batch");
    assert_eq!(fitted.history.last().unwrap().validation["accuracy"], 1.0);
    let accuracy = tested(&m, &club, "accuracy");
    assert!(accuracy >= 0.92, "{accuracy}");
}
