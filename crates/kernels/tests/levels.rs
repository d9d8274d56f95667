//! Kernels at every level of vectors that this processor has, against the same in double precision, on shapes at the edges of
//! tiles and panels. One test after another in one program of its own: the level is that of the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use transplant_kernels::attention::{Attention, Attentions};
use transplant_kernels::conv::{Conv2dGeometry, Convolutions, Dims};
use transplant_kernels::linear::{Linear, Linears};
use transplant_kernels::precision::Precision;
use transplant_kernels::product::{Act, Finish};
use transplant_kernels::simd::{Level, level, limit};
use transplant_kernels::tall::{self, Tall};

/// Numbers between -1 and 1 that depend on `seed` alone.
fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from((state >> 40) as f32) / f64::from(1 << 23) - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

/// Fails unless `a` is `b` up to the rounding of sums of `terms` products.
fn near(what: &str, a: &[f32], b: &[f64], terms: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.len(), b.len(), "{}", what);
    let tolerance = 1.5e-7 * terms.max(20) as f64;
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        prop_assert!((f64::from(*a) - b).abs() <= tolerance, "{what} at {}: element {i} is {a}, not {b}", level());
    }
    Ok(())
}

fn linear(rows: usize, outputs: usize, inputs: usize) -> Result<(), TestCaseError> {
    let d = Linear { rows, inputs, outputs, precision: Precision::F32 };
    let (x, w, g) = (numbers(1, rows * inputs), numbers(2, outputs * inputs), numbers(3, rows * outputs));
    let shift = numbers(4, outputs);
    let (xs, ws, gs, shifts) = (single(&x), single(&w), single(&g), single(&shift));
    let finish = Finish { shift: Some(&shift), act: Act::Relu, ..Finish::default() };
    let finishes = Finish { shift: Some(&shifts), act: Act::Relu, ..Finish::default() };
    let y = f32::linear(&d, &xs, &ws, finishes);
    near("linear", &y, &f64::linear(&d, &x, &w, finish), inputs)?;
    near(
        "input gradient",
        &f32::linear_input_gradient(&d, &ws, &gs),
        &f64::linear_input_gradient(&d, &w, &g),
        outputs,
    )?;
    near(
        "weight gradient",
        &f32::linear_weight_gradient(&d, &xs, &gs),
        &f64::linear_weight_gradient(&d, &x, &g),
        rows,
    )?;
    // A row does not depend on those beside it.
    let last = Linear { rows: 1, ..d };
    let alone = f32::linear(&last, &xs[(rows - 1) * inputs..], &ws, finishes);
    prop_assert_eq!(&y[(rows - 1) * outputs..], &alone[..], "the last row alone at {}", level());
    Ok(())
}

fn conv(x: [usize; 4], weight: [usize; 4], at: Conv2dGeometry) -> Result<(), TestCaseError> {
    let Ok(d) = Dims::new(&x, &weight, at) else { return Ok(()) };
    let (xs, ws) = (numbers(1, x.iter().product()), numbers(2, weight.iter().product()));
    let g = numbers(3, d.n * d.oh * d.ow * d.o);
    let (x32, w32, g32) = (single(&xs), single(&ws), single(&g));
    let (y, want) = (f32::conv2d(&d, &x32, &w32, Finish::default()), f64::conv2d(&d, &xs, &ws, Finish::default()));
    near("conv2d", &y, &want, d.cg() * d.taps())?;
    let dx = f32::conv2d_input_gradient(&d, &w32, &g32, Finish::default());
    near("conv2d's input", &dx, &f64::conv2d_input_gradient(&d, &ws, &g, Finish::default()), d.og() * d.taps())?;
    let dw = f32::conv2d_weight_gradient(&d, &x32, &g32);
    near("conv2d's weight", &dw, &f64::conv2d_weight_gradient(&d, &xs, &g), d.n * d.oh * d.ow)
}

fn attention(positions: usize, part: usize, heads: usize) -> Result<(), TestCaseError> {
    let width = part * heads;
    let of = Attention { positions, width, heads, mask: None, kept: None };
    let (x, g) = (numbers(1, 2 * positions * 3 * width), numbers(2, 2 * positions * width));
    near("attention", &f32::attention(&of, &single(&x)), &f64::attention(&of, &x), 16)?;
    let dx = f32::attention_gradient(&of, &single(&x), &single(&g));
    near("attention's gradient", &dx, &f64::attention_gradient(&of, &x, &g), 64 * part)
}

#[test]
fn every_level_is_right_at_the_edges_of_tiles() {
    let levels = [Level::Portable, Level::Neon, Level::Avx2, Level::Avx512];
    let mut seen = Vec::new();
    let mut sums = Vec::new();
    for at in levels {
        limit(at);
        if level() != at {
            continue;
        }
        seen.push(at);
        // Sums in double precision are the same bits at every level.
        let (values, other) = (numbers(5, 97 * 33), numbers(6, 97 * 3));
        let x = Tall { width: 33, values: &values };
        sums.push([tall::products(x, &other[..99], 3), tall::outer_products(x, &other, 3)]);
        let config = || TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let shapes = (1usize..=13, 1usize..=33, prop_oneof![1usize..=40, 1usize..=600]);
        config().run(&shapes, |(rows, outputs, inputs)| linear(rows, outputs, inputs)).unwrap();
        let wide = (1usize..=60, 1usize..=150, 1usize..=150);
        config().run(&wide, |(rows, outputs, inputs)| linear(rows, outputs, inputs)).unwrap();
        let channels = prop_oneof![(1usize..=2, 1usize..=20, 1usize..=40), (2usize..=40, Just(1), Just(1))];
        let convs = (channels, 1usize..=2, [1usize..=9, 1..=9], [1usize..=5, 1..=5], 1usize..=2, 0usize..=2);
        config()
            .run(&convs, |((groups, cg, og), n, [h, w], [kh, kw], stride, padding)| {
                let at = Conv2dGeometry::padded(padding).strided(stride).grouped(groups);
                conv([n, groups * cg, h, w], [groups * og, cg, kh, kw], at)
            })
            .unwrap();
        config().run(&(1usize..=40, 1usize..=40, 1usize..=3), |(n, part, heads)| attention(n, part, heads)).unwrap();
    }
    assert!(seen.contains(&Level::Portable) && sums.iter().all(|s| *s == sums[0]));
}
