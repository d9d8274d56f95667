//! Operations on random shapes: against their definition written as loops, and their gradients against what must hold of
//! any gradient. Small and odd sizes are what the edges of vectors, panels and tiles are about.

use candle_core::{DType, Result, Tensor};
use proptest::prelude::*;
use transplant_ops::testing::{gradcheck, gradients, max_difference, random, single, values};
use transplant_ops::{
    Activation, Conv2dGeometry, Pool2d, activate, adaptive_avg_pool2d, attention, avg_pool2d, batch_norm,
    conv_transpose2d, conv2d, embedding, group_norm, layer_norm, layer_norm_channels, linear, max_pool2d,
    resize_bilinear, resize_nearest, rms_norm, softmax,
};

/// Sizes of a convolution.
#[derive(Debug, Clone)]
struct Conv {
    x: [usize; 4],
    weight: [usize; 4],
    at: Conv2dGeometry,
}

fn conv() -> impl Strategy<Value = Conv> {
    let two = |most: usize| [1..=most, 1..=most];
    let channels = prop_oneof![(1usize..=3, 1usize..=20, 1usize..=70), (2usize..=40, Just(1), Just(1))];
    let padding = [[0usize..=2, 0..=3], [0..=2, 0..=3]];
    (channels, 1usize..=3, two(9), two(4), two(3), two(3), padding).prop_filter_map(
        "the kernel fits",
        |((groups, cg, og), n, hw, k, stride, dilation, padding)| {
            let at = Conv2dGeometry { stride, padding, dilation, groups };
            let fits = |i: usize| hw[i] + padding[i][0] + padding[i][1] > dilation[i] * (k[i] - 1);
            let (x, weight) = ([n, groups * cg, hw[0], hw[1]], [groups * og, cg, k[0], k[1]]);
            (fits(0) && fits(1)).then_some(Conv { x, weight, at })
        },
    )
}

/// The convolution as its definition says.
fn by_loops(x: &Tensor, w: &Tensor, at: Conv2dGeometry, [oh, ow]: [usize; 2]) -> Vec<f64> {
    let (&[n, c, h, width], &[o, cg, kh, kw]) = (x.dims(), w.dims()) else { panic!("two ranks of four") };
    let (xs, ws, og) = (values(x), values(w), o / at.groups);
    let mut out = Vec::with_capacity(n * o * oh * ow);
    for i in 0..n * o * oh * ow {
        let (image, of, y, z) = (i / (o * oh * ow), i / (oh * ow) % o, i / ow % oh, i % ow);
        let mut sum = 0.0;
        for t in 0..cg * kh * kw {
            let (channel, ky, kx) = (t / (kh * kw), t / kw % kh, t % kw);
            let row = (y * at.stride[0] + ky * at.dilation[0]).checked_sub(at.padding[0][0]).filter(|r| *r < h);
            let column = (z * at.stride[1] + kx * at.dilation[1]).checked_sub(at.padding[1][0]).filter(|c| *c < width);
            if let (Some(row), Some(column)) = (row, column) {
                let from = ((image * c + of / og * cg + channel) * h + row) * width + column;
                sum += xs[from] * ws[(of * cg + channel) * kh * kw + ky * kw + kx];
            }
        }
        out.push(sum);
    }
    out
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum()
}

/// `f` is linear in each input, so the product of each input with its gradient is the loss itself: the sum of the outputs,
/// each times what `gradients` multiplies it by.
fn is_bilinear(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], tolerance: f64) {
    let y = f(inputs).unwrap();
    let weights = random(99, y.dims());
    let (loss, size) = (dot(&y, &weights), values(&y).iter().map(|v| v.abs()).sum::<f64>().max(1.0));
    for (i, (x, g)) in inputs.iter().zip(gradients(&f, inputs)).enumerate() {
        let off = (dot(x, &g) - loss).abs() / size;
        assert!(off <= tolerance, "input {i} of {:?} is off by {off}", x.dims());
    }
}

/// The largest value, at least 1.
fn size(t: &Tensor) -> f64 {
    values(t).iter().fold(1.0, |m: f64, v| m.max(v.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_are_their_definition(c in conv()) {
        let (x, w) = (random(1, &c.x), random(2, &c.weight));
        let y = conv2d(&x, &w, None, c.at).unwrap();
        let want = by_loops(&x, &w, c.at, [y.dim(2).unwrap(), y.dim(3).unwrap()]);
        let off = values(&y).iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        prop_assert!(off < 1e-12, "off by {}", off);
        let narrow = conv2d(&single(&x), &single(&w), None, c.at).unwrap();
        prop_assert!(max_difference(&narrow, &y) < 1e-5 * size(&y));
        is_bilinear(|t| conv2d(&t[0], &t[1], None, c.at), &[x.clone(), w.clone()], 1e-12);
        is_bilinear(|t| conv2d(&t[0], &t[1], None, c.at), &[single(&x), single(&w)], 1e-5);
    }

    #[test]
    fn transposed_convolutions_are_adjoint_to_convolutions(c in conv()) {
        let (x, w) = (random(1, &c.x), random(2, &c.weight));
        let y = conv2d(&x, &w, None, c.at).unwrap();
        let reach = |i: usize| {
            let span = (y.dim(i + 2).unwrap() - 1) * c.at.stride[i] + c.at.dilation[i] * (c.weight[i + 2] - 1) + 1;
            (c.x[i + 2] + c.at.padding[i][0] + c.at.padding[i][1]) - span
        };
        let back = |t: &[Tensor]| conv_transpose2d(&t[0], &t[1], None, c.at, [reach(0), reach(1)]);
        let g = random(3, y.dims());
        let off = dot(&y, &g) - dot(&x, &back(&[g.clone(), w.clone()]).unwrap());
        prop_assert!(off.abs() < 1e-10, "off by {}", off);
        is_bilinear(back, &[g.clone(), w.clone()], 1e-12);
        is_bilinear(back, &[single(&g), single(&w)], 1e-5);
    }

    #[test]
    fn linear_maps_are_products(rows in 1usize..40, inputs in 1usize..200, outputs in 1usize..140) {
        let (x, w) = (random(1, &[rows, inputs]), random(2, &[outputs, inputs]));
        let want = x.matmul(&w.t().unwrap()).unwrap();
        prop_assert!(max_difference(&linear(&x, &w, None).unwrap(), &want) < 1e-12);
        let narrow = linear(&single(&x), &single(&w), None).unwrap();
        prop_assert!(max_difference(&narrow, &want) < 1e-5 * size(&want));
        is_bilinear(|t| linear(&t[0], &t[1], None), &[x.clone(), w.clone()], 1e-12);
        is_bilinear(|t| linear(&t[0], &t[1], None), &[single(&x), single(&w)], 1e-5);
    }

    #[test]
    fn attention_in_single_precision_is_near(n in 1usize..3, positions in 1usize..40, heads in 1usize..4, part in 1usize..40) {
        let x = random(1, &[n, positions, 3 * heads * part]);
        let f = |t: &[Tensor]| attention(&t[0], heads, None);
        let (y, narrow) = (f(std::slice::from_ref(&x)).unwrap(), f(&[single(&x)]).unwrap());
        prop_assert!(max_difference(&y, &narrow) < 1e-5 * size(&y));
        let (g, narrow) = (&gradients(f, std::slice::from_ref(&x))[0], &gradients(f, &[single(&x)])[0]);
        prop_assert!(max_difference(g, narrow) < 1e-5 * size(g));
    }

    #[test]
    fn whatever_is_not_linear_has_the_slopes_of_finite_differences(
        (n, c) in (1usize..4, 1usize..6), (h, w) in (1usize..6, 1usize..6), (oh, ow) in (1usize..8, 1usize..8), seed in 0u64..99
    ) {
        let x = random(seed, &[n, c, h, w]);
        let (scale, shift) = (random(seed + 1, &[c]), random(seed + 2, &[c]));
        let normalised = [x.clone(), scale, shift];
        // One value alone is its own mean: its slope is 0 and finite differences are rounding.
        if n * h * w > 1 {
            gradcheck(|t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-2, Activation::Silu)?.0), &normalised);
        }
        gradcheck(|t| layer_norm_channels(&t[0], &t[1], &t[2], 1e-2), &normalised);
        gradcheck(|t| group_norm(&t[0], 1, Some(&t[1]), Some(&t[2]), 1e-2), &normalised);
        let rows = [x.reshape((n * h * w, c)).unwrap(), normalised[1].clone(), normalised[2].clone()];
        gradcheck(|t| layer_norm(&t[0], &t[1], &t[2], 1e-2), &rows);
        gradcheck(|t| rms_norm(&t[0], &t[1], 1e-2), &rows[..2]);
        // Transposed: not in the order of memory.
        gradcheck(|t| softmax(&t[0].t()?), &rows[..1]);
        gradcheck(|t| adaptive_avg_pool2d(&t[0], (oh, ow)), &normalised[..1]);
        gradcheck(|t| resize_bilinear(&t[0], (oh, ow), false), &normalised[..1]);
        gradcheck(|t| resize_nearest(&t[0].transpose(2, 3)?, (oh, ow)), &normalised[..1]);
        let pool = Pool2d { kernel: (h.min(oh), w.min(ow)), stride: (1 + n % 2, n), padding: (0, 0), ceil: seed % 2 == 0 };
        // Where two values nearly tie for the largest there is no slope: these lie apart by more than the step.
        let all = values(&x);
        let rank = |v: &f64| all.iter().filter(|other| *other < v).count() as f64 / 10.0;
        let apart = Tensor::from_vec(all.iter().map(rank).collect::<Vec<_>>(), x.dims(), x.device()).unwrap();
        gradcheck(|t| max_pool2d(&t[0], pool), &[apart]);
        gradcheck(|t| avg_pool2d(&t[0], pool, true), &normalised[..1]);
        let indices: Vec<u32> = (0..oh * ow).map(|i| (i * i) as u32 % (n * h * w) as u32).collect();
        let indices = Tensor::new(indices, x.device()).unwrap();
        gradcheck(|t| embedding(&indices, &t[0]), &rows[..1]);
    }

    #[test]
    fn element_by_element_nothing_is_left_out(len in 1usize..300) {
        let x = (random(7, &[len]) * 8.0).unwrap();
        for act in [Activation::Relu, Activation::Relu6, Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::HardSwish] {
            let (y, narrow) = (activate(&x, act).unwrap(), activate(&single(&x), act).unwrap());
            prop_assert_eq!(narrow.dtype(), DType::F32);
            prop_assert!(max_difference(&y, &narrow) < 2e-6 * size(&y), "{:?}", act);
            let one = |i: usize| values(&activate(&x.narrow(0, i, 1).unwrap(), act).unwrap())[0];
            prop_assert_eq!(values(&y), (0..len).map(one).collect::<Vec<_>>());
        }
    }
}
