//! `standardise`: each column less its mean, divided by its standard deviation, both of the rows that are learned from: what brings
//! numbers of different units to one scale. The `StandardScaler` of scikit-learn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Carried, Component, Error, Field, HIDDEN, Invalid, Result, Schema, Transform, TransformCx,
};

/// Subtracts from each column its mean and divides it by its standard deviation.
///
/// Both are those of the rows that a cell learns from, of several streams those of the main one, never of validation or test rows, and stay with the model. A
/// column that is the same in all of these rows is only shifted. Missing values (NaN) do not count, and stay missing.
/// Rows must be vectors, as those of `table` are; columns of zeros and ones are columns like others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// A file with the numbers of another model, `standardise.csv` in its folder; left out: they are fitted to the rows
    /// that are learned from.
    pub fitted: Option<PathBuf>,
}

/// Columns of mean 0 and standard deviation 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standardise {
    /// Mean and divisor of each column; none before it is fitted.
    columns: Option<Vec<[f64; 2]>>,
}

const HEADER: &str = "mean,std";

impl Standardise {
    /// Not fitted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// By the numbers in a file.
    ///
    /// # Errors
    /// When it cannot be read or holds others.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let mut lines = text.lines();
        let column = |(row, line): (u64, &str)| {
            let numbers = line.split_once(',').and_then(|(mean, std)| Some([mean.parse().ok()?, std.parse().ok()?]));
            let valid = numbers.filter(|[mean, std]: &[f64; 2]| mean.is_finite() && std.is_finite() && *std > 0.);
            valid.ok_or_else(|| Error::data(path, Some(row), format!("`{line}` is not a mean and a deviation above 0")))
        };
        if lines.next() != Some(HEADER) {
            return Err(Error::data(path, None, format!("does not begin with `{HEADER}`")));
        }
        Ok(Self { columns: Some((0..).zip(lines).map(column).collect::<Result<_>>()?) })
    }
}

/// Count, mean and sum of squared differences of a column so far (Welford 1962).
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.;
        let from_old = value - self.mean;
        self.mean += from_old / self.count;
        self.squares += from_old * (value - self.mean);
    }

    /// Mean and divisor. What varies no more than rounding does is taken to be constant, by the bound of scikit-learn.
    fn column(&self) -> [f64; 2] {
        let variance = if self.count > 0. { self.squares / self.count } else { 0. };
        let bound = self.count * f64::EPSILON * variance + (self.count * self.mean * f64::EPSILON).powi(2);
        [self.mean, if variance <= bound { 1. } else { variance.sqrt() }]
    }
}

impl Transform for Standardise {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        let Some(Field::Vector { width }) = inputs.get(HIDDEN) else {
            return Err(Invalid::new("needs rows that are vectors, and the data set's are none").into());
        };
        match &self.columns {
            Some(columns) if columns.len() != *width => {
                Err(Invalid::key("fitted", format!("was fitted to {} columns, and there are {width}", columns.len()))
                    .into())
            }
            _ => Ok(inputs.clone()),
        }
    }

    fn fit(&self, learned: &mut dyn Iterator<Item = Result<Acts>>) -> Result<Option<Arc<dyn Transform>>> {
        if self.columns.is_some() {
            return Ok(None);
        }
        let mut moments = Vec::new();
        for inputs in learned {
            for row in inputs?.get(HIDDEN)?.to_vec2::<f32>()? {
                moments.resize(row.len(), Moments::default());
                let there = moments.iter_mut().zip(&row).filter(|(_, value)| !value.is_nan());
                there.for_each(|(column, value)| column.add(f64::from(*value)));
            }
        }
        let columns = moments.iter().map(Moments::column).collect();
        Ok(Some(Arc::new(Self { columns: Some(columns) })))
    }

    fn carried(&self) -> Option<Carried> {
        // Written in full, so that the same numbers are read.
        let line = |[mean, std]: &[f64; 2]| format!("{mean:?},{std:?}\n");
        let lines: String = self.columns.as_ref()?.iter().map(line).collect();
        let content = format!("{HEADER}\n{lines}").into_bytes();
        Some(Carried { option: "fitted", name: "standardise.csv".to_owned(), content })
    }

    fn apply(&self, inputs: Acts, _: &TransformCx<'_>) -> Result<Acts> {
        let Some(columns) = &self.columns else {
            return Err(Error::contract("`standardise` is applied before it was fitted"));
        };
        let values = inputs.get(HIDDEN)?;
        let (rows, width) = values.dims2()?;
        if width != columns.len() {
            return Err(Error::contract(format!(
                "`standardise` was fitted to {} columns, not to {width}",
                columns.len()
            )));
        }
        let scaled = |(value, [mean, std]): (f32, &[f64; 2])| ((f64::from(value) - mean) / std) as f32;
        let out: Vec<f32> =
            values.flatten_all()?.to_vec1()?.into_iter().zip(columns.iter().cycle()).map(scaled).collect();
        let out = Tensor::from_vec(out, (rows, width), values.device())?;
        Ok(inputs.with(HIDDEN, out))
    }
}

impl Component<dyn Transform> for Standardise {
    const TYPE: &'static str = "standardise";
    type Options = Options;

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Transform>> {
        let fitted = o.fitted.map(|path| Self::load(&cx.path(&path))).transpose()?;
        Ok(Box::new(fitted.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

    use candle_core::Device;
    use transplant_core::Seeds;

    const NAN: f32 = f32::NAN;

    fn acts(rows: &[[f32; 4]]) -> Acts {
        Acts::hidden(Tensor::new(rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), &Device::Cpu).unwrap())
    }

    fn applied(t: &dyn Transform, rows: &[[f32; 4]]) -> Vec<Vec<f32>> {
        let cx = TransformCx { rows: &[], epoch: 0, seeds: Seeds::new(0) };
        t.apply(acts(rows), &cx).unwrap().get(HIDDEN).unwrap().to_vec2().unwrap()
    }

    /// `tests/goldens/generate_standardise.py`, scikit-learn 1.9.1: fitted to two batches, applied to a third.
    #[test]
    fn columns_are_scaled_as_scikit_learn_does() -> Result<()> {
        let (first, second) = ([[50_000., 0.01, 7., 1.], [61_000., NAN, 7., 0.]], [[40_000., 0.03, 7., 0.]]);
        let fitted = Standardise::new().fit(&mut [acts(&first), acts(&second)].into_iter().map(Ok))?.unwrap();
        let out = applied(&*fitted, &[[50_000., 0.04, 8., 1.], [NAN, 0.02, 7., 0.]]);
        let expected = [[-0.038_866_104, 2., 1., SQRT_2], [NAN, 0., 0., -FRAC_1_SQRT_2]];
        for (value, expected) in out.concat().into_iter().zip(expected.concat()) {
            assert!((value - expected).abs() < 1e-6 || expected.is_nan(), "{out:?}");
        }
        assert!(out[1][0].is_nan());
        Ok(())
    }

    #[test]
    fn what_was_fitted_is_read_again_to_the_bit() -> Result<()> {
        let rows = [[1e6, 0.1, 3., 1e-20], [1e6 + 1., 0.3, 3., 3e-20], [1e6 + 2., -0.7, 3., 0.]];
        let fitted = Standardise::new().fit(&mut std::iter::once(Ok(acts(&rows))))?.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = fitted.carried().unwrap();
        let path = folder.path().join(&file.name);
        std::fs::write(&path, &file.content).unwrap();
        let again = Standardise::load(&path)?;
        assert_eq!(applied(&again, &rows), applied(&*fitted, &rows));
        assert!(again.fit(&mut std::iter::empty())?.is_none(), "it is fitted once");
        let wide = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 5 })]);
        assert!(again.schema(&wide).unwrap_err().to_string().starts_with("fitted: was fitted to 4 columns"));
        std::fs::write(&path, "mean,std\n1,0\n").unwrap();
        assert!(Standardise::load(&path).unwrap_err().to_string().contains("row 0: `1,0` is not a mean"));
        Ok(())
    }
}
