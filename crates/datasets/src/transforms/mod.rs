//! Transforms, one file each. Those of images change the input [`HIDDEN`], which must be a [`Field::Image`]; those of texts make
//! tokens of the input [`TEXT`](transplant_core::TEXT); those of vectors change [`HIDDEN`], a [`Field::Vector`].

pub mod affine;
mod colour;
pub mod colour_jitter;
pub mod flip;
pub mod gaussian_blur;
pub mod greyscale;
pub mod hash_words;
pub mod normalise;
mod operation;
pub mod pad;
pub mod pad_crop;
pub mod rand_augment;
pub mod random_erasing;
pub mod random_resized_crop;
pub mod resize;
mod sample;
pub mod standardise;
mod texts;
pub mod tokenise;
pub mod trivial_augment;

use candle_core::Tensor;
use transplant_core::{Acts, Field, HIDDEN, Invalid, Result, Schema};
use transplant_kernels::parallel;

use crate::findings::counted;

pub use affine::Affine;
pub use colour_jitter::ColourJitter;
pub use flip::Flip;
pub use gaussian_blur::GaussianBlur;
pub use greyscale::Greyscale;
pub use hash_words::HashWords;
pub use normalise::Normalise;
pub use pad::Pad;
pub use pad_crop::PadCrop;
pub use rand_augment::RandAugment;
pub use random_erasing::RandomErasing;
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Resize;
pub use standardise::Standardise;
pub use tokenise::Tokenise;
pub use trivial_augment::TrivialAugment;

/// The schema with its image changed by `f`, which maps channels, height and width.
fn image_schema(inputs: &Schema, f: impl FnOnce([usize; 3]) -> Result<[usize; 3], Invalid>) -> Result<Schema> {
    let Some(Field::Image { channels, height, width }) = inputs.get(HIDDEN) else {
        let rows = match inputs.get(HIDDEN) {
            Some(Field::Vector { width }) => format!("rows of {}", counted(*width, "number")),
            Some(Field::Sequence { .. }) => "sequences".to_owned(),
            _ => "no images".to_owned(),
        };
        return Err(Invalid::new(format!("needs images, and the data set has {rows}")).into());
    };
    let [channels, height, width] = f([*channels, *height, *width])?;
    let mut out = inputs.clone();
    out.insert(HIDDEN.to_owned(), Field::Image { channels, height, width });
    Ok(out)
}

/// The schema of images of one or three channels, unchanged: what changes colours knows no others.
fn colour_schema(inputs: &Schema) -> Result<Schema> {
    image_schema(inputs, |size| match size[0] {
        1 | 3 => Ok(size),
        n => Err(Invalid::new(format!("changes colours, and knows images of 1 or 3 channels, not of {n}"))),
    })
}

/// Sets every image of a batch to what `f` writes for it, given its place in the batch and its pixels. Images are worked
/// on in parallel, each by itself, so the result does not depend on the number of threads.
fn each_image(
    inputs: Acts,
    size: &dyn Fn([usize; 3]) -> [usize; 3],
    f: &(dyn Fn(usize, &Image<'_>, &mut [f32]) + Sync),
) -> Result<Acts> {
    let images = inputs.get(HIDDEN)?;
    let (rows, c, h, w) = images.dims4()?;
    let [out_c, out_h, out_w] = size([c, h, w]);
    let (from, to) = (c * h * w, out_c * out_h * out_w);
    if from == 0 || to == 0 {
        return Err(Invalid::new(format!("images of {c}x{h}x{w} cannot become {out_c}x{out_h}x{out_w}")).into());
    }
    let pixels = images.flatten_all()?.to_vec1::<f32>()?;
    let mut out = vec![0f32; rows * to];
    parallel::chunks_mut(&mut out, to, &|i, out| {
        f(i, &Image { pixels: &pixels[i * from..(i + 1) * from], height: h, width: w }, out);
    });
    let out = Tensor::from_vec(out, (rows, out_c, out_h, out_w), images.device())?;
    Ok(inputs.with(HIDDEN, out))
}

/// One image, channel after channel.
struct Image<'a> {
    pixels: &'a [f32],
    height: usize,
    width: usize,
}

impl Image<'_> {
    /// Its channels.
    fn planes(&self) -> impl Iterator<Item = &[f32]> {
        self.pixels.chunks(self.height * self.width)
    }
}

/// Copies a plane into a plane of another size filled with `fill`, its corner at `top`, `left` (negative: cut off).
fn place(from: &[f32], [h, w]: [usize; 2], to: &mut [f32], [out_h, out_w]: [usize; 2], at: [isize; 2], fill: f32) {
    to.fill(fill);
    let [top, left] = at;
    for y in 0..h {
        let out_y = y as isize + top;
        if !(0..out_h as isize).contains(&out_y) {
            continue;
        }
        let (first, end) = (left.max(0), (left + w as isize).min(out_w as isize));
        if first < end {
            let row = &from[y * w..(y + 1) * w];
            let out = &mut to[out_y as usize * out_w..][first as usize..end as usize];
            out.copy_from_slice(&row[(first - left) as usize..(end - left) as usize]);
        }
    }
}

/// Checks that a number is finite and in a range.
fn in_range(key: &str, value: f64, least: f64, most: f64) -> Result<(), Invalid> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Invalid::key(key, format!("must be between {least} and {most}, not {value}")))
}

/// Checks that two numbers in order are in a range.
fn in_order(key: &str, [least, most]: [f64; 2], from: f64, to: f64) -> Result<(), Invalid> {
    if least >= from && least <= most && most <= to {
        return Ok(());
    }
    Err(Invalid::key(key, format!("must be two numbers in order between {from} and {to}, not [{least}, {most}]")))
}

/// What the tests of the transforms share.
#[cfg(test)]
mod testing {
    use super::*;
    use candle_core::Device;
    use std::path::Path;
    use transplant_core::{BuildCx, Component, Plugins, Seeds, Spec, Transform, TransformCx};

    /// Builds a transform from its options as a file gives them.
    pub(super) fn build<C: Component<dyn Transform> + 'static>(
        options: serde_json::Value,
    ) -> Result<Box<dyn Transform>> {
        let plugins = Plugins::new().with(|p| p.add::<dyn Transform, C>());
        let mut spec = Spec::<dyn Transform>::new(C::TYPE);
        spec.options = options.as_object().cloned().unwrap_or_default();
        plugins.check(&spec)?;
        plugins.build(&spec, &BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) })
    }

    /// What is wrong with these options.
    pub(super) fn fault<C: Component<dyn Transform> + 'static>(options: serde_json::Value) -> String {
        build::<C>(options).err().map(|e| e.to_string()).unwrap_or_default()
    }

    /// A batch of images of this shape with the values 0, 1, 2, …
    pub(super) fn counting(shape: [usize; 4]) -> Acts {
        let n = shape.iter().product::<usize>();
        let shape = (shape[0], shape[1], shape[2], shape[3]);
        Acts::hidden(Tensor::from_vec((0..n).map(|i| i as f32).collect(), shape, &Device::Cpu).unwrap())
    }

    /// The values after the transform, for rows 0, 1, 2, …; the shape must be the one its schema promises.
    pub(super) fn apply(t: &dyn Transform, inputs: Acts, epoch: u64) -> Vec<f32> {
        let rows: Vec<u64> = (0..inputs.get(HIDDEN).unwrap().dims()[0] as u64).collect();
        apply_rows(t, inputs, &rows, epoch)
    }

    pub(super) fn apply_rows(t: &dyn Transform, inputs: Acts, rows: &[u64], epoch: u64) -> Vec<f32> {
        let (_, channels, height, width) = inputs.get(HIDDEN).unwrap().dims4().unwrap();
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Image { channels, height, width })]);
        let promised = t.schema(&schema).unwrap();
        let out = t.apply(inputs, &TransformCx { rows, epoch, seeds: Seeds::new(1) }).unwrap();
        let out = out.get(HIDDEN).unwrap();
        let (_, channels, height, width) = out.dims4().unwrap();
        assert_eq!(promised[HIDDEN], Field::Image { channels, height, width });
        out.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A random transform's result depends on row and epoch, not on the row's place in the batch.
    pub(super) fn follows_rows(t: &dyn Transform, shape: [usize; 3]) {
        assert!(t.random());
        let [c, h, w] = shape;
        let size = c * h * w;
        let image = counting([1, c, h, w]).get(HIDDEN).unwrap().clone();
        let same = |n: usize| Acts::hidden(image.repeat((n, 1, 1, 1)).unwrap());
        let rows: Vec<u64> = (0..32).collect();
        let out = apply_rows(t, same(32), &rows, 0);
        let back: Vec<u64> = rows.iter().rev().copied().collect();
        let reversed = apply_rows(t, same(32), &back, 0);
        let reversed: Vec<f32> = reversed.chunks(size).rev().flatten().copied().collect();
        assert_eq!(out, reversed);
        assert_ne!(out, apply_rows(t, same(32), &rows, 1), "the epoch changes nothing");
        assert!(out.chunks(size).any(|x| x != &out[..size]), "all rows are alike");
    }

    /// What torchvision says; `tests/goldens/generate_transforms.py` of the repository writes it.
    fn goldens() -> serde_json::Value {
        serde_json::from_str(include_str!("../../goldens/transforms.json")).unwrap()
    }

    fn numbers(values: &serde_json::Value) -> Vec<f32> {
        values.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    }

    /// The cases of a transform: what is done, and the pixels that come out.
    pub(super) fn golden(transform: &str) -> Vec<(String, Vec<f32>)> {
        let cases = goldens()[transform].as_object().unwrap().clone();
        assert!(!cases.is_empty());
        cases.into_iter().map(|(name, values)| (name, numbers(&values))).collect()
    }

    /// A batch of one of the images that the cases start from.
    pub(super) fn golden_image(name: &str) -> Acts {
        let image = &goldens()["images"][name];
        let shape: Vec<usize> =
            image["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let pixels = numbers(&image["pixels"]);
        Acts::hidden(Tensor::from_vec(pixels, (1, shape[0], shape[1], shape[2]), &Device::Cpu).unwrap())
    }

    /// All pixels agree.
    pub(super) fn close(case: &str, ours: &[f32], wanted: &[f32], within: f32) {
        assert_eq!(ours.len(), wanted.len(), "{case}");
        let apart = ours.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
        assert!(apart <= within, "{case}: {apart} apart\n{ours:?}\n{wanted:?}");
    }

    /// A photograph of a kind, with values from 0 to 1, as a batch of `rows` equal ones.
    pub(super) fn photographs(rows: usize, [c, h, w]: [usize; 3]) -> Acts {
        let image: Vec<f32> = (0..c * h * w).map(|i| (i * 37 % 101) as f32 / 100.).collect();
        Acts::hidden(Tensor::from_vec(image.repeat(rows), (rows, c, h, w), &Device::Cpu).unwrap())
    }

    #[test]
    fn other_inputs_than_images_are_refused() {
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 3 })]);
        let said = |schema: &Schema| image_schema(schema, Ok).unwrap_err().to_string();
        assert_eq!(said(&schema), "needs images, and the data set has rows of 3 numbers");
        assert_eq!(said(&Schema::new()), "needs images, and the data set has no images");
    }

    #[test]
    fn every_transform_has_its_own_tag() {
        let plugins = Plugins::new().with(crate::plugin);
        let tags: Vec<_> = plugins.entries().filter(|e| e.kind == "transform").map(|e| e.tag).collect();
        let all = [
            "affine",
            "colour_jitter",
            "flip",
            "gaussian_blur",
            "greyscale",
            "hash_words",
            "normalise",
            "pad",
            "pad_crop",
            "rand_augment",
            "random_erasing",
            "random_resized_crop",
            "resize",
            "standardise",
            "tokenise",
            "trivial_augment",
        ];
        assert_eq!(tags, all);
    }
}
