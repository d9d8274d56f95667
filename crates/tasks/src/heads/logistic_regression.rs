//! Logistic regression, to convergence.
//!
//! A linear head with an L2 penalty, fitted on frozen features by Newton's method in `f64`. Where the labels are the
//! same in the source, the penalty pulls towards the source's head instead of towards zero (Chelba and Acero 2006): on
//! MNIST → optdigits at two labels a class that is worth three to five points. The strength of the penalty is chosen by
//! leave-one-out on the labels at hand, so no validation rows are needed. The result is a plain linear head, which a
//! later step can load and fine-tune (Kumar et al. 2022).
//!
//! Use it by default whenever features are frozen; `knn` and `nearest_prototype` need less and give less.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Features, Field, HIDDEN, HeadFit, Invalid, Module, Plugins, Result, Schema, Scope,
};

use super::scale::Scale;
use super::softmax::Softmax;
use super::{ClassWeight, LOGITS, Rows, Scaling, Uniform, class_count, labelled};

/// A linear classifier with an L2 penalty, fitted to convergence.
///
/// The head to take by default when features are frozen. The strength of the penalty is chosen on the labels at hand,
/// so no validation rows are needed. Where the labels are the source's, the penalty pulls towards the source's head
/// (Chelba and Acero 2006).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticRegressionOptions {
    /// Inverse strengths of the penalty (above 0; the loss is the *sum* over rows, and two classes share one set of
    /// coefficients, as in scikit-learn). Of several, the one with the highest likelihood of held-out rows is taken:
    /// leave-one-out up to 50 rows, ten stratified folds above.
    pub c: Vec<f64>,
    /// Whether the penalty is on the intercepts (biases) too; in scikit-learn it is not. Where it pulls towards the
    /// source's head, or a class has no labelled row, it always is.
    pub penalise_intercept: bool,
    /// Pull towards the source's head where the labels are the same; otherwise always towards zero.
    pub towards_source: bool,
    /// How features are scaled while the head is fitted.
    pub scaling: Scaling,
    /// What the rows of each class count, also where `c` is chosen: `none` (each row 1) or `balanced` (each class
    /// alike).
    pub class_weight: ClassWeight,
}

impl Default for LogisticRegressionOptions {
    fn default() -> Self {
        let c = vec![0.1, 0.3, 1.0, 3.0, 10.0];
        Self {
            c,
            penalise_intercept: false,
            towards_source: true,
            scaling: Scaling::None,
            class_weight: ClassWeight::None,
        }
    }
}

/// Fits a linear head by regularised logistic regression: with `towards_source = false` the one of scikit-learn's
/// `LogisticRegression(C=c)`. Keeps `weight [classes, width]` and `bias [classes]`. A class without a labelled row
/// stays where the penalty pulls it to.
#[derive(Debug, Clone, Default)]
pub struct LogisticRegression(LogisticRegressionOptions);

impl LogisticRegression {
    /// With these options.
    ///
    /// # Errors
    /// When `c` is empty or holds a value that is not positive.
    pub fn new(options: LogisticRegressionOptions) -> Result<Self, Invalid> {
        if options.c.is_empty() || options.c.iter().any(|c| !(c.is_finite() && *c > 0.0)) {
            return Err(Invalid::key("c", "needs one or more numbers above 0"));
        }
        Ok(Self(options))
    }
}

impl Component<dyn HeadFit> for LogisticRegression {
    const TYPE: &'static str = "logistic_regression";
    type Options = LogisticRegressionOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn HeadFit>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl HeadFit for LogisticRegression {
    fn name(&self) -> &'static str {
        <Self as Component<dyn HeadFit>>::TYPE
    }

    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        field: &Field,
        prior: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let classes = class_count(field)?;
        let (rows, y) = labelled(f, target, classes)?;
        let scale = Scale::of(&rows, self.0.scaling);
        let x = scale.apply(&rows);
        let source = source_head(prior, classes, rows.width)?.filter(|_| self.0.towards_source);
        // The source's intercepts are as much of its head as its weights.
        let penalise_intercept = self.0.penalise_intercept || source.is_some();
        let towards = match source {
            Some((weight, bias)) => scale.scaled_head(&weight, &bias),
            None => vec![0.0; x.width * classes],
        };
        let weight = self.0.class_weight.of(&y, classes);
        let fit = Fit { x: &x, y: &y, weight: &weight, classes, penalise_intercept, towards: &towards };
        let c = fit.choose(&self.0.c, &folds(&y, classes))?;
        let (weight, bias) = scale.plain_head(&fit.problem(c, &weight).minimise(&towards)?);
        let tensor = |v: Vec<f64>, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu)?.to_dtype(DType::F32);
        Ok(BTreeMap::from([
            ("weight".to_owned(), tensor(weight, &[classes, rows.width])?),
            ("bias".to_owned(), tensor(bias, &[classes])?),
        ]))
    }

    fn build(&self, _: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        let classes = class_count(field)?;
        Ok(match (scope.find("weight"), scope.find("bias")) {
            (Some(weight), Some(bias)) => Box::new(Linear { weight, bias }),
            _ => Box::new(Uniform { classes }),
        })
    }

    fn shapes(&self, width: usize, field: &Field) -> Vec<(&'static str, Vec<usize>)> {
        let Field::Class { names } = field else { return Vec::new() };
        let classes = names.len();
        vec![("weight", vec![classes, width]), ("bias", vec![classes])]
    }

    fn linear(&self, fitted: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        Ok(fitted.contains_key("weight").then(|| fitted.clone()))
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Module for Linear {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        let logits = acts.get(HIDDEN)?.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        Ok(Acts::new().with(LOGITS, logits))
    }
}

/// The source's head, when it is a linear one of the right size.
fn source_head(prior: &BTreeMap<String, Tensor>, classes: usize, width: usize) -> Result<Option<(Rows, Vec<f64>)>> {
    let (Some(weight), Some(bias)) = (prior.get("weight"), prior.get("bias")) else { return Ok(None) };
    if weight.dims() != [classes, width] || bias.dims() != [classes] {
        return Ok(None);
    }
    Ok(Some((Rows::of(weight)?, Rows::of(&bias.unsqueeze(0)?)?.values)))
}

/// What a penalty's strength is chosen for.
struct Fit<'a> {
    x: &'a Rows,
    y: &'a [usize],
    weight: &'a [f64],
    classes: usize,
    penalise_intercept: bool,
    towards: &'a [f64],
}

impl<'a> Fit<'a> {
    fn problem<'b>(&self, c: f64, weight: &'b [f64]) -> Softmax<'b, Rows>
    where
        'a: 'b,
    {
        let Self { x, y, classes, towards, .. } = *self;
        let mut seen = vec![false; classes];
        y.iter().zip(weight).filter(|(_, w)| **w > 0.0).for_each(|(class, _)| seen[*class] = true);
        // Without a row of a class its free bias would fall for ever.
        let free_bias = !self.penalise_intercept && seen.iter().all(|s| *s);
        Softmax { x, y, weight, classes, pull: strength(c, classes), free_bias, towards }
    }

    /// The strength under which held-out rows are likeliest; of equals the smaller, that is the stronger penalty.
    fn choose(&self, c: &[f64], folds: &[usize]) -> Result<f64> {
        let mut candidates = c.to_vec();
        candidates.sort_by(f64::total_cmp);
        let count = folds.iter().max().map_or(0, |f| f + 1);
        let mut best = (f64::NEG_INFINITY, candidates[0]);
        if candidates.len() == 1 || count < 2 {
            return Ok(best.1);
        }
        let mut from = self.towards.to_vec();
        for c in candidates {
            from = self.problem(c, self.weight).minimise(&from)?;
            let mut likelihood = 0.0;
            for fold in 0..count {
                let in_fold =
                    |(weight, of): (&f64, &usize), inside| if (*of == fold) == inside { *weight } else { 0.0 };
                let part = |inside| self.weight.iter().zip(folds).map(move |row| in_fold(row, inside));
                let kept: Vec<f64> = part(false).collect();
                let problem = self.problem(c, &kept);
                let all = problem.log_likelihoods(&problem.minimise(&from)?);
                likelihood += part(true).zip(all).map(|(weight, l)| weight * l).sum::<f64>();
            }
            if likelihood > best.0 {
                best = (likelihood, c);
            }
        }
        Ok(best.1)
    }
}

/// What each square of a coefficient counts. Two classes share one set of coefficients: each has half of it, and half
/// the square of a half, twice, is a quarter.
pub(super) fn strength(c: f64, classes: usize) -> f64 {
    if classes == 2 { 2.0 / c } else { 1.0 / c }
}

/// The fold in which each row is held out: its own, or one of ten in which every class has its share.
fn folds(y: &[usize], classes: usize) -> Vec<usize> {
    if y.len() <= 50 {
        return (0..y.len()).collect();
    }
    let mut rows: Vec<usize> = (0..y.len()).collect();
    rows.sort_by_key(|&i| (y[i].min(classes), i));
    let mut out = vec![0; y.len()];
    rows.into_iter().enumerate().for_each(|(place, i)| out[i] = place % 10);
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{class_field, features, goldens, labels, logits, matrix};
    use super::*;

    fn head(c: &[f64], scaling: Scaling) -> LogisticRegression {
        LogisticRegression::new(LogisticRegressionOptions { c: c.to_vec(), scaling, ..Default::default() }).unwrap()
    }

    fn near(a: &[Vec<f32>], b: &Tensor, tolerance: f32) -> Result<()> {
        let b: Vec<f32> = b.flatten_all()?.to_vec1()?;
        for (a, b) in a.iter().flatten().zip(&b) {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} is not {b}");
        }
        Ok(())
    }

    #[test]
    fn agrees_with_scikit_learn_and_scipy() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        for case in g["logistic_regression"].as_array().unwrap() {
            let scaling = serde_json::from_value(case["scaling"].clone()).unwrap();
            let prior = match case.get("prior_weight") {
                Some(w) => {
                    let bias = matrix(&serde_json::json!([case["prior_bias"]])).squeeze(0)?;
                    BTreeMap::from([("weight".to_owned(), matrix(w)), ("bias".to_owned(), bias)])
                }
                None => BTreeMap::new(),
            };
            let head = head(&[case["c"].as_f64().unwrap()], scaling);
            near(&logits(&head, Some((&x, &y, &prior)), 3, &q)?, &matrix(&case["logits"]), 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn two_classes_are_those_of_scikit_learn() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        let first = |classes: u32| -> Result<(Tensor, Tensor)> {
            let rows =
                (0..).zip(y.to_vec1::<u32>()?).filter(|(_, c)| *c < classes).map(|(i, _)| i).collect::<Vec<u32>>();
            let rows = Tensor::new(rows, &Device::Cpu)?;
            Ok((x.index_select(&rows, 0)?, y.index_select(&rows, 0)?))
        };
        let (two, of_two) = first(2)?;
        for case in g["two_classes"].as_array().unwrap() {
            let head = head(&[case["c"].as_f64().unwrap()], Scaling::None);
            near(&logits(&head, Some((&two, &of_two, &BTreeMap::new())), 2, &q)?, &matrix(&case["logits"]), 2e-5)?;
        }
        for case in g["penalised"].as_array().unwrap() {
            let (c, classes) = (vec![case["c"].as_f64().unwrap()], case["classes"].as_u64().unwrap());
            let options = LogisticRegressionOptions { c, penalise_intercept: true, ..Default::default() };
            let (x, y) = first(classes as u32)?;
            let got =
                logits(&LogisticRegression::new(options)?, Some((&x, &y, &BTreeMap::new())), classes as usize, &q)?;
            near(&got, &matrix(&case["logits"]), 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn balanced_classes_are_those_of_scikit_learn() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        for case in g["balanced"].as_array().unwrap() {
            let at = labels(&case["rows"]);
            let (x, y) = (x.index_select(&at, 0)?, y.index_select(&at, 0)?);
            let (c, class_weight) = (vec![case["c"].as_f64().unwrap()], ClassWeight::Balanced);
            let head = LogisticRegression::new(LogisticRegressionOptions { c, class_weight, ..Default::default() })?;
            near(&logits(&head, Some((&x, &y, &BTreeMap::new())), 3, &q)?, &matrix(&case["logits"]), 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn features_that_do_not_vary_are_those_of_scikit_learn_too() -> Result<()> {
        let mut a = vec![0f32; 48 * 384];
        for (at, v) in a.iter_mut().enumerate() {
            let (i, j) = (at / 384, at % 384);
            *v = (((at as u64 * 2_654_435_761) % (1 << 32)) >> 16) as f32 / 65536.0 - 0.5;
            if j % 7 == 0 {
                *v += (i % 2) as f32 / 4.0;
            }
            if let Some(same) = [(5, 0.1), (100, 0.0), (300, -7.25)].iter().find(|s| s.0 == j && i < 40) {
                *v = same.1;
            }
        }
        let a = Tensor::from_vec(a, (48, 384), &Device::Cpu)?;
        let (x, q) = (a.narrow(0, 0, 40)?, a.narrow(0, 40, 8)?);
        let y = Tensor::new((0..40).map(|i| i % 2).collect::<Vec<u32>>(), &Device::Cpu)?;
        for case in goldens()["wide"].as_array().unwrap() {
            let head = head(&[case["c"].as_f64().unwrap()], Scaling::Standard);
            near(&logits(&head, Some((&x, &y, &BTreeMap::new())), 2, &q)?, &matrix(&case["logits"]), 2e-5)?;
        }
        Ok(())
    }

    #[test]
    fn c_is_the_one_that_leave_one_out_prefers() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        let none = BTreeMap::new();
        let grid: Vec<f64> = serde_json::from_value(g["leave_one_out"]["grid"].clone()).unwrap();
        let chosen = logits(&head(&grid, Scaling::None), Some((&x, &y, &none)), 3, &q)?;
        let best = head(&[g["leave_one_out"]["best"].as_f64().unwrap()], Scaling::None);
        assert_eq!(chosen, logits(&best, Some((&x, &y, &none)), 3, &q)?);
        Ok(())
    }

    #[test]
    fn folds_hold_out_every_row_once_and_every_class_alike() {
        assert_eq!(folds(&[1, 0, 1], 2), [0, 1, 2]);
        let y: Vec<usize> = (0..200).map(|i| i % 4).collect();
        let f = folds(&y, 4);
        for fold in 0..10 {
            for class in 0..4 {
                assert_eq!((0..200).filter(|&i| f[i] == fold && y[i] == class).count(), 5);
            }
        }
    }

    #[test]
    fn a_class_without_rows_stays_at_the_source_head() -> Result<()> {
        let x = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], &Device::Cpu)?;
        let y = Tensor::new(&[0u32, 1], &Device::Cpu)?;
        let weight = Tensor::new(&[[1f32, 0.0], [0.0, 1.0], [-5.0, -5.0]], &Device::Cpu)?;
        let prior = BTreeMap::from([
            ("weight".to_owned(), weight),
            ("bias".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu)?),
        ]);
        let w =
            head(&[0.1], Scaling::None).fit(&features(x), &y, &class_field(3), &prior)?["weight"].to_vec2::<f32>()?;
        assert!((w[2][0] + 5.0).abs() < 0.05, "{w:?}");
        Ok(())
    }

    #[test]
    fn a_penalty_that_is_not_positive_is_refused() {
        let e = LogisticRegression::new(LogisticRegressionOptions { c: vec![0.0], ..Default::default() }).unwrap_err();
        assert!(e.to_string().starts_with("c: "));
    }

    /// Rows of factors that features share, as those of a network do; without a random number.
    fn made(rows: usize, width: usize, classes: usize) -> Result<(Tensor, Tensor)> {
        let noise = |i: usize, j: usize| (i * 7919 + j).wrapping_mul(2_654_435_761) % 65536;
        let noise = |i: usize, j: usize| noise(noise(i, j), i ^ j) as f32 / 32768.0 - 1.0;
        let factors = 24;
        let mut x = vec![0f32; rows * width];
        for (i, row) in x.chunks_exact_mut(width).enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                let shared: f32 = (0..factors)
                    .map(|f| {
                        (noise(i, 5000 + f) + f32::from(u8::from(i % classes == f % classes))) * noise(100_000 + f, j)
                    })
                    .sum();
                *v = 3.0 + shared + 2.0 * noise(i, j);
            }
        }
        let y = (0..rows).map(|i| (i % classes) as u32).collect::<Vec<_>>();
        Ok((Tensor::from_vec(x, (rows, width), &Device::Cpu)?, Tensor::new(y, &Device::Cpu)?))
    }

    #[test]
    #[ignore = "a measurement"]
    fn how_long_a_fit_takes() -> Result<()> {
        for (rows, width, classes, c) in [(1500, 1280, 9, 0.01), (13000, 384, 2, 1.0), (13000, 384, 2, 0.01)] {
            let (x, y) = made(rows, width, classes)?;
            let (head, start) = (head(&[c], Scaling::Standard), std::time::Instant::now());
            head.fit(&features(x), &y, &class_field(classes), &BTreeMap::new())?;
            println!("{rows} rows, {width} features, {classes} classes, c = {c}: {:?}", start.elapsed());
        }
        Ok(())
    }
}
