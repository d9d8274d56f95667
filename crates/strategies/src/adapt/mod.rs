//! Unsupervised domain adaptation: labels of a stream `source`, rows without labels of a stream `target`.
//!
//! | strategy | paper | what is brought together | needs |
//! |---|---|---|---|
//! | [`Dann`] | Ganin et al. 2016 | features, by a discriminator that cannot tell the domains apart | two streams |
//! | [`DeepCoral`] | Sun & Saenko 2016 | the covariances of features | two streams |

mod dann;
mod deep_coral;

pub use dann::{Dann, DannOptions};
pub use deep_coral::{DeepCoral, DeepCoralOptions};

use candle_core::Tensor;
use transplant_core::{HIDDEN, Invalid, Needs, Plugins, Result, Step, Strategy, StreamNeed};

/// The stream with labels.
pub(crate) const SOURCE: &str = "source";
/// The stream without labels.
pub(crate) const TARGET: &str = "target";

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Strategy, Dann>();
    p.add::<dyn Strategy, DeepCoral>();
}

/// A labelled source and an unlabelled target; the source counts the epochs.
fn two_domains() -> Needs {
    Needs { streams: vec![StreamNeed::labelled(SOURCE), StreamNeed::unlabelled(TARGET)], ..Needs::default() }
}

/// The features of both domains, `f32 [rows, width]` each.
///
/// # Errors
/// When the network's features are no vectors.
fn features(step: &mut dyn Step) -> Result<[Tensor; 2]> {
    let mut of = |stream| -> Result<Tensor> { Ok(step.forward(stream)?.features.get(HIDDEN)?.clone()) };
    Ok([of(SOURCE)?, of(TARGET)?])
}

/// Checks that a weight of a term is a finite number of at least 0.
fn check_weight(key: &str, weight: f64) -> Result<(), Invalid> {
    match weight.is_finite() && weight >= 0.0 {
        true => Ok(()),
        false => Err(Invalid::key(key, format!("must be at least 0, not {weight}"))),
    }
}
