//! Our side and PyTorch's best setting, in turns, so that both see the same moods of the machine.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use transplant_kernels::simd;

use crate::network::{self, Reads};
use crate::step::Case;
use crate::{Limits, Peer, Timing, median, torch};

/// The figures that are compared.
pub(crate) const KEYS: [&str; 4] = [FORWARD, STEP, MEMORY, WORKING];
/// Median milliseconds of an evaluation forward.
const FORWARD: &str = "forward_ms";
/// Median milliseconds of a training step.
const STEP: &str = "train_step_ms";
/// The most memory that the process has held, in MB.
const MEMORY: &str = "peak_rss_mb";
/// How much of that came after the program and its libraries were loaded: the network, its data, its work space, its compiler.
const WORKING: &str = "above_start_mb";

/// The settings that are tried; a network for texts has no layout to choose.
const FOR_IMAGES: [&str; 3] = ["eager", "channels_last", "compiled"];
const FOR_TEXTS: [&str; 2] = ["eager", "compiled"];

type Figures = BTreeMap<&'static str, f64>;

/// Medians over rounds.
pub(crate) struct Comparison {
    ours: Figures,
    /// By setting: its figures, or why it has none.
    torch: Vec<(String, Result<Figures, String>)>,
}

/// Runs both sides in turns, `peer.rounds` times. A setting that fails is left out of later rounds.
pub(crate) fn compare(
    case: &Case,
    limits: &Limits,
    timing: &Timing,
    peer: &Peer,
    threads: usize,
) -> Result<Comparison> {
    torch::version(peer)?;
    let mut ours = Vec::new();
    let mut runs: Vec<(String, Vec<Value>)> =
        settings(case, peer)?.into_iter().map(|setting| (setting, Vec::new())).collect();
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..peer.rounds.max(1) {
        ours.extend(torch::objects(torch::own("step", limits, threads)?.args(arguments(case, timing)))?);
        let left: Vec<&str> = runs.iter().map(|r| r.0.as_str()).filter(|s| !failed.contains_key(*s)).collect();
        if left.is_empty() {
            break;
        }
        let mut script = torch::script(peer, torch::STEP, limits, threads);
        script.args(arguments(case, timing)).args(["--settings", &left.join(",")]);
        for found in torch::objects(&mut script)? {
            let setting = found["setting"].as_str().context("a setting without a name")?;
            if let Some(reason) = found["error"].as_str() {
                failed.insert(setting.to_owned(), reason.to_owned());
            } else if let Some((_, found_before)) = runs.iter_mut().find(|r| r.0 == setting) {
                found_before.push(found);
            }
        }
    }
    let torch = runs.into_iter().map(|(setting, runs)| match failed.remove(&setting) {
        Some(reason) => (setting, Err(reason)),
        None => (setting, Ok(medians(&runs))),
    });
    Ok(Comparison { ours: medians(&ours), torch: torch.collect() })
}

/// Runs our side only, once.
pub(crate) fn alone(case: &Case, limits: &Limits, timing: &Timing, threads: usize) -> Result<Comparison> {
    let ours = torch::objects(torch::own("step", limits, threads)?.args(arguments(case, timing)))?;
    Ok(Comparison { ours: medians(&ours), torch: Vec::new() })
}

/// The settings that the user names, or all.
fn settings(case: &Case, peer: &Peer) -> Result<Vec<String>> {
    let all: &[&str] = match network::named(&case.model)?.reads {
        Reads::Images => &FOR_IMAGES,
        Reads::Tokens => &FOR_TEXTS,
    };
    if let Some(other) = peer.settings.iter().find(|s| !FOR_IMAGES.contains(&s.as_str())) {
        bail!("PyTorch has no setting `{other}` here, only {}", FOR_IMAGES.join(", "))
    }
    let named = |s: &&&str| peer.settings.is_empty() || peer.settings.iter().any(|named| named == **s);
    Ok(all.iter().filter(named).map(|s| (*s).to_owned()).collect())
}

/// The arguments that both sides take.
fn arguments(case: &Case, timing: &Timing) -> Vec<String> {
    let pairs = [
        ("--model", case.model.clone()),
        ("--size", case.size.to_string()),
        ("--batch", case.batch.to_string()),
        ("--dropout", case.dropout.to_string()),
        ("--repeats", timing.repeats.to_string()),
        ("--precision", timing.precision.to_string()),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

fn medians(runs: &[Value]) -> Figures {
    let of = |key: &'static str| Some((key, median(runs.iter().filter_map(|r| r[key].as_f64()).collect())?));
    KEYS.iter().filter_map(|key| of(key)).collect()
}

impl Comparison {
    /// Our figure.
    pub(crate) fn ours(&self, key: &str) -> Option<f64> {
        self.ours.get(key).copied()
    }

    /// PyTorch's best setting for a figure, and the figure. For memory, that of the setting with the best training step:
    /// nobody trains slowly to save memory.
    pub(crate) fn best(&self, key: &str) -> Option<(&str, f64)> {
        let by = if [MEMORY, WORKING].contains(&key) { STEP } else { key };
        let measured = self.torch.iter().filter_map(|(setting, found)| Some((setting, found.as_ref().ok()?)));
        let with = measured.filter(|(_, figures)| figures.contains_key(by));
        let (setting, figures) = with.min_by(|a, b| a.1[by].total_cmp(&b.1[by]))?;
        Some((setting, *figures.get(key)?))
    }

    /// Our figure as a share of PyTorch's best.
    pub(crate) fn ratio(&self, key: &str) -> Option<f64> {
        Some((self.ours(key)? / self.best(key)?.1 * 1e3).round() / 1e3)
    }

    /// The settings that failed, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.torch.iter().filter_map(|(setting, found)| Some((setting.as_str(), found.as_ref().err()?.as_str())))
    }

    /// Everything.
    pub(crate) fn json(&self, case: &Case, timing: &Timing, threads: usize) -> Value {
        let each = |f: &dyn Fn(&str) -> Option<Value>| -> Map<String, Value> {
            KEYS.iter().filter_map(|key| Some(((*key).to_owned(), f(key)?))).collect()
        };
        let torch = self.torch.iter().map(|(setting, found)| match found {
            Ok(figures) => (setting.clone(), json!(figures)),
            Err(reason) => (setting.clone(), json!({ "error": reason })),
        });
        json!({
            "model": case.model, "size": case.size, "batch": case.batch, "threads": threads,
            "precision": timing.precision.to_string(), "simd": simd::level().to_string(),
            "ours": self.ours, "torch": torch.collect::<Map<_, _>>(),
            "best": each(&|key| Some(json!(self.best(key)?.0))),
            "ratio": each(&|key| Some(json!(self.ratio(key)?))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(forward: f64, step: f64, memory: f64) -> Figures {
        Figures::from([(FORWARD, forward), (STEP, step), (MEMORY, memory), (WORKING, memory / 2.0)])
    }

    #[test]
    fn each_figure_has_its_best_setting() {
        let torch = vec![
            ("eager".to_owned(), Ok(figures(4.0, 20.0, 100.0))),
            ("channels_last".to_owned(), Ok(figures(8.0, 10.0, 400.0))),
            ("compiled".to_owned(), Err("no compiler".to_owned())),
        ];
        let comparison = Comparison { ours: figures(2.0, 5.0, 100.0), torch };
        assert_eq!(comparison.best(FORWARD), Some(("eager", 4.0)));
        assert_eq!(comparison.best(STEP), Some(("channels_last", 10.0)));
        assert_eq!(comparison.best(MEMORY), Some(("channels_last", 400.0)));
        assert_eq!(KEYS.map(|key| comparison.ratio(key)), [Some(0.5), Some(0.5), Some(0.25), Some(0.25)]);
        assert_eq!(comparison.failures().collect::<Vec<_>>(), [("compiled", "no compiler")]);
    }

    #[test]
    fn medians_leave_out_what_is_missing() {
        let runs = [json!({"forward_ms": 3.0}), json!({"forward_ms": 1.0}), json!({"forward_ms": 2.0})];
        assert_eq!(medians(&runs), Figures::from([(FORWARD, 2.0)]));
    }
}
