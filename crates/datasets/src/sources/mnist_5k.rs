//! `mnist_5k`: 5,000 of MNIST's handwritten digits, 500 a class, 28 x 28, part of the program. Small enough to pretrain on
//! in seconds, real enough that what is learned carries over to other digits.
//!
//! LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998. Source and licence:
//! `data/SOURCES.md` of this crate.

use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Dataset, Result};

use super::embedded::Embedded;
use super::images::Images;

/// 5,000 of MNIST's handwritten digits, 500 a class, 28 x 28 pixels, part of the program.
///
/// Small enough to pretrain on in seconds; LeCun et al. 1998. The test part is the last tenth of each class in the
/// order of the file (50 rows a class); the other 450 are the pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {}

/// 5,000 MNIST digits.
#[derive(Debug)]
pub struct Mnist5k;

impl Mnist5k {
    /// The data set; unpacked the first time, shared from then on.
    ///
    /// # Errors
    /// When the embedded file is damaged.
    pub fn load() -> Result<Images> {
        static IMAGES: OnceLock<Images> = OnceLock::new();
        const FILE: Embedded = Embedded {
            name: Mnist5k::TYPE,
            bytes: include_bytes!("../../data/mnist_5k.bin.gz"),
            highest: 255,
            test_one_in: 10,
            licence: "MNIST, LeCun, Cortes and Burges, CC BY-SA 3.0",
        };
        FILE.shared(&IMAGES)
    }
}

impl Component<dyn Dataset> for Mnist5k {
    const TYPE: &'static str = "mnist_5k";
    type Options = Options;

    fn build(_: Options, _: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::load()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_balanced_classes_and_a_fixed_test_part() -> Result<()> {
        let images = Mnist5k::load()?;
        assert_eq!((images.rows(), images.roles().pool.len(), images.roles().test.len()), (5000, 4500, 500));
        let labels = images.classes_of("class")?;
        for class in 0..10 {
            let count = |rows: &[u64]| rows.iter().filter(|r| labels[**r as usize] == Some(class)).count();
            assert_eq!((count(&images.roles().pool), count(&images.roles().test)), (450, 50));
        }
        Ok(())
    }

    #[test]
    fn pixels_are_between_0_and_1() -> Result<()> {
        let x = Mnist5k::load()?.batch(&(0..5000).step_by(7).collect::<Vec<_>>())?;
        let x = x.inputs.get("hidden")?;
        assert_eq!(x.dims(), [715, 1, 28, 28]);
        assert_eq!((x.min_all()?.to_scalar::<f32>()?, x.max_all()?.to_scalar::<f32>()?), (0., 1.));
        let mean = x.mean_all()?.to_scalar::<f32>()?;
        assert!((0.12..0.14).contains(&mean), "MNIST's mean is 0.1307, this is {mean}");
        Ok(())
    }
}
