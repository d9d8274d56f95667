//! Checks of what a cell chooses by: policies have a score, and validators their stream.

use transplant_core::{BuildCx, Invalid, Result};

use super::parts::{self, Components};
use super::shape::Shape;
use super::streams::ReadyStream;
use crate::resolved::Cell;

/// Validators have the stream without labels that they look at, and what one of them chooses by is used.
pub(crate) fn check_validators(cell: &Cell, components: &Components, cx: &BuildCx<'_>) -> Result<()> {
    let validators = parts::validators(cell, cx)?;
    let needs = components.strategy.needs();
    let of_file = cell.streams.iter().filter(|(_, s)| !s.labels).map(|(name, _)| name.as_str());
    let unlabelled: Vec<&str> = of_file.chain(needs.unlabelled()).collect();
    let told = validators.told.iter().enumerate().map(|(i, v)| (format!("validators.{i}"), v));
    for (key, v) in validators.select.iter().map(|v| ("select".to_owned(), v)).chain(told) {
        let found = v.validator.on().map_or(!unlabelled.is_empty(), |on| unlabelled.contains(&on));
        if !found {
            let message = match v.validator.on() {
                Some(on) => format!("looks at the stream `{on}`, and no stream without labels has this name"),
                None => "looks at a stream without labels, and the step has none".to_owned(),
            };
            let e = Invalid::key(&key, message);
            return Err(e.help("name one in `streams`, with `labels = false`").into());
        }
    }
    if validators.select.is_some() && !parts::policies(cell, cx)?.iter().any(|p| p.needs_validation()) {
        let e = Invalid::key("select", "gives policies a score, and the step has none that chooses by one");
        return Err(e.help("add `best_checkpoint` or `early_stopping` to `trainer.policies`").into());
    }
    Ok(())
}

/// Policies that choose have a validator or a validation part to choose by, where there is anything to choose.
pub(crate) fn check_policies(cell: &Cell, main: &ReadyStream, shape: &Shape, cx: &BuildCx<'_>) -> Result<()> {
    if cell.select.is_none() && main.parts.validation.is_none() && main.spec.validation == 0.0 && !shape.fits_at_once()
    {
        let choosing = parts::policies(cell, cx)?.iter().position(|p| p.needs_validation());
        if let Some(i) = choosing {
            let e = Invalid::key(&format!("trainer.policies.{i}"), "chooses by a validation part, and there is none");
            let help = match cell.streams.values().any(|s| !s.labels) {
                true => "name a validator in `select`, which needs no labels".to_owned(),
                false => format!("set `datasets.{}.validation` to a share of the rows", main.dataset()),
            };
            return Err(e.help(help).into());
        }
    }
    Ok(())
}
