//! The operations that `rand_augment` and `trivial_augment` draw from, and how strong each is at a magnitude.
//!
//! torchvision's `RandAugment` and `TrivialAugmentWide`: the same fourteen operations, the same strengths in 31 steps. Shears,
//! shifts and turns read between pixels bilinearly, where torchvision takes the nearest one unless told otherwise.

use rand::Rng;

use super::sample::{backwards, warp};
use super::{Image, colour};

/// The greatest magnitude; the least is 0.
pub(super) const MOST: u8 = 30;

/// An operation on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterise,
    Solarise,
    Autocontrast,
    Equalise,
}

use Operation::{
    Autocontrast, Brightness, Colour, Contrast, Equalise, Identity, Posterise, Rotate, Sharpness, ShearX, ShearY,
    Solarise, TranslateX, TranslateY,
};

const ALL: [Operation; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterise,
    Solarise,
    Autocontrast,
    Equalise,
];

/// How strong the operations are at the greatest magnitude.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    /// Pixels moved along an axis by a shear, for each pixel across it.
    pub(super) shear: f64,
    /// The longest shift, given the size along it in pixels.
    pub(super) translate: fn(usize) -> f64,
    /// The largest angle in degrees.
    pub(super) rotate: f64,
    /// The farthest that a factor of brightness, colour, contrast or sharpness is from 1.
    pub(super) factor: f64,
    /// The most bits that are dropped.
    pub(super) bits: f64,
}

impl Space {
    /// The strength of an operation at a magnitude from 0 to [`MOST`], for an image of this height and width; whether its
    /// sign is drawn too.
    fn strength(&self, operation: Operation, magnitude: u8, [height, width]: [usize; 2]) -> (f64, bool) {
        let part = f64::from(magnitude) / f64::from(MOST);
        match operation {
            Identity | Autocontrast | Equalise => (0., false),
            ShearX | ShearY => (self.shear * part, true),
            TranslateX => ((self.translate)(width) * part, true),
            TranslateY => ((self.translate)(height) * part, true),
            Rotate => (self.rotate * part, true),
            Brightness | Colour | Contrast | Sharpness => (self.factor * part, true),
            Posterise => ((8. - self.bits * part).round_ties_even(), false),
            Solarise => (1. - part, false),
        }
    }

    /// Draws an operation and its sign, and applies it.
    pub(super) fn draw(&self, rng: &mut impl Rng, magnitude: u8, size: [usize; 2], fill: f32, pixels: &mut [f32]) {
        let operation = ALL[rng.random_range(0..ALL.len())];
        let (strength, signed) = self.strength(operation, magnitude, size);
        let sign = if signed && rng.random::<bool>() { -1. } else { 1. };
        operation.apply(sign * strength, size, fill, pixels);
    }
}

impl Operation {
    /// Changes the pixels of an image; `fill` comes from outside it.
    fn apply(self, strength: f64, [height, width]: [usize; 2], fill: f32, pixels: &mut [f32]) {
        let plane = height * width;
        // Shears are by the upper left corner, as in the policies that were searched for.
        let corner = [-(width as f64) / 2., -(height as f64) / 2.];
        let angle = strength.atan().to_degrees();
        let factor = (1. + strength) as f32;
        let map = match self {
            ShearX => backwards(0., [0., 0.], 1., [angle, 0.], corner),
            ShearY => backwards(0., [0., 0.], 1., [0., angle], corner),
            TranslateX => backwards(0., [strength.trunc(), 0.], 1., [0., 0.], [0., 0.]),
            TranslateY => backwards(0., [0., strength.trunc()], 1., [0., 0.], [0., 0.]),
            Rotate => backwards(-strength, [0., 0.], 1., [0., 0.], [0., 0.]),
            Identity => return,
            Brightness => return colour::brightness(pixels, factor),
            Colour => return colour::saturation(pixels, plane, factor),
            Contrast => return colour::contrast(pixels, plane, factor),
            Sharpness => return colour::sharpness(pixels, height, width, factor),
            Posterise => return colour::posterise(pixels, strength as u32),
            Solarise => return colour::solarise(pixels, strength as f32),
            Autocontrast => return colour::autocontrast(pixels, plane),
            Equalise => return colour::equalise(pixels, plane),
        };
        let from = pixels.to_vec();
        warp(&Image { pixels: &from, height, width }, &map, fill, pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, golden, golden_image};
    use super::super::{rand_augment, trivial_augment};
    use super::*;
    use std::collections::BTreeMap;
    use transplant_core::{HIDDEN, Seeds};

    fn named(name: &str) -> Operation {
        ALL.into_iter().find(|o| format!("{o:?}") == name).unwrap()
    }

    #[test]
    fn shears_shifts_and_turns_are_those_of_torchvision() {
        for (case, wanted) in golden("geometry") {
            let (operation, strength) = case.split_once('/').unwrap();
            let image = golden_image("small").get(HIDDEN).unwrap().clone();
            let (_, _, h, w) = image.dims4().unwrap();
            let mut pixels: Vec<f32> = image.flatten_all().unwrap().to_vec1().unwrap();
            named(operation).apply(strength.parse().unwrap(), [h, w], 0., &mut pixels);
            close(&case, &pixels, &wanted, 5e-6);
        }
    }

    #[test]
    fn strengths_are_those_of_torchvision() {
        for (space, spec) in [("rand", rand_augment::SPACE), ("trivial", trivial_augment::SPACE)] {
            for (case, wanted) in golden(&format!("{space}_strengths")) {
                let (name, signed) = case.split_once('/').unwrap();
                let ours: Vec<f32> = (0..=MOST).map(|m| spec.strength(named(name), m, [20, 40]).0 as f32).collect();
                close(&case, &ours, &wanted, 1e-5);
                assert!(
                    (0..=MOST).all(|m| spec.strength(named(name), m, [20, 40]).1 == (signed == "signed")),
                    "{case}"
                );
            }
        }
    }

    #[test]
    fn all_operations_come_up_equally_often() {
        let mut seen = BTreeMap::new();
        for i in 0..1400 {
            let operation = ALL[Seeds::new(0).stream("t", &[i]).random_range(0..ALL.len())];
            *seen.entry(format!("{operation:?}")).or_insert(0) += 1;
        }
        assert!(seen.len() == 14 && seen.values().all(|n| (60..=140).contains(n)), "{seen:?}");
    }
}
