//! Values of scikit-learn, SciPy and statsmodels, written by `tests/goldens/generate_metrics.py` at the repository's root.

use serde::Deserialize;
use std::collections::BTreeMap;
use transplant_core::{Metric, Predictions, Result};
use transplant_metrics::{
    Accuracy, Average, AveragePrecision, BalancedAccuracy, F1, LogLoss, Mae, MatthewsCorrcoef, R2, Rmse, RocAuc, TopK,
    confusion, corrected_paired_t, holm,
};

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
    holm: Vec<Holm>,
    corrected_t: Vec<CorrectedT>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: Vec<u32>,
    /// Multiples of 1/64, so single precision holds them exactly.
    scores: Vec<Vec<f32>>,
    top_k: BTreeMap<usize, f64>,
    confusion: Vec<Vec<u64>>,
    accuracy: f64,
    f1_micro: f64,
    f1_macro: f64,
    f1_weighted: f64,
    balanced_accuracy: f64,
    matthews_corrcoef: f64,
    log_loss: f64,
    /// Null where no class can be ranked.
    roc_auc: Option<f64>,
    average_precision: Option<f64>,
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct CorrectedT {
    differences: Vec<f64>,
    train_rows: usize,
    test_rows: usize,
    t: f64,
    p: f64,
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("../goldens/metrics.json")).expect("the golden file has these fields")
}

fn near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{what}: {found}, expected {expected}");
}

#[test]
fn metrics_are_those_of_scikit_learn() -> Result<()> {
    let cases = goldens().cases;
    assert!(!cases.is_empty());
    for case in cases {
        let names: Vec<_> = (0..case.scores[0].len()).map(|c| c.to_string()).collect();
        let classes = names.len();
        let mut labels: Vec<_> = case.labels.iter().map(|&l| Some(l)).collect();
        let mut scores = case.scores.concat();
        // A row without a label, which must change nothing.
        labels.insert(1, None);
        scores.splice(classes..classes, vec![1.0 / classes as f32; classes]);
        let p = Predictions::Class { names, labels, scores };

        let mut expected: Vec<(Box<dyn Metric>, f64)> = vec![
            (Box::new(Accuracy), case.accuracy),
            (Box::new(F1::new(Average::Micro)), case.f1_micro),
            (Box::new(F1::new(Average::Macro)), case.f1_macro),
            (Box::new(F1::new(Average::Weighted)), case.f1_weighted),
            (Box::new(BalancedAccuracy), case.balanced_accuracy),
            (Box::new(MatthewsCorrcoef), case.matthews_corrcoef),
            (Box::new(LogLoss), case.log_loss),
        ];
        assert_eq!(case.top_k.len(), 3, "{}", case.name);
        expected.extend(case.top_k.iter().map(|(&k, &value)| (Box::new(TopK::new(k)) as Box<dyn Metric>, value)));
        for (metric, value) in expected {
            near(&format!("{}, {}", case.name, metric.name()), metric.compute(&p)?, value);
        }
        let ranking: [(Box<dyn Metric>, _); 2] =
            [(Box::<RocAuc>::default(), case.roc_auc), (Box::<AveragePrecision>::default(), case.average_precision)];
        for (metric, value) in ranking {
            match value {
                Some(value) => near(&format!("{}, {}", case.name, metric.name()), metric.compute(&p)?, value),
                None => assert!(metric.compute(&p)?.is_nan(), "{}, {}", case.name, metric.name()),
            }
        }
        assert_eq!(confusion(&p)?, case.confusion, "{}", case.name);
    }
    Ok(())
}

/// Values of `tests/goldens/generate_regression.py`.
#[test]
fn metrics_of_numbers_are_those_of_scikit_learn() -> Result<()> {
    #[derive(Deserialize)]
    struct Numbers {
        cases: Vec<NumberCase>,
    }
    #[derive(Deserialize)]
    struct NumberCase {
        name: String,
        labels: Vec<f32>,
        values: Vec<f32>,
        mae: f64,
        rmse: f64,
        r2: f64,
    }
    let numbers: Numbers = serde_json::from_str(include_str!("../goldens/numbers.json")).expect("it has these fields");
    assert_eq!(numbers.cases.len(), 5);
    for case in numbers.cases {
        let mut labels: Vec<_> = case.labels.iter().map(|l| Some(*l)).collect();
        let mut values = case.values;
        // A row without a label, which must change nothing.
        labels.insert(1, None);
        values.insert(1, 100.0);
        let p = Predictions::Number { labels, values };
        let expected: [(&dyn Metric, f64); 3] = [(&Mae, case.mae), (&Rmse, case.rmse), (&R2, case.r2)];
        for (metric, value) in expected {
            near(&format!("{}, {}", case.name, metric.name()), metric.compute(&p)?, value);
        }
    }
    Ok(())
}

#[test]
fn adjusted_p_values_are_those_of_statsmodels() -> Result<()> {
    for case in goldens().holm {
        let found = holm(&case.p)?;
        assert_eq!(found.len(), case.adjusted.len());
        for (found, expected) in found.into_iter().zip(case.adjusted) {
            near("holm", found, expected);
        }
    }
    Ok(())
}

#[test]
fn the_corrected_t_test_is_that_of_scipys_distribution() -> Result<()> {
    for case in goldens().corrected_t {
        let found = corrected_paired_t(&case.differences, case.train_rows, case.test_rows)?;
        near("t", found.t, case.t);
        near("p", found.p, case.p);
        // The interval ends where a test at the 5 % level stops rejecting.
        let rejected = found.difference.low > 0.0 || found.difference.high < 0.0;
        assert_eq!(rejected, found.p < 0.05);
    }
    Ok(())
}
