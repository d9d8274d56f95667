//! Data sets, one file each, over the shared [`Images`].

mod cifar10_binary;
mod embedded;
mod folder;
mod images;
mod mnist_5k;
mod mnist_idx;
mod optdigits;

pub use cifar10_binary::{Cifar10Binary, Options as Cifar10BinaryOptions};
pub use images::{CLASS, Images, Layout};
pub use mnist_5k::{Mnist5k, Options as Mnist5kOptions};
pub use mnist_idx::{MnistIdx, Options as MnistIdxOptions};
pub use optdigits::{Optdigits, Options as OptdigitsOptions};
