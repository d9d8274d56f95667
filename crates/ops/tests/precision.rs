//! Products in bfloat16 against those of operands that were rounded beforehand.

use candle_core::{DType, Result, Tensor};
use transplant_ops::testing::{gradients, max_difference, random, same_bits_on_any_pool, single, values};
use transplant_ops::{Conv2dGeometry, Precision, conv_transpose2d, conv2d, linear};

type Case = (Vec<Tensor>, Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Sync>);

fn cases() -> Vec<Case> {
    let conv = |n, c: usize, hw: [usize; 2], o, k: [usize; 2], at: Conv2dGeometry| -> Case {
        let t = vec![random(1, &[n, c, hw[0], hw[1]]), random(2, &[o, c / at.groups, k[0], k[1]]), random(3, &[o])];
        (t, Box::new(move |t| conv2d(&t[0], &t[1], Some(&t[2]), at)))
    };
    let padded = Conv2dGeometry::padded(1);
    let mut out = vec![
        conv(3, 64, [9, 7], 48, [3, 3], padded),
        conv(2, 40, [6, 5], 33, [3, 3], padded.strided(2)),
        conv(2, 36, [8, 9], 20, [3, 2], padded.grouped(2).dilated(2)),
        conv(5, 3, [17, 16], 24, [7, 7], Conv2dGeometry::padded(3).strided(2)),
        conv(7, 96, [5, 5], 300, [1, 1], Conv2dGeometry::default()),
        conv(1, 16, [1, 1], 8, [3, 3], padded),
        conv(2, 24, [5, 6], 24, [3, 3], padded.grouped(24)),
    ];
    for (rows, inputs, outputs) in [(70, 130, 50), (1, 1, 1), (600, 33, 270)] {
        let t = vec![random(1, &[rows, inputs]), random(2, &[outputs, inputs]), random(3, &[outputs])];
        out.push((t, Box::new(|t| linear(&t[0], &t[1], Some(&t[2])))));
    }
    let t = vec![random(1, &[2, 20, 4, 3]), random(2, &[20, 35, 3, 3])];
    out.push((t, Box::new(move |t| conv_transpose2d(&t[0], &t[1], None, padded.strided(2), [1, 1]))));
    out
}

/// On processors without the unit both sides are the same; f64 never goes there.
#[test]
fn products_are_those_of_rounded_operands() {
    let _bf16 = Precision::Bf16.enter();
    for (i, (t, f)) in cases().into_iter().enumerate() {
        let narrow: Vec<Tensor> = t.iter().map(single).collect();
        let wide: Vec<Tensor> = narrow.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
        let near = |a: &Tensor, b: &Tensor| {
            let size = values(b).iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            assert!(max_difference(a, b) < 1e-5 * size, "case {i}: {} of {size}", max_difference(a, b));
        };
        near(&f(&narrow).unwrap(), &f(&wide).unwrap());
        for (a, b) in gradients(&f, &narrow).iter().zip(gradients(&f, &wide)) {
            near(a, &b);
        }
        let full = {
            let _f32 = Precision::F32.enter();
            f(&narrow).unwrap()
        };
        let off = max_difference(&f(&narrow).unwrap(), &full);
        let depthwise = i == 6;
        assert!((off > 0.0) != depthwise && off < 0.05 * values(&full).iter().fold(1.0, |m: f64, v| m.max(v.abs())));
    }
}

#[test]
fn the_bits_depend_on_neither_threads_nor_neighbours() {
    for (t, f) in cases() {
        let t: Vec<Tensor> = t.iter().map(single).collect();
        let rounded = |t: &[Tensor]| {
            let _bf16 = Precision::Bf16.enter();
            f(t)
        };
        same_bits_on_any_pool(rounded, &t);
        let n = t[0].dim(0).unwrap();
        let last = [&[t[0].narrow(0, n - 1, 1).unwrap()], &t[1..]].concat();
        let (all, alone) = (rounded(&t).unwrap(), rounded(&last).unwrap());
        assert_eq!(max_difference(&all.narrow(0, n - 1, 1).unwrap(), &alone), 0.0);
    }
}

#[test]
fn what_is_not_a_number_stays_where_it_is() {
    let _bf16 = Precision::Bf16.enter();
    let mut x = vec![1.0f32; 40 * 70];
    x[3 * 70 + 69] = f32::NAN;
    let x = Tensor::from_vec(x, (40, 70), &candle_core::Device::Cpu).unwrap();
    let y = values(&linear(&x, &single(&random(2, &[5, 70])), None).unwrap());
    assert!(y.iter().enumerate().all(|(i, v)| v.is_nan() == (i / 5 == 3)));
}
