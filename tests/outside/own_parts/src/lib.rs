//! Parts of one's own, in a crate of one's own: a strategy, a data set, a backbone and a metric.

pub mod bitfit;
pub mod cohen_kappa;
pub mod flat;
pub mod stripes;

use transplant_core::{Architecture, Dataset, Metric, Plugins, Strategy};

pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Strategy, bitfit::BitFit>();
    p.add::<dyn Dataset, stripes::Stripes>();
    p.add::<dyn Architecture, flat::Flat>();
    p.add::<dyn Metric, cohen_kappa::CohenKappa>();
}
