//! [`fit`]: which tensor of a file goes where.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};
use transplant_core::{Invalid, Result, nearest};

use super::naming::{HEADS, NAMINGS, NOT_NEEDED, Naming};

/// Tensors of a file under the names of a network.
#[derive(Debug)]
pub struct Fitted {
    /// By the network's names, all of them.
    pub tensors: BTreeMap<String, Tensor>,
    /// The layer that turned features into classes, `weight [classes, width]` and `bias [classes]`, where the file has one.
    pub head: BTreeMap<String, Tensor>,
    /// What was changed on the way, by the network's names.
    pub changed: BTreeMap<String, String>,
}

/// Finds the place of every tensor of a file in a network, whose names and shapes are `ours`. Numbers come out in single
/// precision. A first convolution over other colour channels is adapted: summed for one channel, so that a grey image
/// gives what it gave in three equal channels, otherwise repeated and scaled.
///
/// # Errors
/// When a tensor of the network has no counterpart, one of the file no place, or a shape differs.
pub fn fit(file: BTreeMap<String, Tensor>, ours: &BTreeMap<String, Vec<usize>>) -> Result<Fitted> {
    let file = without_wrapper(file);
    let naming = NAMINGS.iter().find(|n| file.keys().any(|k| k.starts_with(n.sign))).unwrap_or(&NAMINGS[1]);
    let blocks = blocks(ours);
    let (mut out, mut head, mut left) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (theirs, tensor) in file {
        let name = naming.translate(&theirs, &blocks);
        if ours.contains_key(&name) {
            let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::F32)? } else { tensor };
            if out.insert(name.clone(), (theirs.clone(), tensor)).is_some() {
                return Err(
                    Invalid::new(format!("two tensors of the file stand for `{name}`, one is `{theirs}`")).into()
                );
            }
        } else if let Some(part) = part_of_head(&name) {
            head.insert(part.to_owned(), tensor.to_dtype(DType::F32)?);
        } else if !NOT_NEEDED.iter().any(|end| name.ends_with(end)) {
            left.push(theirs);
        }
    }
    if let Some(missing) = ours.keys().find(|n| !out.contains_key(*n)) {
        return Err(not_there(missing, &left, naming, ours.len() - out.len(), ours.len()).into());
    }
    if let Some(first) = left.first() {
        let known: Vec<&str> = ours.keys().map(String::as_str).collect();
        let e = Invalid::new(format!("the file has `{first}`, which this network has no place for"));
        let more = if left.len() > 1 { format!(", nor for {} others", left.len() - 1) } else { String::new() };
        let near =
            nearest(first, known.iter().copied()).map(|n| format!("the nearest name of the network is `{n}`{more}"));
        return Err(e.help(near.unwrap_or(format!("is it another variant of the network?{more}"))).into());
    }
    let (mut tensors, mut changed) = (BTreeMap::new(), BTreeMap::new());
    for (name, (theirs, tensor)) in out {
        let (shape, mut tensor) = (&ours[&name], tensor);
        if let Some(channels) = other_channels(tensor.dims(), shape) {
            changed.insert(name.clone(), format!("input channels {} -> {channels}", tensor.dims()[1]));
            tensor = with_channels(&tensor, channels)?;
        }
        if tensor.dims() != shape {
            let dims = tensor.dims();
            let e =
                Invalid::new(format!("`{theirs}` is {dims:?} in the file, and `{name}` is {shape:?} in the network"));
            return Err(e.help("is it another variant of the network?").into());
        }
        tensors.insert(name, tensor);
    }
    Ok(Fitted { tensors, head, changed })
}

/// Names without the `module.` that training on several devices puts before all of them.
fn without_wrapper(file: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    if file.keys().all(|k| k.starts_with("module.")) {
        return file.into_iter().map(|(k, t)| (k["module.".len()..].to_owned(), t)).collect();
    }
    file
}

/// The beginnings `blocks.S.I.` of names, in the order of the network.
fn blocks(ours: &BTreeMap<String, Vec<usize>>) -> Vec<String> {
    let numbers = ours.keys().filter_map(|name| {
        let mut parts = name.strip_prefix("blocks.")?.split('.');
        Some((parts.next()?.parse::<usize>().ok()?, parts.next()?.parse::<usize>().ok()?))
    });
    let numbers: BTreeSet<(usize, usize)> = numbers.collect();
    numbers.into_iter().map(|(stage, index)| format!("blocks.{stage}.{index}.")).collect()
}

fn part_of_head(name: &str) -> Option<&str> {
    let (layer, part) = name.rsplit_once('.')?;
    HEADS.contains(&layer).then_some(part)
}

fn not_there(missing: &str, left: &[String], naming: &Naming, count: usize, of: usize) -> Invalid {
    let e = Invalid::new(format!("the file has no tensor for `{missing}`; {count} of the network's {of} are missing"));
    let near = nearest(missing, left.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |n| format!("; of those that are left, `{n}` is nearest"));
    e.help(format!("its names were read as `{}`{near}", naming.tag))
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
mod tests {
    use super::*;
    use candle_core::Device;

    fn file(entries: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
        let zeros = |s: &[usize]| Tensor::ones(s, DType::F32, &Device::Cpu).unwrap();
        entries.iter().map(|(n, s)| ((*n).to_owned(), zeros(s))).collect()
    }

    fn network(entries: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
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
}
