//! What strategies share: which weights there are, and what a pattern over them means.

use std::collections::{BTreeMap, BTreeSet};

use transplant_core::{Invalid, ModelInfo, NormPolicy, ParamInfo, Pattern, Plan, Use, nearest};

/// A use for every weight of the backbone and the heads; modules and adapters of other strategies are left to them.
///
/// Every weight is named, also those that are trained as usual: a stage counts as frozen only when all of it is.
pub(crate) fn plan(model: &ModelInfo, mut use_of: impl FnMut(&ParamInfo) -> Use) -> Plan {
    let own = model.weights().filter(|p| is_backbone(p) || is_head(p));
    Plan { uses: own.map(|p| (p.name.clone(), use_of(p))).collect(), ..Plan::default() }
}

pub(crate) fn is_backbone(p: &ParamInfo) -> bool {
    p.name.starts_with("backbone.")
}

pub(crate) fn is_head(p: &ParamInfo) -> bool {
    p.name.starts_with("heads.")
}

/// Trained at this factor of the learning rate. Biases and the scales of normalisation layers do not decay: pulling them to
/// zero has no use (He et al. 2019).
pub(crate) fn trained(p: &ParamInfo, lr_scale: f64) -> Use {
    Use::Trained { lr_scale, decay: p.shape.len() > 1 }
}

/// The same normalisation policy for each of these stages.
pub(crate) fn norms<'a>(stages: impl IntoIterator<Item = &'a str>, policy: NormPolicy) -> BTreeMap<String, NormPolicy> {
    stages.into_iter().map(|s| (s.to_owned(), policy)).collect()
}

/// Checks that every pattern matches one of `names`; the error names the option's key and what comes nearest.
pub(crate) fn all_match<'a>(
    key: &str,
    patterns: &[Pattern],
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Invalid> {
    let names: Vec<&str> = names.collect();
    let Some(i) = patterns.iter().position(|p| !names.iter().any(|n| p.matches(n))) else { return Ok(()) };
    // A pattern may name any level of the tree, so every level may be what was meant.
    let levels: BTreeSet<&str> =
        names.iter().flat_map(|n| n.match_indices('.').map(|(at, _)| &n[..at]).chain([*n])).collect();
    let text = patterns[i].as_str();
    let e = Invalid::key(&format!("{key}.{i}"), format!("`{text}` matches nothing"));
    let inside = levels.iter().find(|l| l.strip_suffix(text).is_some_and(|outer| outer.ends_with('.'))).copied();
    Err(match inside.or_else(|| nearest(text, levels.iter().copied())) {
        Some(near) => e.help(format!("did you mean `{near}`?")),
        None => e.help(format!("there are: {}", names.join(", "))),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use transplant_core::{Field, Role, Schema, Stage};

    /// Three blocks of convolution and normalisation, then a pool and a head for the task `class`.
    pub(crate) fn model() -> ModelInfo {
        let blocks = ["block1", "block2", "block3"];
        let block = |name: &&str| Stage { batch_norm: true, ..Stage::new(name) };
        let param = |name: String, shape: &[usize], role, stage: Option<usize>| {
            let loaded = stage.is_some();
            ParamInfo { name, shape: shape.to_vec(), role, stage, loaded }
        };
        let mut params = Vec::new();
        for (i, b) in blocks.iter().enumerate() {
            params.push(param(format!("backbone.{b}.bn.running_mean"), &[4], Role::Buffer, Some(i)));
            params.push(param(format!("backbone.{b}.bn.weight"), &[4], Role::Weight, Some(i)));
            params.push(param(format!("backbone.{b}.conv.weight"), &[4, 4, 3, 3], Role::Weight, Some(i)));
        }
        params.push(param("heads.class.bias".into(), &[3], Role::Weight, None));
        params.push(param("heads.class.weight".into(), &[3, 4], Role::Weight, None));
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        ModelInfo {
            features: Schema::new(),
            stages: blocks.iter().map(block).chain([Stage::new("pool")]).collect(),
            params,
            tasks: [("class".to_owned(), Field::Class { names })].into(),
            targets: [("class".to_owned(), "class".to_owned())].into(),
            has_source: true,
            kept_heads: vec!["class".to_owned()],
            epochs: 10,
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_named_with_what_was_meant() {
        let model = model();
        let check = |p: &str| all_match("freeze", &[Pattern::new(p)], model.weights().map(|p| p.name.as_str()));
        assert!(check("backbone.block1").is_ok() && check("*.bias").is_ok());
        for (wrong, meant) in [("block2", "backbone.block2"), ("backbone.blok3", "backbone.block3")] {
            let e = check(wrong).unwrap_err().to_string();
            assert_eq!(e, format!("freeze.0: `{wrong}` matches nothing (did you mean `{meant}`?)"));
        }
        assert!(check("zzz").unwrap_err().to_string().contains("there are: backbone.block1.bn.weight"));
    }
}
