//! Data sets, one file each: pictures over the shared [`Images`], rows of tables over `labelling` and `tables`.

mod cifar10_binary;
mod embedded;
mod folder;
mod images;
mod labelling;
mod mnist_5k;
mod mnist_idx;
mod optdigits;
mod table;
mod tables;
mod text_table;

pub use cifar10_binary::{Cifar10Binary, Options as Cifar10BinaryOptions};
pub use images::{CLASS, Images, Layout};
pub use mnist_5k::{Mnist5k, Options as Mnist5kOptions};
pub use mnist_idx::{MnistIdx, Options as MnistIdxOptions};
pub use optdigits::{Optdigits, Options as OptdigitsOptions};
pub use table::{Fill, Options as VectorTableOptions, VectorTable};
pub use text_table::{Dropped, Options as TextTableOptions, TextTable};
