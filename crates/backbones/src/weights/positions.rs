//! Tables of positions of another number than a network has.
//!
//! A vision transformer's are a picture of weights, which is resized as timm does for pictures of another size (Dosovitskiy et
//! al. 2021); a text's are numbered, and the first ones are taken.

use candle_core::{DType, Tensor};
use transplant_core::Result;

/// The table with as many positions as a network of this shape has, and what was done; `None` when it is no such table.
pub(super) fn resized(name: &str, table: &Tensor, ours: &[usize]) -> Result<Option<(Tensor, String)>> {
    if name == "embeddings.position_embeddings.weight" {
        let (&[theirs, width], &[number, ours_width]) = (table.dims(), ours) else { return Ok(None) };
        if width != ours_width || number >= theirs {
            return Ok(None);
        }
        return Ok(Some((table.narrow(0, 0, number)?.contiguous()?, format!("positions {theirs} -> {number}"))));
    }
    let (&[1, theirs, width], &[1, number, ours_width]) = (table.dims(), ours) else { return Ok(None) };
    if name != "pos_embed" || width != ours_width || theirs == number || theirs == 0 || number == 0 {
        return Ok(None);
    }
    // The first position is the class token's. The shape tells of no height and width, so only squares can be read.
    let side = |patches: usize| Some(patches.isqrt()).filter(|s| s * s == patches && *s > 0);
    let (Some(from), Some(to)) = (side(theirs - 1), side(number - 1)) else { return Ok(None) };
    let values = table.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let mut out = values[..width].to_vec();
    out.extend(bicubic(&values[width..], width, from, to));
    let out = Tensor::from_vec(out, ours, table.device())?;
    Ok(Some((out, format!("grid of positions {from} x {from} -> {to} x {to}"))))
}

/// `[from, from, width]` as `[to, to, width]`: bicubic (Keys 1981, a = -0.5), and averaged over more inputs when it shrinks, as
/// PyTorch does with `antialias`.
fn bicubic(x: &[f32], width: usize, from: usize, to: usize) -> Vec<f32> {
    let taps = taps(from, to);
    let mut across = vec![0f64; from * to * width];
    for (i, out) in across.chunks_exact_mut(width).enumerate() {
        let (y, (start, weights)) = (i / to, &taps[i % to]);
        for (j, w) in weights.iter().enumerate() {
            let of = &x[(y * from + start + j) * width..][..width];
            out.iter_mut().zip(of).for_each(|(o, v)| *o += w * f64::from(*v));
        }
    }
    let mut out = vec![0f64; to * to * width];
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let (start, weights) = &taps[i / to];
        for (j, w) in weights.iter().enumerate() {
            let of = &across[((start + j) * to + i % to) * width..][..width];
            out.iter_mut().zip(of).for_each(|(o, v)| *o += w * v);
        }
    }
    out.into_iter().map(|v| v as f32).collect()
}

/// For each output the first input it is made of, and the weights of that and the next ones.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let cubic = |x: f64| {
        let x = x.abs();
        match x {
            _ if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            _ if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            _ => 0.0,
        }
    };
    let of = |i: usize| {
        let (centre, support) = (scale * (i as f64 + 0.5), 2.0 * stretch);
        let start = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (start..end).map(|j| cubic((j as f64 - centre + 0.5) / stretch)).collect();
        let sum: f64 = weights.iter().sum();
        (start, weights.into_iter().map(|w| w / sum).collect())
    };
    (0..to).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn grids_are_resized_as_timm_does() {
        let goldens: serde_json::Value = serde_json::from_str(include_str!("../../goldens/positions.json")).unwrap();
        for golden in goldens.as_array().unwrap() {
            let [from, to, width] = ["from", "to", "width"].map(|k| golden[k].as_u64().unwrap() as usize);
            let count = (from * from + 1) * width;
            let table: Vec<f32> = (0..count).map(|i| (i as f64 * 0.37).sin() as f32).collect();
            let table = Tensor::from_vec(table, (1, from * from + 1, width), &Device::Cpu).unwrap();
            let (out, how) = resized("pos_embed", &table, &[1, to * to + 1, width]).unwrap().unwrap();
            assert_eq!(how, format!("grid of positions {from} x {from} -> {to} x {to}"));
            let out: Vec<f32> = out.flatten_all().unwrap().to_vec1().unwrap();
            let want: Vec<f32> = serde_json::from_value(golden["values"].clone()).unwrap();
            assert_eq!(out.len(), want.len());
            for (a, b) in out.iter().zip(want) {
                assert!((a - b).abs() < 1e-5, "{from} -> {to}: {a} for {b}");
            }
        }
    }

    #[test]
    fn a_texts_first_positions_are_taken_and_nothing_else_is_changed() {
        let name = "embeddings.position_embeddings.weight";
        let table = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((4, 3)).unwrap();
        let (out, how) = resized(name, &table, &[2, 3]).unwrap().unwrap();
        assert_eq!(out.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert_eq!(how, "positions 4 -> 2");
        for (name, ours) in [(name, &[5, 3][..]), (name, &[2, 2]), ("other", &[2, 3])] {
            assert!(resized(name, &table, ours).unwrap().is_none(), "{name} {ours:?}");
        }
        let grid = table.reshape((1, 4, 3)).unwrap();
        assert!(resized("pos_embed", &grid, &[1, 5, 3]).unwrap().is_none(), "three patches are no square");
    }
}
