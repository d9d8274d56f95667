//! The six networks of docs/performance.md, as rows of a Markdown table.

use anyhow::Result;
use clap::Args;

use crate::against::{self, Comparison};
use crate::step::{Case, DROPOUT};
use crate::{Engine, Limits, Peer, Timing, processor, torch};

/// Network, what the table calls it, size, batch.
const ROWS: [(&str, &str, usize, usize); 6] = [
    ("resnet18", "ResNet-18", 32, 100),
    ("resnet18", "ResNet-18", 224, 8),
    ("tf_efficientnet_lite0", "EfficientNet-Lite0", 128, 32),
    ("vit_tiny_patch16_224", "ViT-Tiny", 224, 16),
    ("convnext_tiny", "ConvNeXt-Tiny", 224, 4),
    ("minilm", "MiniLM, tokens", 64, 32),
];

#[derive(Args, Clone)]
pub(crate) struct Flags {
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    peer: Peer,
}

/// Prints a table for each number of threads, row by row as they are measured.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let Flags { limits, timing, peer } = flags;
    limits.apply();
    let mut about = format!("{}, {}", processor::describe(), timing.precision);
    if peer.against.is_some() {
        about += &format!(", PyTorch {}, medians of {} rounds", torch::version(peer)?, peer.rounds.max(1));
    }
    println!("{about}");
    for &threads in &limits.threads {
        println!("\n{}:\n", crate::count_threads(threads));
        println!(
            "| network, size, batch | evaluation forward, ms | training step, ms | peak memory, MB | of it after loading, MB |"
        );
        println!("|---|---|---|---|---|");
        let mut failures = Vec::new();
        for (model, label, size, batch) in ROWS {
            let case = Case { model: model.to_owned(), size, batch, dropout: DROPOUT, freeze: None };
            let row = format!("{label}, {size}, {batch}");
            let found = match peer.against {
                Some(Engine::Torch) => against::compare(&case, limits, timing, peer, threads)?,
                None => against::alone(&case, limits, timing, threads)?,
            };
            println!("| {row} | {} |", against::KEYS.map(|key| cell(&found, key)).join(" | "));
            failures.extend(found.failures().map(|(setting, reason)| format!("{row}, {setting}: {reason}")));
        }
        for failure in failures {
            println!("\nLeft out: {failure}");
        }
    }
    Ok(())
}

/// Such as `0.64 (41.2 / 64.1, compiled)`: ratio, ours, PyTorch's best, and its setting.
fn cell(found: &Comparison, key: &str) -> String {
    let Some(ours) = found.ours(key) else { return String::new() };
    match (found.best(key), found.ratio(key)) {
        (Some((setting, theirs)), Some(ratio)) => {
            format!("{ratio:.2} ({} / {}, {})", brief(ours), brief(theirs), setting.replace('_', "-"))
        }
        _ => brief(ours),
    }
}

/// Three digits or a few more.
fn brief(figure: f64) -> String {
    if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network;

    #[test]
    fn every_row_has_a_network() {
        assert!(ROWS.iter().all(|row| network::named(row.0).is_ok()));
    }
}
