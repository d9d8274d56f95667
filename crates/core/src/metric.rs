//! [`Metric`]: a number computed from predictions and labels.

use crate::{Error, Invalid, Result};

/// What a model said about some rows, and what was right: at most one score a row and class.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Predictions {
    /// Probabilities of classes.
    Class {
        /// Class names, in the order of the columns.
        names: Vec<String>,
        /// The right class of each row, `None` where it is missing.
        labels: Vec<Option<u32>>,
        /// `[rows × classes]`, row-major; each row sums to 1.
        scores: Vec<f32>,
    },
    /// Numbers.
    Number {
        /// The right value of each row, `None` where it is missing.
        labels: Vec<Option<f32>>,
        /// One a row.
        values: Vec<f32>,
    },
}

impl Predictions {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Class { labels, .. } => labels.len(),
            Self::Number { labels, .. } => labels.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of rows that have a label.
    pub fn known(&self) -> usize {
        match self {
            Self::Class { labels, .. } => labels.iter().flatten().count(),
            Self::Number { labels, .. } => labels.iter().flatten().count(),
        }
    }

    /// The rows at these positions, which may repeat (a bootstrap sample).
    #[must_use]
    pub fn take(&self, at: &[usize]) -> Self {
        match self {
            Self::Class { names, labels, scores } => {
                let k = names.len();
                let labels = at.iter().map(|&i| labels[i]).collect();
                let scores = at.iter().flat_map(|&i| scores[i * k..(i + 1) * k].iter().copied()).collect();
                Self::Class { names: names.clone(), labels, scores }
            }
            Self::Number { labels, values } => Self::Number {
                labels: at.iter().map(|&i| labels[i]).collect(),
                values: at.iter().map(|&i| values[i]).collect(),
            },
        }
    }

    /// Appends more rows of the same kind.
    ///
    /// # Errors
    /// When the kinds or class names differ.
    pub fn extend(&mut self, more: Self) -> Result<()> {
        match (self, more) {
            (Self::Class { names, labels, scores }, Self::Class { names: n, labels: l, scores: s }) if *names == n => {
                labels.extend(l);
                scores.extend(s);
            }
            (Self::Number { labels, values }, Self::Number { labels: l, values: v }) => {
                labels.extend(l);
                values.extend(v);
            }
            _ => return Err(Error::contract("predictions of different kinds cannot be joined")),
        }
        Ok(())
    }

    /// The mean of what was said of the same rows several times, such as of several views of them. Labels are those of the
    /// first.
    ///
    /// # Errors
    /// When there are none, or kinds, class names or numbers of rows differ.
    pub fn mean(all: Vec<Self>) -> Result<Self> {
        let count = all.len() as f32;
        let mut all = all.into_iter();
        let mut sum = all.next().ok_or_else(|| Error::contract("the mean of no predictions"))?;
        for more in all {
            let (into, from) = match (&mut sum, &more) {
                (Self::Class { names, scores, .. }, Self::Class { names: n, scores: s, .. }) if names == n => {
                    (scores, s)
                }
                (Self::Number { values, .. }, Self::Number { values: v, .. }) => (values, v),
                _ => return Err(Error::contract("predictions of different kinds have no mean")),
            };
            if into.len() != from.len() {
                return Err(Error::contract("predictions of different numbers of rows have no mean"));
            }
            into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
        let (Self::Class { scores: v, .. } | Self::Number { values: v, .. }) = &mut sum;
        v.iter_mut().for_each(|v| *v /= count);
        Ok(sum)
    }

    /// For classes: label and scores of each row that has a label.
    ///
    /// # Errors
    /// When these are not classes.
    pub fn labelled(&self) -> Result<Vec<(usize, &[f32])>> {
        let Self::Class { names, labels, scores } = self else {
            return Err(Invalid::new("this metric is for classes").into());
        };
        let rows = scores.chunks(names.len().max(1));
        Ok(labels.iter().zip(rows).filter_map(|(l, s)| l.map(|l| (l as usize, s))).collect())
    }
}

/// A number computed from predictions and labels.
pub trait Metric: Send + Sync {
    /// Its name, snake_case, as in `summary.json`.
    fn name(&self) -> String;

    /// Whether a larger value is better.
    fn higher_is_better(&self) -> bool {
        true
    }

    /// The class that it is about, by its number among `names`, where it is about one: the one that is looked for. `None`: it is
    /// about all. Tables name it.
    fn class(&self, names: &[String]) -> Option<usize> {
        let _ = names;
        None
    }

    /// Its value. Rows without a label do not count; with no row at all it is NaN.
    ///
    /// # Errors
    /// When the predictions are of a kind it does not suit.
    fn compute(&self, p: &Predictions) -> Result<f64>;

    /// For a metric that is a mean over rows: one number for each row that has a label, in order, whose mean is
    /// [`compute`](Self::compute)'s value. `None` for all others. Resampling rows is quick where this is known.
    ///
    /// # Errors
    /// As [`compute`](Self::compute).
    fn row_scores(&self, p: &Predictions) -> Result<Option<Vec<f64>>> {
        let _ = p;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_what_is_said_of_the_same_rows() -> Result<()> {
        let said = |scores: &[f32], label| Predictions::Class {
            names: vec!["a".into(), "b".into()],
            labels: vec![label; scores.len() / 2],
            scores: scores.to_vec(),
        };
        let mean = Predictions::mean(vec![said(&[1.0, 0.0, 0.5, 0.5], Some(1)), said(&[0.5, 0.5, 0.0, 1.0], None)])?;
        assert_eq!(mean, said(&[0.75, 0.25, 0.25, 0.75], Some(1)));
        let number = |values: &[f32]| Predictions::Number { labels: vec![None; values.len()], values: values.to_vec() };
        assert_eq!(Predictions::mean(vec![number(&[1.0]), number(&[4.0]), number(&[4.0])])?, number(&[3.0]));
        assert!(Predictions::mean(vec![number(&[1.0]), number(&[1.0, 2.0])]).is_err());
        assert!(Predictions::mean(vec![number(&[1.0]), said(&[1.0, 0.0], None)]).is_err());
        assert!(Predictions::mean(Vec::new()).is_err());
        Ok(())
    }
}
