//! Scaling of features while a head is fitted, and what it does to the head.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rows;

/// How features are scaled while the head is fitted; the fitted head takes unscaled features either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// As they are. Best for features that one network made: their relative sizes carry meaning.
    #[default]
    None,
    /// Centred, and divided by one number: the standard deviation over all of them.
    Shared,
    /// Centred, and each divided by its own standard deviation; constant ones are centred only.
    Standard,
}

/// `x' = (x − mean) / std`, with a column of ones behind it.
pub(crate) struct Scale {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Scale {
    pub(crate) fn of(x: &Rows, scaling: Scaling) -> Self {
        let (n, width) = (x.len() as f64, x.width);
        let mut mean = vec![0.0; width];
        let mut variance = vec![0.0; width];
        if scaling != Scaling::None {
            x.iter().for_each(|r| mean.iter_mut().zip(r).for_each(|(m, v)| *m += v / n));
            for r in x.iter() {
                variance.iter_mut().zip(r.iter().zip(&mean)).for_each(|(s, (v, m))| *s += (v - m) * (v - m) / n);
            }
        }
        if scaling == Scaling::Shared {
            let shared = variance.iter().sum::<f64>() / width as f64;
            variance.fill(shared);
        }
        // A feature that does not vary, rounding aside, tells nothing: dividing by its deviation would blow up noise.
        let usable = |v: f64, m: f64| v.sqrt() > 1e-6 * m.abs().max(1e-6);
        let std = variance.iter().zip(&mean).map(|(v, m)| if usable(*v, *m) { v.sqrt() } else { 1.0 }).collect();
        Self { mean, std }
    }

    pub(crate) fn apply(&self, x: &Rows) -> Rows {
        let scaled = |r: &[f64]| -> Vec<f64> {
            r.iter().zip(self.mean.iter().zip(&self.std)).map(|(v, (m, s))| (v - m) / s).chain([1.0]).collect()
        };
        Rows { width: x.width + 1, values: x.iter().flat_map(scaled).collect() }
    }

    /// A head for unscaled features as coefficients `[classes, width + 1]` for scaled ones.
    pub(crate) fn scaled_head(&self, weight: &Rows, bias: &[f64]) -> Vec<f64> {
        let scaled = |(w, b): (&[f64], &f64)| -> Vec<f64> {
            let shift = b + w.iter().zip(&self.mean).map(|(w, m)| w * m).sum::<f64>();
            w.iter().zip(&self.std).map(|(w, s)| w * s).chain([shift]).collect()
        };
        weight.iter().zip(bias).flat_map(scaled).collect()
    }

    /// The other way: `weight [classes, width]` and `bias [classes]`.
    pub(crate) fn plain_head(&self, t: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for t in t.chunks_exact(self.mean.len() + 1) {
            let plain: Vec<f64> = t.iter().zip(&self.std).map(|(t, s)| t / s).collect();
            bias.push(t[plain.len()] - plain.iter().zip(&self.mean).map(|(w, m)| w * m).sum::<f64>());
            weight.extend(plain);
        }
        (weight, bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_feature_is_centred_only_and_a_head_comes_back_as_it_went() {
        let x = Rows { width: 2, values: vec![1.0, 0.1, 3.0, 0.1] };
        for scaling in [Scaling::None, Scaling::Shared, Scaling::Standard] {
            let scale = Scale::of(&x, scaling);
            let weight = Rows { width: 2, values: vec![1.0, 2.0, -3.0, 4.0] };
            let (w, b) = scale.plain_head(&scale.scaled_head(&weight, &[0.5, 0.25]));
            let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(close(&w, &weight.values) && close(&b, &[0.5, 0.25]), "{scaling:?}");
        }
        assert_eq!(Scale::of(&x, Scaling::Standard).apply(&x).values, [-1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
    }
}
