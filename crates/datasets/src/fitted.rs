//! [`fit`]: transforms fitted to the rows that are learned from.

use std::sync::Arc;

use transplant_core::{Result, Train, Transform, rows_at_a_time};

use crate::Chain;

/// The transforms, each fitted to what those before it make of the rows that are learned from; those that have nothing
/// to fit are the same. `None` when none has.
///
/// # Errors
/// When a row cannot be read, or a transform fails.
pub fn fit(transforms: &[Arc<dyn Transform>], learned: &Train) -> Result<Option<Vec<Arc<dyn Transform>>>> {
    let (mut fitted, mut any) = (Vec::with_capacity(transforms.len()), false);
    for transform in transforms {
        let before = Chain::new(fitted.clone(), Vec::new())?;
        let read = |rows: &[u64]| before.plain(learned.batch(rows)?.inputs, rows);
        let at_a_time = rows_at_a_time(learned.dataset().inputs());
        let made = transform.fit(&mut learned.rows().chunks(at_a_time).map(read))?;
        any |= made.is_some();
        fitted.push(made.unwrap_or_else(|| transform.clone()));
    }
    Ok(any.then_some(fitted))
}
