//! `cargo xtask bench ops`: single operations, at sizes that networks for images use.
//!
//! `forward` times the operation where nothing is recorded, `step` with its gradients for all operands.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "a bench may fail loudly")]

use std::fmt;

use candle_core::{CpuStorage, Device, Result, Tensor};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use transplant_core::{
    Differentiable, Gradients, Link, Memory, Origin, Params, Recording, Role, backward_last, record,
};
use transplant_ops::testing::{random, single};
use transplant_ops::{Activation, After, Conv2dGeometry, Pool2d};

fn main() {
    transplant_allocator::keep_freed_memory();
    divan::main();
}

type Operation = fn(&[Tensor], Conv2dGeometry) -> Result<Tensor>;

/// An operation and the shapes of its operands.
#[derive(Clone)]
struct Case {
    name: &'static str,
    shapes: Vec<Vec<usize>>,
    at: Conv2dGeometry,
    run: Operation,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |s: &Vec<usize>| s.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        write!(f, "{} {}", self.name, self.shapes.iter().take(2).map(shape).collect::<Vec<_>>().join(" "))?;
        if self.at.stride != [1, 1] { write!(f, " / {}", self.at.stride[0]) } else { Ok(()) }
    }
}

fn case(name: &'static str, shapes: &[&[usize]], run: Operation) -> Case {
    Case { name, shapes: shapes.iter().map(|s| s.to_vec()).collect(), at: Conv2dGeometry::default(), run }
}

/// A convolution of `n` images of `size` × `size`, with as much padding on each side as its kernel reaches.
fn conv(name: &'static str, [n, size]: [usize; 2], [c, o, k]: [usize; 3], stride: usize, groups: usize) -> Case {
    let at = Conv2dGeometry::padded(k / 2).strided(stride).grouped(groups);
    let run = |t: &[Tensor], at| transplant_ops::conv2d(&t[0], &t[1], None, at);
    Case { at, ..case(name, &[&[n, c, size, size], &[o, c / groups, k, k]], run) }
}

fn cases() -> Vec<Case> {
    let depthwise = |size, c, k, stride| conv("depthwise", [32, size], [c, c, k], stride, c);
    let image: &[usize] = &[32, 96, 64, 64];
    vec![
        conv("conv2d", [8, 56], [64, 64, 3], 1, 1),
        conv("conv2d", [8, 28], [128, 128, 3], 1, 1),
        conv("conv2d", [8, 7], [512, 512, 3], 1, 1),
        conv("conv2d", [8, 56], [64, 128, 3], 2, 1),
        conv("conv2d", [8, 224], [3, 64, 7], 2, 1),
        conv("point", [32, 64], [16, 96, 1], 1, 1),
        conv("point", [32, 32], [96, 24, 1], 1, 1),
        conv("point", [32, 8], [480, 80, 1], 1, 1),
        conv("point", [32, 4], [192, 1152, 1], 1, 1),
        depthwise(64, 32, 3, 1),
        depthwise(64, 96, 3, 2),
        depthwise(32, 144, 3, 1),
        depthwise(32, 144, 5, 2),
        depthwise(16, 240, 5, 1),
        depthwise(8, 480, 3, 1),
        depthwise(8, 672, 5, 1),
        depthwise(4, 1152, 5, 1),
        case("linear", &[&[3152, 192], &[576, 192]], |t, _| transplant_ops::linear(&t[0], &t[1], None)),
        case("linear", &[&[3152, 768], &[192, 768]], |t, _| transplant_ops::linear(&t[0], &t[1], None)),
        case("attention", &[&[16, 197, 576]], |t, _| transplant_ops::attention(&t[0], 3, None)),
        case("softmax", &[&[3152, 197]], |t, _| transplant_ops::softmax(&t[0])),
        case("layer_norm", &[&[3152, 192], &[192], &[192]], |t, _| {
            transplant_ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)
        }),
        case("gelu", &[&[3152, 768]], |t, _| activate(&t[0], Activation::Gelu)),
        case("relu", &[image], |t, _| transplant_ops::relu(&t[0])),
        case("batch_norm + relu6", &[image, &[96], &[96]], |t, _| {
            Ok(transplant_ops::batch_norm(&t[0], &t[1], &t[2], 1e-5, After::from(Activation::Relu6))?.0)
        }),
        case("max_pool2d", &[&[8, 64, 112, 112]], |t, _| transplant_ops::max_pool2d(&t[0], Pool2d::new(3, 2, 1))),
    ]
}

/// The operands as they are kept: images with their channels innermost, as convolutions leave them.
fn kept(case: &Case) -> Vec<Tensor> {
    let made = |(i, shape): (usize, &Vec<usize>)| {
        let t = single(&random(i as u64, shape));
        let image = i == 0 && t.rank() == 4;
        if image { Memory::ChannelsLast.raw(&t).unwrap().contiguous().unwrap() } else { t }
    };
    case.shapes.iter().enumerate().map(made).collect()
}

fn operands(kept: &[Tensor]) -> Vec<Tensor> {
    let view = |(i, t): (usize, &Tensor)| match *t.dims() {
        [n, h, w, c] if i == 0 => Memory::ChannelsLast.view(t, &(n, c, h, w).into()).unwrap(),
        _ => t.clone(),
    };
    kept.iter().enumerate().map(view).collect()
}

/// A loss whose gradient is at hand, so that only the operation is timed.
struct Handed(Tensor);

impl Differentiable for Handed {
    fn name(&self) -> &'static str {
        "handed"
    }

    fn backward(&self, _: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0.clone())])
    }
}

#[divan::bench(args = cases(), min_time = 0.3)]
fn forward(bencher: Bencher<'_, '_>, case: &Case) {
    let operands = operands(&kept(case));
    let rows = ItemsCount::new(case.shapes[0][0]);
    bencher.counter(rows).bench_local(|| black_box((case.run)(&operands, case.at).unwrap()));
}

#[divan::bench(args = cases(), min_time = 0.3)]
fn step(bencher: Bencher<'_, '_>, case: &Case) {
    let params = Params::new(&Device::Cpu);
    let variable = |(i, t): (usize, &Tensor)| {
        params.insert(&i.to_string(), t, Role::Weight, Origin::Fresh).unwrap();
        params.get(&i.to_string()).unwrap().var().as_tensor().clone()
    };
    let kept: Vec<Tensor> = kept(case).iter().enumerate().map(variable).collect();
    let rows = ItemsCount::new(case.shapes[0][0]);
    let y = (case.run)(&operands(&kept), case.at).unwrap().detach();
    let memory = Memory::of(&y).unwrap();
    let gradient = memory.raw(&y).unwrap().copy().unwrap();
    let gradient = memory.view(&gradient, y.shape()).unwrap();
    bencher.counter(rows).bench_local(|| {
        let _recording = Recording::start().unwrap();
        let y = (case.run)(&operands(&kept), case.at).unwrap();
        let handed = Handed(gradient.clone());
        let loss = record(handed, &[&y], CpuStorage::F32(vec![0.0]), (), Memory::Plain).unwrap();
        let mut gradients = Gradients::new(&params, |_| true);
        backward_last(&loss, &mut gradients).unwrap();
        gradients
    });
}
