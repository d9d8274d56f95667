//! Data sets, one file each: pictures over the shared [`Images`] and [`Pictures`], rows of tables over `labelling` and `tables`.

mod cifar100_binary;
mod cifar10_binary;
mod class_names;
mod damaged;
mod embedded;
mod emoji;
mod folder;
mod image_folder;
mod image_manifest;
mod image_rows;
mod images;
mod labelling;
mod mnist_5k;
mod mnist_idx;
mod optdigits;
mod passed_over;
mod picture_tree;
mod pictures;
mod table;
mod tables;
mod text_table;

pub use cifar10_binary::{Cifar10Binary, Options as Cifar10BinaryOptions};
pub use cifar100_binary::{Cifar100Binary, Cifar100Target, Options as Cifar100BinaryOptions};
pub use damaged::Damaged;
pub use emoji::{Emoji, EmojiGroup, EmojiTarget, EmojiVendor, Options as EmojiOptions};
pub use image_folder::{ImageFolder, Options as ImageFolderOptions};
pub use image_manifest::{ImageManifest, Options as ImageManifestOptions};
pub use image_rows::CLASS;
pub use images::{Images, Layout};
pub use mnist_5k::{Mnist5k, Options as Mnist5kOptions};
pub use mnist_idx::{MnistIdx, Options as MnistIdxOptions};
pub use optdigits::{Optdigits, Options as OptdigitsOptions};
pub use picture_tree::pictures_below;
pub use pictures::{Picture, PictureSet, Pictures};
pub use table::{Fill, Options as VectorTableOptions, VectorTable};
pub use text_table::{Dropped, Options as TextTableOptions, TextTable};
