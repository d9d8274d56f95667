//! The frozen prefix: stages whose output does not change while a phase lasts.
//!
//! It always runs in tiles of a fixed number of rows (the last one filled up), because the bits of a matrix product depend on
//! the number of its rows. So a row's features are the same whether they were cached or not and whoever stood beside it.

use std::collections::HashMap;

use candle_core::Tensor;
use transplant_core::{Acts, Batch, Ctx, Error, Memory, Mode, ModelInfo, NormPolicy, Plan, Result, Seeds, Use};

use crate::model::{Model, Network};

/// Rows in a tile.
pub(crate) const TILE: usize = 32;

/// Applies a row-wise function in tiles of [`TILE`] rows and joins the outputs.
pub(crate) fn in_tiles(acts: &Acts, rows: &[u64], f: impl Fn(Acts, &[u64]) -> Result<Acts>) -> Result<Acts> {
    let mut parts: HashMap<String, Vec<Tensor>> = HashMap::new();
    for start in (0..rows.len()).step_by(TILE) {
        let n = TILE.min(rows.len() - start);
        let tile = acts.map(|_, t| {
            let part = t.narrow(0, start, n)?;
            if n == TILE {
                return Ok(part.contiguous()?);
            }
            let last = part.narrow(0, n - 1, 1)?;
            let filling = vec![last; TILE - n];
            Ok(Tensor::cat(&std::iter::once(part).chain(filling).collect::<Vec<_>>(), 0)?)
        })?;
        let mut of: Vec<u64> = rows[start..start + n].to_vec();
        of.resize(TILE, rows[start + n - 1]);
        for (name, t) in f(tile, &of)?.iter() {
            parts.entry(name.to_owned()).or_default().push(t.narrow(0, 0, n)?);
        }
    }
    parts.into_iter().map(|(name, ts)| Ok((name, joined(&ts)?))).collect()
}

/// Rows one after another, in the order of memory that they have.
pub(crate) fn joined(parts: &[Tensor]) -> Result<Tensor> {
    let Some(first) = parts.first() else { return Err(Error::contract("there are no rows to join")) };
    let memory = Memory::of(first)?;
    let raw = parts.iter().map(|t| memory.raw(t)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Memory::keep(first, |_| Tensor::cat(&raw, 0))?)
}

/// How many stages at the front do not change under this plan: frozen, not adapted, without randomness, each row alone, and
/// not looked at by a tap.
pub fn frozen_stages(model: &Model, plan: &Plan, taps: &[String]) -> usize {
    let info = model.info();
    let open = info.stages.iter().enumerate().position(|(i, s)| {
        let by_batch = s.batch_norm && info.norm_policy(plan, i) == NormPolicy::Batch;
        !stays(&info, plan, i) || s.random || by_batch || taps.contains(&s.name)
    });
    open.unwrap_or(info.stages.len())
}

/// Whether an evaluation gives the same before and after a phase of this plan in all stages: there is no randomness in one.
pub(crate) fn all_stay(info: &ModelInfo, plan: &Plan) -> bool {
    (0..info.stages.len()).all(|i| {
        let adapts = info.stages[i].batch_norm && info.norm_policy(plan, i) == NormPolicy::Batch;
        stays(info, plan, i) && !adapts
    })
}

/// Whether no weight of a stage is trained or adapted, and each row stands alone in it.
fn stays(info: &ModelInfo, plan: &Plan, i: usize) -> bool {
    let frozen = info.weights().filter(|p| p.stage == Some(i)).all(|p| plan.use_of(&p.name) == Use::Frozen);
    frozen && !adapted(info, plan, i) && info.stages[i].row_wise
}

/// Whether an adapter of this plan attaches to stage number `index`.
pub(crate) fn adapted(info: &ModelInfo, plan: &Plan, index: usize) -> bool {
    plan.adapters.iter().any(|(p, _)| {
        info.stages[index].prefixes.iter().any(|prefix| p.matches(&format!("backbone.{prefix}")))
            || info.params.iter().any(|q| q.stage == Some(index) && p.matches(&q.name))
    })
}

/// The frozen prefix of a model.
pub(crate) struct Tiles<'a> {
    pub(crate) network: &'a Network,
    pub(crate) prefix: usize,
    pub(crate) mode: Mode,
}

impl Tiles<'_> {
    /// The prefix's output for a batch. One that holds more than its rows cannot be cut into tiles.
    pub(crate) fn of(&self, batch: &Batch) -> Result<Acts> {
        if batch.select.is_none() {
            return self.run(&batch.inputs, &batch.rows);
        }
        let mut cx = self.context(&batch.rows);
        Ok(self.network.backbone.forward(batch.inputs.clone(), 0..self.prefix, &mut cx)?.detach())
    }

    /// The prefix's output for inputs on the network's device, without history.
    pub(crate) fn run(&self, inputs: &Acts, rows: &[u64]) -> Result<Acts> {
        if self.prefix == 0 {
            return Ok(inputs.clone());
        }
        let forward = |tile, rows: &[u64]| self.network.backbone.forward(tile, 0..self.prefix, &mut self.context(rows));
        Ok(in_tiles(inputs, rows, forward)?.detach())
    }

    /// Nothing in the prefix is random, so the position does not matter.
    fn context(&self, rows: &[u64]) -> Ctx {
        Ctx::new(self.mode, "", 0, rows, Seeds::new(0))
    }
}
