//! What the metrics share: the checked rows that have a label, and the class predicted for each.

use transplant_core::{Error, Invalid, Predictions, Result};

/// Right class and scores of each row that has a label, in order. The scores are finite, and the class is one of them.
pub(crate) fn labelled(p: &Predictions) -> Result<Vec<(usize, &[f32])>> {
    let Predictions::Class { names, labels, scores } = p else {
        return Err(Invalid::new("this metric is for classes, the predictions are numbers").into());
    };
    let classes = names.len();
    if scores.len() != labels.len() * classes {
        let (rows, found) = (labels.len(), scores.len());
        return Err(Error::contract(format!("predictions: {found} scores for {rows} rows of {classes} classes")));
    }
    let mut out = Vec::with_capacity(labels.len());
    for (row, label) in labels.iter().enumerate() {
        let Some(label) = *label else { continue };
        let label = label as usize;
        if label >= classes {
            let message = format!("predictions, row {row}: label {label} is none of the {classes} classes");
            return Err(Error::contract(message));
        }
        let scores = &scores[row * classes..(row + 1) * classes];
        if let Some(class) = scores.iter().position(|s| !s.is_finite()) {
            let (name, score) = (&names[class], scores[class]);
            return Err(Error::diverged(format!("predictions, row {row}: the score of class `{name}`"), score.into()));
        }
        out.push((label, scores));
    }
    Ok(out)
}

/// Right and predicted number of each row that has a label, in order. All are finite.
pub(crate) fn numbered(p: &Predictions) -> Result<Vec<(f64, f64)>> {
    let Predictions::Number { labels, values } = p else {
        return Err(Invalid::new("this metric is for numbers, the predictions are classes").into());
    };
    if values.len() != labels.len() {
        return Err(Error::contract(format!("predictions: {} numbers for {} rows", values.len(), labels.len())));
    }
    let mut out = Vec::with_capacity(labels.len());
    for (row, (label, value)) in labels.iter().zip(values).enumerate() {
        let Some(label) = *label else { continue };
        for (what, number) in [("label", label), ("number", *value)] {
            if !number.is_finite() {
                return Err(Error::diverged(format!("predictions, row {row}: the {what}"), number.into()));
            }
        }
        out.push((f64::from(label), f64::from(*value)));
    }
    Ok(out)
}

/// The class with the highest score, the first of them when several are equally high, as `numpy.argmax` takes it.
pub(crate) fn predicted(scores: &[f32]) -> usize {
    scores.iter().enumerate().fold(0, |best, (class, score)| if *score > scores[best] { class } else { best })
}

/// The mean; NaN for no number at all.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Predictions that put all weight on one class each.
    pub(crate) fn certain(classes: usize, labels: &[Option<u32>], predicted: &[usize]) -> Predictions {
        let names = (0..classes).map(|c| c.to_string()).collect();
        let scores =
            predicted.iter().flat_map(|&p| (0..classes).map(move |c| if c == p { 1.0 } else { 0.0 })).collect();
        Predictions::Class { names, labels: labels.to_vec(), scores }
    }

    pub(crate) fn numbers(labels: &[Option<f32>], values: &[f32]) -> Predictions {
        Predictions::Number { labels: labels.to_vec(), values: values.to_vec() }
    }

    fn message(labels: Vec<Option<u32>>, scores: Vec<f32>) -> String {
        let names = vec!["cat".to_owned(), "dog".to_owned()];
        labelled(&Predictions::Class { names, labels, scores }).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_counted_is_named() {
        assert_eq!(message(vec![Some(0)], vec![0.5]), "predictions: 1 scores for 1 rows of 2 classes");
        let out_of_range = message(vec![None, Some(2)], vec![0.5; 4]);
        assert_eq!(out_of_range, "predictions, row 1: label 2 is none of the 2 classes");
        let not_finite = message(vec![Some(0), Some(1)], vec![0.5, 0.5, 0.5, f32::NAN]);
        assert!(not_finite.starts_with("predictions, row 1: the score of class `dog` is NaN; "), "{not_finite}");
        let numbers = Predictions::Number { labels: vec![], values: vec![] };
        assert!(labelled(&numbers).unwrap_err().to_string().contains("for classes"));
        assert!(numbered(&certain(2, &[None], &[0])).unwrap_err().to_string().contains("for numbers"));
        let of = |labels: &[Option<f32>], values: &[f32]| {
            numbered(&Predictions::Number { labels: labels.to_vec(), values: values.to_vec() }).unwrap_err().to_string()
        };
        assert_eq!(of(&[None], &[]), "predictions: 0 numbers for 1 rows");
        assert!(of(&[Some(1.0)], &[f32::NAN]).starts_with("predictions, row 0: the number is NaN; "));
    }

    #[test]
    fn the_first_of_equal_scores_is_predicted() {
        assert_eq!(predicted(&[0.1, 0.4, 0.4, 0.1]), 1);
        assert_eq!(predicted(&[0.25; 4]), 0);
    }
}
