//! Data sets, transforms, splits and the loader of Transplant; useful alone, wherever candle tensors are wanted.
//!
//! A data set gives rows: [`Mnist5k`] and [`Optdigits`] are part of the program, [`ImageFolder`], [`MnistIdx`],
//! [`Cifar10Binary`] and [`Cifar100Binary`] read folders, [`TextTable`] and [`VectorTable`] files of CSV, TSV, JSONL or
//! Parquet, and [`Emoji`] fetches its pictures. A [`Division`] gives one a test part that has none; a [`Draw`] says which rows
//! are trained on, chosen on and tested on; a [`Loader`] makes batches of them, shuffled and transformed, every one a function
//! of seed, epoch and index.
//!
//! ```
//! use std::sync::Arc;
//! use transplant_core::{Dataset, HIDDEN, Seeds};
//! use transplant_datasets::{CLASS, Draw, Loader, LoaderOptions, Optdigits};
//! use transplant_datasets::transforms::{Affine, Resize, affine, resize};
//!
//! # fn main() -> transplant_core::Result<()> {
//! // Two labels of each of the ten digits; the test part is the same for every draw.
//! let digits: Arc<dyn Dataset> = Arc::new(Optdigits::load()?);
//! let draw = Draw { labels_per_class: Some(2), draw: 0, ..Draw::default() };
//! let parts = draw.parts(&digits, CLASS, Seeds::new(7))?;
//! assert_eq!((parts.train.rows().len(), parts.test.rows().len()), (20, 896));
//!
//! let mut options = LoaderOptions::new(8);
//! options.seeds = Seeds::new(7);
//! options.transforms = vec![Arc::new(Resize::new(resize::Options::new(28, 28))?)];
//! let turn = affine::Options { rotate_degrees: 15., ..affine::Options::default() };
//! options.augment = vec![Arc::new(Affine::new(turn)?)];
//!
//! let train = Loader::train(&parts.train, options)?;
//! for epoch in 0..2 {
//!     for i in 0..train.batches() {
//!         let batch = train.batch(epoch, i)?;
//!         let images = batch.inputs.get(HIDDEN)?; // f32 [rows, 1, 28, 28]
//!         let classes = &batch.target(CLASS)?.values; // u32 [rows]
//!         assert_eq!(images.dims()[0], classes.dims()[0]);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Own images become a data set with [`Images::new`], pictures of any size with [`Pictures::open`]. All components can be made known to a pipeline with [`plugin`].
#![forbid(unsafe_code)]

mod averaged;
mod chain;
mod chance;
mod codec;
mod division;
mod findings;
mod fitted;
mod loader;
mod picture;
mod prints;
pub mod samplers;
mod selection;
mod sides;
mod sources;
mod split;
mod table;
pub mod transforms;

use transplant_core::{Dataset, Plugins, Transform};

pub use averaged::averaged;
pub use chain::Chain;
pub use chance::equal_by_chance;
pub use division::{Division, PART, TEST_PART};
pub use findings::split_findings;
pub use fitted::fit;
pub use loader::{Loader, LoaderOptions};
pub use picture::{decode, read_image, read_picture};
pub use prints::{Equal, KnownAgain, Prints, Twins};
pub use selection::Selection;
pub use sources::{
    CLASS, Cifar10Binary, Cifar10BinaryOptions, Cifar100Binary, Cifar100BinaryOptions, Cifar100Target, Damaged,
    DomainColumn, Dropped, Emoji, EmojiGroup, EmojiOptions, EmojiTarget, EmojiVendor, Fill, ImageFolder,
    ImageFolderOptions, ImageManifest, ImageManifestOptions, Images, LabelColumn, LabelKind, Layout, Mnist5k,
    Mnist5kOptions, MnistIdx, MnistIdxOptions, NewRow, NewRows, Optdigits, OptdigitsOptions, Picture, PictureSet,
    Pictures, PicturesBelow, TextTable, TextTableOptions, VectorTable, VectorTableOptions, is_picture_name,
    pictures_below,
};
pub use split::{Draw, LEAST_FOR_VALIDATION, Parts};
pub use table::{Cell, Table};
#[cfg(feature = "parquet")]
pub use table::{ParquetWriter, Values};

/// Registers every data set and transform of this crate.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Dataset, Cifar10Binary>();
    p.add::<dyn Dataset, Cifar100Binary>();
    p.add::<dyn Dataset, Emoji>();
    p.add::<dyn Dataset, ImageFolder>();
    p.add::<dyn Dataset, ImageManifest>();
    p.add::<dyn Dataset, Mnist5k>();
    p.add::<dyn Dataset, MnistIdx>();
    p.add::<dyn Dataset, Optdigits>();
    p.add::<dyn Dataset, TextTable>();
    p.add::<dyn Dataset, VectorTable>();

    samplers::plugin(p);

    p.add::<dyn Transform, transforms::Affine>();
    p.add::<dyn Transform, transforms::ColourJitter>();
    p.add::<dyn Transform, transforms::Flip>();
    p.add::<dyn Transform, transforms::GaussianBlur>();
    p.add::<dyn Transform, transforms::Greyscale>();
    p.add::<dyn Transform, transforms::HashWords>();
    p.add::<dyn Transform, transforms::Normalise>();
    p.add::<dyn Transform, transforms::Pad>();
    p.add::<dyn Transform, transforms::PadCrop>();
    p.add::<dyn Transform, transforms::RandAugment>();
    p.add::<dyn Transform, transforms::RandomErasing>();
    p.add::<dyn Transform, transforms::RandomResizedCrop>();
    p.add::<dyn Transform, transforms::Resize>();
    p.add::<dyn Transform, transforms::Standardise>();
    p.add::<dyn Transform, transforms::Tokenise>();
    p.add::<dyn Transform, transforms::TrivialAugment>();
}
