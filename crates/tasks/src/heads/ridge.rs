//! Ridge regression, in closed form.
//!
//! A linear head of a number with an L2 penalty (Hoerl and Kennard 1970), fitted on frozen features by one solve in `f64`.
//! It is what `logistic_regression` is for classes: deterministic, without a learning rate or epochs, and good with few
//! labels. The strength of the penalty is chosen by leave-one-out on the labels at hand, which is exact and costs nothing
//! beyond the solve (Allen 1974), so no validation rows are needed.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Error, Features, Field, HIDDEN, HeadFit, Invalid, Module, Plugins, Result, Schema,
    Scope,
};

use super::scale::Scale;
use super::{Rows, Scaling, numbered};
use crate::classification::width;
use crate::regression::{VALUE, in_target_s_unit, scale_of};

/// A linear head of a number with an L2 penalty, fitted in closed form.
///
/// The head to take for `regression` when features are frozen. The strength of the penalty is chosen on the labels at
/// hand, so no validation rows are needed (Hoerl and Kennard 1970).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RidgeOptions {
    /// Strengths of the penalty (above 0; the loss is the *sum* of squared errors, and the intercept is free, as in
    /// scikit-learn). Of several, the one with the smallest squared error of left-out rows is taken.
    pub alpha: Vec<f64>,
    /// How features are scaled while the head is fitted.
    pub scaling: Scaling,
}

impl Default for RidgeOptions {
    fn default() -> Self {
        Self { alpha: vec![0.1, 1.0, 10.0, 100.0, 1000.0], scaling: Scaling::None }
    }
}

/// Fits a linear head by ridge regression, that of scikit-learn's `Ridge(alpha)`. Keeps what the head of
/// `regression` does, so that a later step can train it on: `weight [1, width]` and `bias [1]` of a target of mean 0 and
/// deviation 1, and its `mean [1]` and `deviation [1]`; puts out the number under `value`, `[rows, 1]`.
#[derive(Debug, Clone, Default)]
pub struct Ridge(RidgeOptions);

impl Ridge {
    /// With these options.
    ///
    /// # Errors
    /// When `alpha` is empty or holds a value that is not positive.
    pub fn new(options: RidgeOptions) -> Result<Self, Invalid> {
        if options.alpha.is_empty() || options.alpha.iter().any(|a| !(a.is_finite() && *a > 0.0)) {
            return Err(Invalid::key("alpha", "needs one or more numbers above 0"));
        }
        Ok(Self(options))
    }
}

impl Component<dyn HeadFit> for Ridge {
    const TYPE: &'static str = "ridge";
    type Options = RidgeOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn HeadFit>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl HeadFit for Ridge {
    fn name(&self) -> &'static str {
        <Self as Component<dyn HeadFit>>::TYPE
    }

    fn suits(&self, field: &Field) -> bool {
        *field == Field::Number
    }

    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        field: &Field,
        _: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        if !self.suits(field) {
            let message = format!("this head is for numbers, and the target is {}", field.learned_as());
            return Err(Invalid::new(message).into());
        }
        let (rows, y) = numbered(f, target)?;
        let scale = Scale::of(&rows, self.0.scaling);
        let x = scale.apply(&rows);
        let centred = Centred::new(&x, &y);
        let mut alphas = self.0.alpha.clone();
        // Of equals the stronger penalty is taken.
        alphas.sort_by(|a, b| b.total_cmp(a));
        let mut best = (f64::INFINITY, alphas[0]);
        if alphas.len() > 1 && y.len() > 1 {
            for alpha in alphas {
                let error = centred.left_out(alpha)?;
                if error < best.0 {
                    best = (error, alpha);
                }
            }
        }
        let (mut coefficients, intercept) = centred.solve(best.1)?;
        coefficients.push(intercept);
        let (mut weight, mut bias) = scale.plain_head(&coefficients);
        let (mean, deviation) = scale_of(y.iter().copied());
        weight.iter_mut().for_each(|w| *w /= deviation);
        bias.iter_mut().for_each(|b| *b = (*b - mean) / deviation);
        let tensor = |v: Vec<f64>, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu)?.to_dtype(DType::F32);
        Ok(BTreeMap::from([
            ("weight".to_owned(), tensor(weight, &[1, rows.width])?),
            ("bias".to_owned(), tensor(bias, &[1])?),
            ("mean".to_owned(), tensor(vec![mean], &[1])?),
            ("deviation".to_owned(), tensor(vec![deviation], &[1])?),
        ]))
    }

    fn build(&self, features: &Schema, _: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        let there = ["weight", "bias", "mean", "deviation"].into_iter();
        let there = there.filter_map(|name| Some((name.to_owned(), scope.find(name)?))).collect();
        let linear = match in_target_s_unit(&there)? {
            Some(linear) => linear,
            None => {
                let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, scope.device());
                let (weight, bias) = (zeros(&[1, width(features)?])?, zeros(&[1])?);
                BTreeMap::from([("weight".to_owned(), weight), ("bias".to_owned(), bias)])
            }
        };
        Ok(Box::new(Linear { weight: linear["weight"].clone(), bias: linear["bias"].clone() }))
    }

    fn shapes(&self, width: usize, _: &Field) -> Vec<(&'static str, Vec<usize>)> {
        vec![("weight", vec![1, width]), ("bias", vec![1]), ("mean", vec![1]), ("deviation", vec![1])]
    }

    fn linear(&self, fitted: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        in_target_s_unit(fitted)
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Module for Linear {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        let value = acts.get(HIDDEN)?.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        Ok(Acts::new().with(VALUE, value))
    }
}

/// Features and numbers without their means, and what is solved for all strengths: the products of features where there
/// are fewer of them than rows, otherwise of rows.
struct Centred {
    x: Rows,
    y: Vec<f64>,
    means: (Vec<f64>, f64),
    products: Vec<f64>,
    of_features: bool,
}

impl Centred {
    /// The last column of `x`, of ones, is left out.
    fn new(x: &Rows, y: &[f64]) -> Self {
        let (n, width) = (x.len() as f64, x.width - 1);
        let mut mean = vec![0.0; width];
        x.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / n));
        let of_y = y.iter().sum::<f64>() / n;
        let values = x.iter().flat_map(|row| row.iter().zip(&mean).map(|(v, m)| v - m)).collect();
        let x = Rows { width, values };
        let of_features = width <= x.len();
        let products = if of_features { products(&transposed(&x)) } else { products(&x) };
        Self { x, y: y.iter().map(|v| v - of_y).collect(), means: (mean, of_y), products, of_features }
    }

    fn factor(&self, alpha: f64) -> Result<Cholesky> {
        let n = if self.of_features { self.x.width } else { self.x.len() };
        let mut a = self.products.clone();
        (0..n).for_each(|i| a[i * n + i] += alpha);
        Cholesky::of(a, n)
    }

    /// Coefficients and intercept.
    fn solve(&self, alpha: f64) -> Result<(Vec<f64>, f64)> {
        let factor = self.factor(alpha)?;
        let by_features = |v: &[f64]| {
            let mut sum = vec![0.0; self.x.width];
            self.x.iter().zip(v).for_each(|(row, v)| sum.iter_mut().zip(row).for_each(|(s, x)| *s += v * x));
            sum
        };
        let coefficients = match self.of_features {
            true => factor.solve(by_features(&self.y)),
            false => by_features(&factor.solve(self.y.clone())),
        };
        let shift: f64 = coefficients.iter().zip(&self.means.0).map(|(c, m)| c * m).sum();
        Ok((coefficients, self.means.1 - shift))
    }

    /// The mean squared error of each row when it is left out: the residual over one minus the row's leverage.
    fn left_out(&self, alpha: f64) -> Result<f64> {
        let (n, factor) = (self.x.len(), self.factor(alpha)?);
        let (coefficients, _) = self.solve(alpha)?;
        let mut sum = 0.0;
        for (i, row) in self.x.iter().enumerate() {
            let leverage = if self.of_features {
                let half = factor.half(row.to_vec());
                half.iter().map(|v| v * v).sum::<f64>()
            } else {
                let half = factor.half((0..n).map(|j| self.products[i * n + j]).collect());
                let of_row = self.products[i * n + i];
                (of_row - half.iter().map(|v| v * v).sum::<f64>()) / alpha
            };
            // The mean that was taken away is a leverage of its own.
            let free = (1.0 - 1.0 / n as f64 - leverage).max(1e-12);
            let said: f64 = row.iter().zip(&coefficients).map(|(x, c)| x * c).sum();
            sum += ((self.y[i] - said) / free).powi(2);
        }
        Ok(sum / n as f64)
    }
}

fn transposed(x: &Rows) -> Rows {
    let (rows, width) = (x.len(), x.width);
    let values =
        (0..width).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| x.values[i * width + j]).collect();
    Rows { width: rows, values }
}

/// The products of all pairs of rows, `[rows, rows]`.
fn products(x: &Rows) -> Vec<f64> {
    let n = x.len();
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let product: f64 = x.row(i).iter().zip(x.row(j)).map(|(a, b)| a * b).sum();
            (out[i * n + j], out[j * n + i]) = (product, product);
        }
    }
    out
}

/// The lower triangle L of a positive definite matrix L·Lᵀ, `[n, n]`.
struct Cholesky {
    l: Vec<f64>,
    n: usize,
}

impl Cholesky {
    fn of(mut a: Vec<f64>, n: usize) -> Result<Self> {
        for i in 0..n {
            let (above, rest) = a.split_at_mut(i * n);
            let row = &mut rest[..n];
            for j in 0..i {
                let other = &above[j * n..(j + 1) * n];
                let dot: f64 = row[..j].iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
                row[j] = (row[j] - dot) / other[j];
            }
            let square = row[i] - row[..i].iter().map(|v| v * v).sum::<f64>();
            if !(square > 0.0 && square.is_finite()) {
                let message = "the features are too large or too alike for this penalty: raise `alpha`, or scale them";
                return Err(Error::data("features", None, message));
            }
            row[i] = square.sqrt();
        }
        Ok(Self { l: a, n })
    }

    /// L⁻¹·b.
    fn half(&self, mut b: Vec<f64>) -> Vec<f64> {
        for i in 0..self.n {
            let row = &self.l[i * self.n..];
            let dot: f64 = row[..i].iter().zip(&b[..i]).map(|(l, b)| l * b).sum();
            b[i] = (b[i] - dot) / row[i];
        }
        b
    }

    /// The solution of L·Lᵀ·x = b.
    fn solve(&self, b: Vec<f64>) -> Vec<f64> {
        let mut x = self.half(b);
        for i in (0..self.n).rev() {
            x[i] /= self.l[i * self.n + i];
            let (before, at) = x.split_at_mut(i);
            before.iter_mut().zip(&self.l[i * self.n..]).for_each(|(x, l)| *x -= l * at[0]);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{class_field, features, matrix};
    use super::*;
    use serde_json::Value;
    use std::sync::Arc;
    use transplant_core::{Origin, Params, Plan, Role, Seeds};

    fn numbers(v: &Value) -> Vec<f32> {
        serde_json::from_value(v.clone()).unwrap()
    }

    fn values(head: &Ridge, x: &Tensor, y: Option<&Tensor>, queries: &Tensor) -> Result<Vec<f32>> {
        let params = Params::new(&Device::Cpu);
        if let Some(y) = y {
            for (name, t) in head.fit(&features(x.clone()), y, &Field::Number, &BTreeMap::new())? {
                params.insert(&name, &t, Role::Buffer, Origin::Fitted { by: "ridge".to_owned() })?;
            }
        }
        let scope = Scope::new(&params, Arc::new(Plan::default()), Seeds::new(0), DType::F32);
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: x.dim(1)? })]);
        let module = head.build(&schema, &Field::Number, &scope)?;
        let out = module.forward(&Acts::hidden(queries.clone()), &mut Ctx::eval(&[]))?;
        Ok(out.get(VALUE)?.flatten_all()?.to_vec1()?)
    }

    /// Tall and wide features, with one strength and several: scikit-learn's `Ridge` and `RidgeCV`.
    #[test]
    fn predicts_as_scikit_learn() -> Result<()> {
        // Written by `tests/goldens/generate_regression.py` of the repository.
        let goldens: Value = serde_json::from_str(include_str!("../../goldens/ridge.json")).unwrap();
        let cases = goldens["ridge"].as_array().unwrap();
        assert_eq!(cases.len(), 10);
        for case in cases {
            let alpha = serde_json::from_value(case["alpha"].clone()).unwrap();
            let scaling = serde_json::from_value(case["scaling"].clone()).unwrap();
            let head = Ridge::new(RidgeOptions { alpha, scaling })?;
            let (x, q) = (matrix(&case["x"]), matrix(&case["queries"]));
            let y = Tensor::new(numbers(&case["y"]), &Device::Cpu)?;
            let said = values(&head, &x, Some(&y), &q)?;
            let wanted = numbers(&case["values"]);
            assert!(
                said.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-5 * b.abs().max(1.0)),
                "{said:?} {wanted:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn says_zero_before_a_fit_and_refuses_classes() -> Result<()> {
        let x = Tensor::new(&[[0f32, 1.0], [1.0, 0.0]], &Device::Cpu)?;
        assert_eq!(values(&Ridge::default(), &x, None, &x)?, [0.0, 0.0]);
        let y = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
        let classes = Ridge::default().fit(&features(x.clone()), &y, &class_field(2), &BTreeMap::new());
        assert!(classes.unwrap_err().to_string().contains("for numbers, and the target is one of 2 classes"));
        let nan = Tensor::new(&[1f32, f32::NAN], &Device::Cpu)?;
        let fit = |y: &Tensor| Ridge::default().fit(&features(x.clone()), y, &Field::Number, &BTreeMap::new());
        assert!(fit(&nan).unwrap_err().to_string().contains("row 1: a label is not a finite number"));
        assert!(fit(&Tensor::new(&[1f32], &Device::Cpu)?).unwrap_err().to_string().contains("got 1 for 2 rows"));
        for alpha in [vec![], vec![0.0], vec![1.0, f64::NAN]] {
            assert!(Ridge::new(RidgeOptions { alpha, ..RidgeOptions::default() }).is_err());
        }
        Ok(())
    }
}
