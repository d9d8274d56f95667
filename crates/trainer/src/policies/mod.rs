//! Policies, one file each: they look at an epoch's report and say what should happen.

mod best_checkpoint;
mod early_stopping;

pub use best_checkpoint::{BestCheckpoint, BestCheckpointOptions};
pub use early_stopping::{EarlyStopping, EarlyStoppingOptions};

use serde::{Serialize, de::DeserializeOwned};
use transplant_core::{Error, Plugins, Policy, Result};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Policy, EarlyStopping>();
    p.add::<dyn Policy, BestCheckpoint>();
}

fn captured(state: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(state).unwrap_or_default()
}

fn restored<T: DeserializeOwned>(state: serde_json::Value) -> Result<T> {
    serde_json::from_value(state)
        .map_err(|e| Error::data("the checkpoint", None, format!("its state of a policy does not fit: {e}")))
}
