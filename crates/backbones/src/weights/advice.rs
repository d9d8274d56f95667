//! What to do about a file that does not fit a network.

use std::collections::BTreeSet;

use transplant_core::{Invalid, nearest};

use super::naming::Naming;
use super::tensors::without;

/// The parts of the file that hold the tensors which were left, where they hold nothing of the network: leaving them
/// out makes the rest fit. `None` where one of them holds something: the network is another one.
pub(super) fn foreign(left: &[String], prefix: &str, taken: &[&str]) -> Option<Vec<String>> {
    let part = |name: &String| {
        let inner = name.strip_prefix(prefix).unwrap_or(name);
        let part = format!("{prefix}{}", inner.split('.').next().unwrap_or(inner));
        let holds = |name: &&str| without(name, &part).is_some() || **name == part;
        (!taken.iter().any(holds)).then_some(part)
    };
    Some(left.iter().map(part).collect::<Option<BTreeSet<_>>>()?.into_iter().collect())
}

/// The error for a file in which adapters of LoRA, named as PEFT and others name them (`lora_A`, `lora_embedding_B`),
/// stand beside weights; `None` where there are none.
pub(super) fn unmerged(left: &[String]) -> Option<Invalid> {
    let is_adapter = |name: &&String| name.split('.').any(|part| part.starts_with("lora_"));
    let adapter = left.iter().find(is_adapter)?;
    let e =
        Invalid::new(format!("the file has adapters of LoRA that are not merged into weights, such as `{adapter}`"));
    Some(e.help("merge them before saving: in PEFT, `model.merge_and_unload()` returns the merged network"))
}

/// The error for tensors of the network that the file lacks: `missing` is the first of them, `count` of the network's
/// `of`.
pub(super) fn not_there(
    missing: &str,
    left: &[String],
    naming: &Naming,
    [count, of]: [usize; 2],
    hint: Option<String>,
) -> Invalid {
    let e = Invalid::new(format!("the file has no tensor for `{missing}`; {count} of the network's {of} are missing"));
    let parametrised = |n: &String| n.contains(".parametrizations.") || n.ends_with(".weight_g");
    if let Some(name) = left.iter().find(|n| parametrised(n)) {
        let how = "call `torch.nn.utils.parametrize.remove_parametrizations` (or `remove_weight_norm`) before saving";
        return e.help(format!("`{name}` is part of a weight that is computed from several: {how}"));
    }
    if let Some(hint) = hint {
        return e.help(hint);
    }
    let near = nearest(missing, left.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |n| format!("; of those that are left, `{n}` is nearest"));
    e.help(format!("its names were read as `{}`{near}", naming.tag))
}

/// What may be the matter with a tensor of another shape.
pub(super) fn other_shape(theirs: &[usize], ours: &[usize]) -> String {
    match (theirs, ours) {
        (&[o, c, h, w], &[oo, cc, hh, ww]) if c != cc && (o, h, w) == (oo, hh, ww) => {
            format!(
                "it takes {c} channels, and the data set's rows have {cc}; only weights for 3 are adapted to others"
            )
        }
        _ => "is it another variant of the network?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit;
    use super::super::fit::tests::{file, network};

    #[test]
    fn only_foreign_parts_are_left_out() {
        let ours = network(&[("conv1.weight", &[8, 3, 7, 7]), ("layer1.0.bn1.bias", &[8])]);
        let wrong = |prefix: &str, more: &[&str]| {
            let names = ["conv1.weight", "layer1.0.bn1.bias"].iter().chain(more);
            let all: Vec<(String, Vec<usize>)> = names
                .map(|n| (format!("{prefix}{n}"), if n.contains("conv1") { vec![8, 3, 7, 7] } else { vec![8] }))
                .collect();
            let all: Vec<(&str, &[usize])> = all.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
            fit(file(&all), &ours).unwrap_err().to_string()
        };
        for prefix in ["", "backbone."] {
            let e = wrong(prefix, &["layer1.1.bn1.bias"]);
            assert!(!e.contains("leave_out") && e.contains("is it another variant of the network?"), "{e}");
            let e = wrong(prefix, &["decoder.bias", "aux.0.bias", "aux.1.bias"]);
            assert!(e.contains(&format!("`leave_out = [\"{prefix}aux\", \"{prefix}decoder\"]`")), "{e}");
        }
    }

    #[test]
    fn adapters_are_to_be_merged() {
        let ours = network(&[("layer.weight", &[2, 2])]);
        let start = "base_model.model.layer.";
        let unmerged = [("base_layer.weight", [2, 2]), ("lora_A.default.weight", [1, 2]), ("lora_B.weight", [2, 1])];
        let unmerged: Vec<(String, [usize; 2])> = unmerged.iter().map(|(n, s)| (format!("{start}{n}"), *s)).collect();
        for from in [0, 1] {
            let entries: Vec<(&str, &[usize])> = unmerged[from..].iter().map(|(n, s)| (n.as_str(), &s[..])).collect();
            let e = fit(file(&entries), &ours).unwrap_err().to_string();
            assert!(e.contains("lora_A.default.weight") && e.contains("merge_and_unload"), "{e}");
        }
    }
}
