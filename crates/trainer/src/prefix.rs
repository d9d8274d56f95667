//! The frozen prefix: stages whose output does not change while a phase lasts.
//!
//! It always runs in tiles of a fixed number of rows (the last one filled up), because the bits of a matrix product depend on
//! the number of its rows. So a row's features are the same whether they were cached or not and whoever stood beside it.

use std::collections::HashMap;

use candle_core::Tensor;
use transplant_core::{Acts, Batch, Ctx, Error, Feed, Memory, Mode, NormPolicy, Plan, Result, Seeds, Use};

use crate::model::{Model, Network, on_device};

/// Rows in a tile.
const TILE: usize = 32;
/// Features of more bytes than this are computed again in each epoch instead of being kept.
const KEEP_BYTES: usize = 1 << 30;

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
fn joined(parts: &[Tensor]) -> Result<Tensor> {
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
        let frozen = info.weights().filter(|p| p.stage == Some(i)).all(|p| plan.use_of(&p.name) == Use::Frozen);
        let by_batch = s.batch_norm && info.norm_policy(plan, i) == NormPolicy::Batch;
        let adapted = plan.adapters.iter().any(|(p, _)| {
            s.prefixes.iter().any(|prefix| p.matches(&format!("backbone.{prefix}")))
                || info.params.iter().any(|q| q.stage == Some(i) && p.matches(&q.name))
        });
        !frozen || adapted || s.random || !s.row_wise || by_batch || taps.contains(&s.name)
    });
    open.unwrap_or(info.stages.len())
}

/// The frozen prefix of a model.
pub(crate) struct Tiles<'a> {
    pub(crate) model: &'a Model,
    pub(crate) prefix: usize,
}

impl Tiles<'_> {
    /// The prefix's output for a batch, without history.
    pub(crate) fn run(&self, network: &Network, inputs: &Acts, rows: &[u64]) -> Result<Acts> {
        if self.prefix == 0 {
            return Ok(inputs.clone());
        }
        let out = in_tiles(inputs, rows, |tile, rows| {
            // Nothing in the prefix is random, so the position does not matter; training mode because a plan speaks of it.
            let mut cx = Ctx::new(Mode::Train, "", 0, rows, Seeds::new(0));
            network.backbone.forward(tile, 0..self.prefix, &mut cx)
        })?;
        Ok(out.detach())
    }

    /// The prefix's output for all rows of a feed, to be kept; `None` when it is not worth it or takes too much room.
    pub(crate) fn keep(&self, network: &Network, feed: &dyn Feed) -> Result<Option<Kept>> {
        if self.prefix == 0 || feed.random() || feed.rows().is_empty() {
            return Ok(None);
        }
        let first = self.of(network, feed, &feed.rows()[..1])?;
        let bytes: usize = first.iter().map(|(_, t)| t.elem_count() * t.dtype().size_in_bytes()).sum();
        if bytes * feed.rows().len() > KEEP_BYTES {
            return Ok(None);
        }
        let parts =
            feed.rows().chunks(TILE * 8).map(|rows| self.of(network, feed, rows)).collect::<Result<Vec<_>>>()?;
        let acts = first.map(|name, _| {
            let ts = parts.iter().map(|p| p.get(name).cloned()).collect::<Result<Vec<_>>>()?;
            joined(&ts)
        })?;
        let at = feed.rows().iter().enumerate().map(|(i, r)| (*r, i as u32)).collect();
        Ok(Some(Kept { acts, at }))
    }

    fn of(&self, network: &Network, feed: &dyn Feed, rows: &[u64]) -> Result<Acts> {
        let batch = on_device(feed.plain(rows)?, self.model.params())?;
        self.run(network, &batch.inputs, rows)
    }
}

/// The prefix's output for every row of a stream.
pub(crate) struct Kept {
    acts: Acts,
    at: HashMap<u64, u32>,
}

impl Kept {
    /// Those of a batch.
    pub(crate) fn of(&self, batch: &Batch) -> Result<Option<Acts>> {
        let at: Option<Vec<u32>> = batch.rows.iter().map(|r| self.at.get(r).copied()).collect();
        let Some(at) = at else { return Ok(None) };
        self.acts
            .map(|_, t| {
                let at = Tensor::new(at.as_slice(), t.device())?;
                Ok(Memory::keep(t, |t| t.index_select(&at, 0))?)
            })
            .map(Some)
    }
}
