//! `optdigits`: 1,797 handwritten digits of 8 x 8 pixels with 17 grey levels, part of the program. A target of transfer
//! from MNIST: the same ten classes, other writers, another scanner, a twelfth of the pixels.
//!
//! Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998. Source and
//! licence: `data/SOURCES.md` of this crate.

use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Dataset, Result};

use super::embedded::Embedded;
use super::images::Images;

/// 1,797 scanned digits of 8 x 8 pixels, by writers other than MNIST's, part of the program.
///
/// A target of transfer from MNIST: the same ten classes, a twelfth of the pixels; Alpaydin and Kaynak 1998.
///
/// The test part is the last half of each class in the order of the file (87 to 91 rows a class, 896 in all); the first
/// half is the pool. The rows of a writer stand together (the most similar digit of the same class lies within 70 rows
/// for 48 % of them, 7 % by chance), so most test rows come from writers the pool does not know.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {}

/// 1,797 digits of 8 x 8 pixels.
#[derive(Debug)]
pub struct Optdigits;

impl Optdigits {
    /// The data set; unpacked the first time, shared from then on.
    ///
    /// # Errors
    /// When the embedded file is damaged.
    pub fn load() -> Result<Images> {
        static IMAGES: OnceLock<Images> = OnceLock::new();
        const FILE: Embedded = Embedded {
            name: Optdigits::TYPE,
            bytes: include_bytes!("../../data/optdigits.bin.gz"),
            highest: 16,
            test_one_in: 2,
            licence: "Optical Recognition of Handwritten Digits, Alpaydin and Kaynak, doi:10.24432/C50P49, CC BY 4.0",
        };
        FILE.shared(&IMAGES)
    }
}

impl Component<dyn Dataset> for Optdigits {
    const TYPE: &'static str = "optdigits";
    type Options = Options;

    fn build(_: Options, _: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::load()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_each_class_is_a_fixed_test_part() -> Result<()> {
        let images = Optdigits::load()?;
        assert_eq!((images.rows(), images.roles().pool.len(), images.roles().test.len()), (1797, 901, 896));
        let labels = images.classes_of("class")?;
        for class in 0..10 {
            let count = |rows: &[u64]| rows.iter().filter(|r| labels[**r as usize] == Some(class)).count();
            let (pool, test) = (count(&images.roles().pool), count(&images.roles().test));
            assert!((87..=92).contains(&pool) && (87..=91).contains(&test), "class {class}: {pool}, {test}");
        }
        Ok(())
    }

    #[test]
    fn the_first_digit_is_the_zero_everyone_knows() -> Result<()> {
        let batch = Optdigits::load()?.batch(&[0])?;
        let x = batch.inputs.get("hidden")?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(x[..8].iter().map(|v| v * 16.).collect::<Vec<_>>(), [0., 0., 5., 13., 9., 1., 0., 0.]);
        assert_eq!(batch.target("class")?.values.to_vec1::<u32>()?, [0]);
        Ok(())
    }
}
