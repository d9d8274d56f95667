//! Metrics and validators, one file each, and the statistics of comparing runs.
//!
//! A metric maps [`Predictions`](transplant_core::Predictions) to a number; where scikit-learn has the metric, the value is
//! scikit-learn's. Rows without a label do not count, and with no row at all every metric is NaN. The predicted class of a
//! row is the one with the highest score, the first of them when several are equally high. A label that is no class, or a
//! score or number that is not finite, is an error that names the row. Classes and numbers have metrics of their own.
//!
//! [`validators`] score a model on rows without labels.
//!
//! [`bootstrap`] and [`paired_bootstrap`] give intervals over source seeds, draws and test rows or groups together,
//! [`corrected_paired_t`] tests a difference over resampled runs, and [`holm`] corrects for several such tests.
//!
//! ```
//! use transplant_core::{Metric, Predictions, Seeds};
//! use transplant_metrics::{Accuracy, Cell, bootstrap};
//!
//! # fn main() -> transplant_core::Result<()> {
//! let names = vec!["cat".to_owned(), "dog".to_owned()];
//! let scores = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.5, 0.5]].concat();
//! let labels = vec![Some(0), Some(1), Some(1), Some(0), Some(1), Some(0), None];
//! let predictions = Predictions::Class { names, labels, scores };
//! assert_eq!(Accuracy.compute(&predictions)?, 4.0 / 6.0);
//!
//! let cells = [Cell { seed: 0, draw: 0, predictions: &predictions, groups: &[] }];
//! let interval = bootstrap(&Accuracy, &cells, 1000, Seeds::new(7))?;
//! assert!(interval.low < interval.mean && interval.mean < interval.high);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod accuracy;
mod average_precision;
mod balanced_accuracy;
mod confusion;
mod f1;
mod log_loss;
mod mae;
mod matthews_corrcoef;
mod r2;
mod ranking;
mod rmse;
mod roc_auc;
mod rows;
mod stats;
mod top_k;
pub mod validators;

pub use accuracy::{Accuracy, AccuracyOptions};
pub use average_precision::{AveragePrecision, AveragePrecisionOptions};
pub use balanced_accuracy::{BalancedAccuracy, BalancedAccuracyOptions};
pub use confusion::confusion;
pub use f1::{Average, F1, Options as F1Options};
pub use log_loss::{LogLoss, LogLossOptions};
pub use mae::{Mae, MaeOptions};
pub use matthews_corrcoef::{MatthewsCorrcoef, MatthewsCorrcoefOptions};
pub use r2::{R2, R2Options};
pub use rmse::{Rmse, RmseOptions};
pub use roc_auc::{RocAuc, RocAucOptions};
pub use stats::{
    Cell, FEWEST_FOR_INTERVAL, FEWEST_TO_TRUST, Interval, PairedT, bootstrap, corrected_paired_t, holm,
    paired_bootstrap,
};
pub use top_k::{Options as TopKOptions, TopK};

use transplant_core::{Metric, Plugins};

/// Adds the metrics and validators of this crate.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Metric, Accuracy>();
    p.add::<dyn Metric, AveragePrecision>();
    p.add::<dyn Metric, BalancedAccuracy>();
    p.add::<dyn Metric, F1>();
    p.add::<dyn Metric, LogLoss>();
    p.add::<dyn Metric, Mae>();
    p.add::<dyn Metric, MatthewsCorrcoef>();
    p.add::<dyn Metric, R2>();
    p.add::<dyn Metric, Rmse>();
    p.add::<dyn Metric, RocAuc>();
    p.add::<dyn Metric, TopK>();
    validators::plugin(p);
}
