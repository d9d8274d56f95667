//! The transfer ledger: tensor by tensor, where it came from and what was done with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use transplant_core::{ModelInfo, NormPolicy, Origin, Params, Phase, Role, Use};

/// One tensor's line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Full name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Where its first value came from.
    pub origin: Origin,
    /// `trained`, `trained ×0.1`, `frozen`, `merged` where an adapter was added to it; for buffers `updated`, `kept` or
    /// `fitted`.
    pub used: String,
}

/// The ledger of a model under a phase; adapters were merged into the weights `merged`.
pub(crate) fn ledger(
    params: &Params,
    info: &ModelInfo,
    phase: Option<&Phase>,
    merged: &BTreeSet<String>,
) -> Vec<LedgerRow> {
    let row = |(name, p): (String, transplant_core::Param)| {
        let used = match (&p.origin, p.role, phase) {
            (Origin::Fitted { .. }, ..) => "fitted".to_owned(),
            (_, Role::Buffer, Some(phase)) => buffer_use(&name, info, phase).to_owned(),
            _ if merged.contains(&name) => "merged".to_owned(),
            (_, Role::Weight | Role::Adapter, Some(phase)) => match phase.plan.use_of(&name) {
                Use::Frozen => "frozen".to_owned(),
                Use::Trained { lr_scale: 1.0, .. } => "trained".to_owned(),
                Use::Trained { lr_scale, .. } => format!("trained ×{lr_scale}"),
            },
            (_, _, None) => "kept".to_owned(),
        };
        LedgerRow { shape: p.var().dims().to_vec(), role: p.role, origin: p.origin, used, name }
    };
    params.all().into_iter().map(row).collect()
}

/// Running statistics follow the policy of their stage.
fn buffer_use(name: &str, info: &ModelInfo, phase: &Phase) -> &'static str {
    let Some(i) = info.params.iter().find(|p| p.name == name).and_then(|p| p.stage) else { return "kept" };
    match info.norm_policy(&phase.plan, i) {
        NormPolicy::Batch => "updated",
        NormPolicy::Frozen => "kept",
    }
}
