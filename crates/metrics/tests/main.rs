//! Metrics against scikit-learn, and the bootstrap on synthetic runs.

mod bootstrap;
mod goldens;
