//! [`fit`]: which tensor of a file goes where.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};
use transplant_core::{Invalid, Result, nearest};

use super::advice::{foreign, not_there, other_shape, unmerged};
use super::naming::{FRESH, FUSED, HEADS, Naming};
use super::positions::resized;
use super::prefix::{Unwrapped, unwrap};
use super::sets::shown;
use super::tensors::WeightsFile;
use super::values::checked;

/// Tensors of a file under the names of a network.
#[derive(Debug)]
pub struct Fitted {
    /// By the network's names, all of them but those in `fresh`.
    pub tensors: BTreeMap<String, Tensor>,
    /// Names of the network for which no file has a tensor (a learned pooling): they keep what they start with.
    pub fresh: Vec<String>,
    /// The layer that turned features into classes, `weight [classes, width]` and `bias [classes]`, where the file has
    /// one.
    pub head: BTreeMap<String, Tensor>,
    /// What was changed on the way, by the network's names.
    pub changed: BTreeMap<String, String>,
    /// What to tell of the file as a whole: which of several sets of weights was taken, what was taken off its names.
    pub notes: Vec<String>,
}

/// The names and shapes of a network.
pub(super) struct Ours<'a> {
    /// Shapes by name.
    pub(super) shapes: &'a BTreeMap<String, Vec<usize>>,
    /// The beginnings `blocks.S.I.` of names, in the order of the network.
    pub(super) blocks: Vec<String>,
}

impl<'a> Ours<'a> {
    fn new(shapes: &'a BTreeMap<String, Vec<usize>>) -> Self {
        let numbers = shapes.keys().filter_map(|name| {
            let mut parts = name.strip_prefix("blocks.")?.split('.');
            Some((parts.next()?.parse::<usize>().ok()?, parts.next()?.parse::<usize>().ok()?))
        });
        let numbers: BTreeSet<(usize, usize)> = numbers.collect();
        Self { shapes, blocks: numbers.into_iter().map(|(s, index)| format!("blocks.{s}.{index}.")).collect() }
    }

    /// The network's own name of what has this one, which may be a part of it.
    pub(super) fn place(&self, name: &str) -> Option<&'a str> {
        let known = |name: &str| self.shapes.get_key_value(name).map(|(n, _)| n.as_str());
        let (one, parts) = FUSED;
        known(name).or_else(|| known(&name.replace(parts.iter().find(|part| name.contains(*part))?, one)))
    }
}

/// Finds the place of every tensor of a file in a network, whose names and shapes are `ours`. Numbers come out in
/// single precision. What wrappers put before names is taken off. A first convolution over other colour channels is
/// adapted: summed for one channel, so that a grey image gives what it gave in three equal channels, otherwise repeated
/// and scaled. A vision transformer's grid of positions is resized when it has another size, and of a text's positions
/// the first are taken when the network has fewer.
///
/// # Errors
/// When a tensor of the network has no counterpart, one of the file no place, a shape differs, or values cannot be
/// weights: whole numbers, values that are not finite, variances below 0.
pub fn fit(file: impl Into<WeightsFile>, ours: &BTreeMap<String, Vec<usize>>) -> Result<Fitted> {
    let network = Ours::new(ours);
    let Unwrapped { file, head: beside, prefix } = unwrap(file.into(), &network)?;
    let WeightsFile { tensors, unread, mut notes, hint, .. } = file;
    let naming = Naming::of(tensors.keys().chain(unread.keys()));
    for (theirs, why) in &unread {
        if let Some(name) = network.place(&naming.translate(theirs, &network.blocks)) {
            let e = Invalid::new(format!("`{prefix}{theirs}` {why} in the file, and `{name}` is a weight"));
            return Err(e.help("only plain tensors of floating-point numbers are read: save them as such").into());
        }
    }
    let named = tensors.into_iter().map(|(theirs, tensor)| {
        let name = naming.translate(&theirs, &network.blocks);
        (name, format!("{prefix}{theirs}"), tensor)
    });
    let (mut out, mut head, mut left, mut not_weights) = (BTreeMap::new(), beside, Vec::new(), Vec::new());
    for (name, theirs, tensor) in fused(named.collect(), ours)? {
        if ours.contains_key(&name) {
            let tensor = checked(&theirs, &name, &tensor)?;
            if out.insert(name.clone(), (theirs.clone(), tensor)).is_some() {
                return Err(
                    Invalid::new(format!("two tensors of the file stand for `{name}`, one is `{theirs}`")).into()
                );
            }
        } else if let Some(part) = part_of_head(&name) {
            head.insert(part.to_owned(), tensor);
        } else if !naming.ignores(&name) {
            let is_weight = tensor.dtype().is_float() && tensor.elem_count() > 0;
            if is_weight { &mut left } else { &mut not_weights }.push(theirs);
        }
    }
    head.retain(|_, t| t.dtype().is_float());
    for t in head.values_mut() {
        *t = t.to_dtype(DType::F32)?;
    }
    let unread = unread.keys().filter(|n| !naming.ignores(n)).map(|n| format!("{prefix}{n}"));
    not_weights.extend(unread);
    if !not_weights.is_empty() {
        notes.push(format!("left out, as no weights: {}", shown(not_weights.iter().map(String::as_str))));
    }
    if let Some(e) = unmerged(&left) {
        return Err(e.into());
    }
    let absent: Vec<&String> = ours.keys().filter(|n| !out.contains_key(*n)).collect();
    let (fresh, missing): (Vec<&String>, Vec<&String>) =
        absent.into_iter().partition(|n| FRESH.iter().any(|start| n.starts_with(start)));
    if let Some(first) = missing.first() {
        return Err(not_there(first, &left, naming, [missing.len(), ours.len()], hint).into());
    }
    if let Some(first) = left.first() {
        let known: Vec<&str> = ours.keys().map(String::as_str).collect();
        let e = Invalid::new(format!("the file has `{first}`, which this network has no place for"));
        let taken: Vec<&str> = out.values().map(|(theirs, _)| theirs.as_str()).collect();
        let remedy = match foreign(&left, &prefix, &taken) {
            Some(parts) => format!("; what is no part of it is left out by `leave_out = {parts:?}`"),
            None => "; is it another variant of the network?".to_owned(),
        };
        let more = if left.len() > 1 { format!(", nor for {} others", left.len() - 1) } else { String::new() };
        let near =
            nearest(first, known.iter().copied()).map(|n| format!("the nearest name of the network is `{n}`{more}"));
        let near = near.unwrap_or(format!("no name of the network is near{more}"));
        return Err(e.help(near + &remedy).into());
    }
    let (mut tensors, mut changed) = (BTreeMap::new(), BTreeMap::new());
    for (name, (theirs, tensor)) in out {
        let (shape, mut tensor) = (&ours[&name], tensor);
        if let Some(channels) = other_channels(tensor.dims(), shape) {
            changed.insert(name.clone(), format!("input channels {} -> {channels}", tensor.dims()[1]));
            tensor = with_channels(&tensor, channels)?;
        }
        if let Some((other, how)) = resized(&name, &tensor, shape)? {
            changed.insert(name.clone(), how);
            tensor = other;
        }
        if tensor.dims() != shape {
            let dims = tensor.dims();
            let e =
                Invalid::new(format!("`{theirs}` is {dims:?} in the file, and `{name}` is {shape:?} in the network"));
            return Err(e.help(other_shape(dims, shape)).into());
        }
        tensors.insert(name, tensor);
    }
    Ok(Fitted { tensors, fresh: fresh.into_iter().cloned().collect(), head, changed, notes })
}

/// The tensors, by our name and theirs, with three layers in one wherever the network has the one.
fn fused(
    named: Vec<(String, String, Tensor)>,
    ours: &BTreeMap<String, Vec<usize>>,
) -> Result<Vec<(String, String, Tensor)>> {
    let (one, parts) = FUSED;
    let mut out = Vec::new();
    let mut by_name = BTreeMap::new();
    for (name, theirs, tensor) in named {
        match parts.iter().position(|part| name.contains(part)) {
            Some(i) if ours.contains_key(&name.replace(parts[i], one)) => {
                let whole: &mut BTreeMap<usize, _> = by_name.entry(name.replace(parts[i], one)).or_default();
                whole.insert(i, (name, theirs, tensor));
            }
            _ => out.push((name, theirs, tensor)),
        }
    }
    for (name, whole) in by_name {
        if whole.len() < parts.len() || whole.values().any(|(_, _, t)| t.rank() == 0) {
            out.extend(whole.into_values());
            continue;
        }
        let tensors: Vec<&Tensor> = whole.values().map(|(_, _, t)| t).collect();
        let joined = Tensor::cat(&tensors, 0)?;
        let theirs = whole.into_values().map(|(_, theirs, _)| theirs).next().unwrap_or_default();
        out.push((name, theirs, joined));
    }
    Ok(out)
}

/// The part of a layer that turned features into classes, `weight` or `bias`.
pub(super) fn part_of_head(name: &str) -> Option<&str> {
    let (layer, part) = name.rsplit_once('.')?;
    HEADS.contains(&layer).then_some(part)
}

/// The channels of the network's first convolution, where only they differ.
fn other_channels(theirs: &[usize], ours: &[usize]) -> Option<usize> {
    let (&[o, c, h, w], &[oo, cc, hh, ww]) = (theirs, ours) else { return None };
    (c == 3 && cc != c && (o, h, w) == (oo, hh, ww)).then_some(cc)
}

fn with_channels(weight: &Tensor, channels: usize) -> Result<Tensor> {
    if channels == 1 {
        return Ok(weight.sum_keepdim(1)?);
    }
    let from: Vec<u32> = (0..channels as u32).map(|c| c % 3).collect();
    let repeated = weight.index_select(&Tensor::new(from, weight.device())?, 1)?;
    Ok((repeated * (3.0 / channels as f64))?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use candle_core::Device;

    pub(in super::super) fn file(entries: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
        let zeros = |s: &[usize]| Tensor::ones(s, DType::F32, &Device::Cpu).unwrap();
        entries.iter().map(|(n, s)| ((*n).to_owned(), zeros(s))).collect()
    }

    pub(in super::super) fn network(entries: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
        entries.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect()
    }

    #[test]
    fn names_of_another_library_find_their_places() {
        let ours = network(&[
            ("conv_stem.weight", &[8, 3, 3, 3]),
            ("bn1.weight", &[8]),
            ("blocks.0.0.conv_pw.weight", &[4, 8, 1, 1]),
            ("blocks.1.0.conv_pw.weight", &[24, 4, 1, 1]),
            ("blocks.1.1.bn3.bias", &[4]),
        ]);
        let theirs = file(&[
            ("module._conv_stem.weight", &[8, 3, 3, 3]),
            ("module._bn0.weight", &[8]),
            ("module._bn0.num_batches_tracked", &[]),
            ("module._blocks.0._project_conv.weight", &[4, 8, 1, 1]),
            ("module._blocks.1._expand_conv.weight", &[24, 4, 1, 1]),
            ("module._blocks.2._bn2.bias", &[4]),
            ("module._fc.weight", &[10, 7]),
        ]);
        let fitted = fit(theirs, &ours).unwrap();
        assert_eq!(fitted.tensors.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
        assert_eq!(fitted.head["weight"].dims(), [10, 7]);
        assert!(fitted.changed.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_nearest() {
        let ours = network(&[("conv1.weight", &[8, 3, 7, 7]), ("layer1.0.bn1.bias", &[8])]);
        let wrong = |entries: &[(&str, &[usize])]| fit(file(entries), &ours).unwrap_err().to_string();
        let e = wrong(&[("conv1.weight", &[8, 3, 7, 7]), ("layer1.0.bn.bias", &[8])]);
        assert!(e.contains("no tensor for `layer1.0.bn1.bias`; 1 of the network's 2"), "{e}");
        let e = wrong(&[("conv1.weight", &[8, 3, 7, 7]), ("layer1.0.bn1.bias", &[8]), ("layer2.0.bn1.bias", &[8])]);
        assert!(e.contains("has `layer2.0.bn1.bias`, which this network has no place for"), "{e}");
        assert!(e.contains("`leave_out = [\"layer2\"]`"), "{e}");
        let e = wrong(&[("conv1.weight", &[8, 3, 3, 3]), ("layer1.0.bn1.bias", &[8])]);
        assert!(e.contains("`conv1.weight` is [8, 3, 3, 3] in the file") && e.contains("[8, 3, 7, 7]"), "{e}");
        assert!(wrong(&[]).contains("2 of the network's 2 are missing"));
    }

    #[test]
    fn colour_channels_are_adapted_so_that_equal_ones_give_the_same() {
        for channels in [1, 2, 4, 6] {
            let ours = network(&[("conv1.weight", &[2, channels, 1, 1])]);
            let fitted = fit(file(&[("conv1.weight", &[2, 3, 1, 1])]), &ours).unwrap();
            let weight = &fitted.tensors["conv1.weight"];
            assert_eq!(weight.dims(), [2, channels, 1, 1]);
            let sum = weight.sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((sum - 6.0).abs() < 1e-5, "{channels}: {sum}");
            assert_eq!(fitted.changed["conv1.weight"], format!("input channels 3 -> {channels}"));
        }
    }

    #[test]
    fn berts_of_hugging_face_find_their_places() {
        let ours = network(&[
            ("embeddings.word_embeddings.weight", &[9, 4]),
            ("embeddings.position_embeddings.weight", &[5, 4]),
            ("embeddings.LayerNorm.weight", &[4]),
            ("encoder.layer.0.attention.self.query.weight", &[4, 4]),
            ("encoder.layer.0.output.LayerNorm.bias", &[4]),
            ("pooling.score.weight", &[1, 4]),
        ]);
        let inner: &[(&str, &[usize])] = &[
            ("embeddings.word_embeddings.weight", &[9, 4]),
            ("embeddings.position_embeddings.weight", &[8, 4]),
            ("embeddings.LayerNorm.gamma", &[4]),
            ("embeddings.position_ids", &[1, 8]),
            ("encoder.layer.0.attention.self.query.weight", &[4, 4]),
            ("encoder.layer.0.output.LayerNorm.beta", &[4]),
            ("pooler.dense.weight", &[4, 4]),
        ];
        for prefix in ["", "bert."] {
            let mut theirs =
                file(inner).into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)).collect::<BTreeMap<_, _>>();
            theirs.extend(file(&[("cls.predictions.bias", &[9]), ("classifier.weight", &[2, 4])]));
            let fitted = fit(theirs, &ours).unwrap();
            assert_eq!(fitted.tensors.len(), 5, "{prefix}");
            assert_eq!(fitted.fresh, ["pooling.score.weight"]);
            assert_eq!(fitted.head["weight"].dims(), [2, 4]);
            let how = |n: &str| fitted.changed.get(n).cloned();
            assert_eq!(how("embeddings.position_embeddings.weight").as_deref(), Some("positions 8 -> 5"));
        }
        // A layer too many is no head.
        let mut theirs = file(inner);
        theirs.extend(file(&[("encoder.layer.1.output.LayerNorm.beta", &[4])]));
        assert!(fit(theirs, &ours).unwrap_err().to_string().contains("`encoder.layer.1.output.LayerNorm.beta`"));
    }

    #[test]
    fn distilberts_of_hugging_face_find_their_places() {
        let ours = network(&[
            ("embeddings.word_embeddings.weight", &[9, 4]),
            ("transformer.layer.0.attention.q_lin.weight", &[4, 4]),
        ]);
        let theirs = file(&[
            ("distilbert.embeddings.word_embeddings.weight", &[9, 4]),
            ("distilbert.transformer.layer.0.attention.q_lin.weight", &[4, 4]),
            ("vocab_transform.weight", &[4, 4]),
            ("vocab_layer_norm.weight", &[4]),
            ("vocab_projector.bias", &[9]),
            ("pre_classifier.weight", &[4, 4]),
            ("classifier.bias", &[2]),
        ]);
        let fitted = fit(theirs, &ours).unwrap();
        assert_eq!((fitted.tensors.len(), fitted.head["bias"].dims()), (2, &[2][..]));
    }

    #[test]
    fn vision_transformers_of_hugging_face_find_their_places() {
        let ours = network(&[
            ("cls_token", &[1, 1, 4]),
            ("pos_embed", &[1, 10, 4]),
            ("patch_embed.proj.weight", &[4, 3, 2, 2]),
            ("blocks.0.attn.qkv.weight", &[12, 4]),
            ("blocks.0.attn.qkv.bias", &[12]),
            ("blocks.0.attn.proj.weight", &[4, 4]),
            ("blocks.0.mlp.fc1.weight", &[16, 4]),
            ("blocks.0.norm2.bias", &[4]),
            ("norm.weight", &[4]),
        ]);
        let old =
            ["encoder.layer.0.", "attention.attention.query", "attention.attention.key", "attention.attention.value"];
        let old = (old, ["attention.output.dense", "intermediate.dense"]);
        let new = ["layers.0.", "attention.q_proj", "attention.k_proj", "attention.v_proj"];
        let new = (new, ["attention.o_proj", "mlp.fc1"]);
        for ((block, out), prefix) in [(old, "vit."), (old, "deit."), (old, ""), (new, "vit."), (new, "")] {
            let mut theirs = file(&[
                ("embeddings.cls_token", &[1, 1, 4]),
                ("embeddings.position_embeddings", &[1, 5, 4]),
                ("embeddings.patch_embeddings.projection.weight", &[4, 3, 2, 2]),
                ("layernorm.weight", &[4]),
                ("pooler.dense.weight", &[4, 4]),
            ]);
            let layer = block[0];
            theirs.extend(file(&[
                (&format!("{layer}{}.weight", out[0]), &[4, 4]),
                (&format!("{layer}{}.weight", out[1]), &[16, 4]),
                (&format!("{layer}layernorm_after.bias"), &[4]),
            ]));
            for (i, part) in block[1..].iter().enumerate() {
                for (end, shape) in [("weight", &[4, 4][..]), ("bias", &[4])] {
                    let value = Tensor::full(i as f32, shape, &Device::Cpu).unwrap();
                    theirs.insert(format!("{layer}{part}.{end}"), value);
                }
            }
            let mut theirs: BTreeMap<String, Tensor> =
                theirs.into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)).collect();
            theirs.extend(file(&[("classifier.weight", &[10, 4])]));
            let fitted = fit(theirs, &ours).unwrap();
            assert_eq!(fitted.tensors.len(), ours.len());
            let bias = fitted.tensors["blocks.0.attn.qkv.bias"].to_vec1::<f32>().unwrap();
            assert_eq!(bias, [[0.0; 4], [1.0; 4], [2.0; 4]].concat());
            assert_eq!(fitted.changed["pos_embed"], "grid of positions 2 x 2 -> 3 x 3");
            assert_eq!(fitted.head["weight"].dims(), [10, 4]);
        }
    }
}
