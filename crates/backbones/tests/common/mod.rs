//! What the goldens of networks have in common; see `tests/goldens/generate_networks.py`.

use candle_core::Tensor;
use serde_json::Value;
use transplant_ops::testing::values;

/// `wave` of the generator: values in -1..1 by name and index.
pub(crate) fn wave(name: &str, count: usize) -> Vec<f64> {
    let h = name.bytes().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    let value = |i: usize| {
        let x = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(h);
        let x = (x ^ (x >> 16)).wrapping_mul(73_244_475);
        f64::from((f64::from(x ^ (x >> 16)) / 2f64.powi(31) - 1.0) as f32)
    };
    (0..count).map(value).collect()
}

/// `value` of the generator: what a tensor is filled with.
pub(crate) fn filling(name: &str, shape: &[usize]) -> Vec<f64> {
    let gain = if shape.len() == 4 { 6.0 } else { 3.0 };
    let of = |u: f64| {
        if [2, 4].contains(&shape.len()) {
            u * (gain / shape[1..].iter().product::<usize>() as f64).sqrt()
        } else if name.ends_with("running_var") {
            1.0 + (1.0 + u) / 4.0
        } else if shape.len() == 1 && name.ends_with("weight") {
            1.0 + u / 8.0
        } else {
            u / 8.0
        }
    };
    wave(name, shape.iter().product()).into_iter().map(|u| f64::from(of(u) as f32)).collect()
}

/// `digest` of the generator: three sums and the first eight values.
pub(crate) fn digest(t: &Tensor) -> Vec<f64> {
    let v = values(t);
    let product = v.iter().zip(wave("digest", v.len())).map(|(v, w)| v * w).sum();
    let mut out = vec![v.iter().sum(), v.iter().map(|v| v.abs()).sum(), product];
    out.extend(v.iter().take(8));
    out
}

/// The largest deviation from a digest of a tensor of `count` elements: of sums by the sum of absolute values, of
/// single values by the largest of them, or the mean.
pub(crate) fn deviation(got: &[f64], want: &Value, count: usize) -> f64 {
    let want: Vec<f64> = want.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(got.len(), want.len());
    let largest = want[3..].iter().fold(want[1] / count as f64, |m, v| m.max(v.abs()));
    let scale = |i: usize| if i < 3 { want[1] } else { largest };
    // A NaN is to fail, so it must not vanish in a maximum.
    let off = |i: usize| Some((got[i] - want[i]).abs() / scale(i)).filter(|d| !d.is_nan()).unwrap_or(f64::INFINITY);
    (0..want.len()).map(off).fold(0.0, f64::max)
}
