//! `ledger.md`: tensor by tensor, where it came from and what was done with it, once for each kind of cell.

use transplant_core::{Origin, Role};
use transplant_trainer::LedgerRow;

use super::compare::label;
use super::record::Record;

/// The ledger of a run. Cells of one step and strategy that differ in seed and draw alone are alike in it and stand
/// there once.
pub(crate) fn ledger(name: &str, records: &[&Record]) -> String {
    let mut out = format!("# Transfer ledger of {name}\n");
    let mut kinds: Vec<(String, Vec<&Record>)> = Vec::new();
    for r in records {
        let kind = format!("{}: {}", r.cell.step, label(&r.cell.strategy, &r.cell.swept));
        match kinds.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, alike)) => alike.push(r),
            None => kinds.push((kind, vec![r])),
        }
    }
    for (kind, alike) in kinds {
        let first = alike[0];
        out.push_str(&format!("\n## {kind}\n\n"));
        let (trained, all) = (first.trainable_parameters, first.parameters);
        out.push_str(&format!(
            "{trained} of {all} numbers trained; {} cells, shown: `{}`.\n\n",
            alike.len(),
            first.cell.id
        ));
        for note in &first.weights {
            out.push_str(&format!("{note}.\n\n"));
        }
        out.push_str("| tensor | shape | kind | first value | then |\n|---|---|---|---|---|\n");
        first.ledger.iter().for_each(|row| out.push_str(&line(row)));
    }
    out
}

fn line(row: &LedgerRow) -> String {
    let shape = row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
    let role = match row.role {
        Role::Weight => "weight",
        Role::Adapter => "adapter",
        Role::Buffer => "buffer",
    };
    format!("| `{}` | {shape} | {role} | {} | {} |\n", row.name, origin(&row.origin), row.used)
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Fresh => "fresh".to_owned(),
        Origin::Loaded { from } => format!("loaded from `{from}`"),
        Origin::Reset { why } => format!("fresh, because {why}"),
        Origin::Fitted { by } => format!("fitted by {by}"),
    }
}
