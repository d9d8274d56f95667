//! Readers and writers of file formats: pictures, tables, gzip and tar, and the rules of tokenizers.
//!
//! This crate depends on neither candle nor any other crate of the workspace, and its public functions have no type
//! parameters: what the libraries of these formats are generic over is compiled here, once, and a change in the contracts does
//! not compile it again.
//!
//! A function that opens a file returns [`Error`], which names the file. One that is given bytes does not know what they are
//! called: its error is the reason alone, a lowercase fragment to which the caller adds the name.
//!
//! ```
//! use transplant_codecs::picture::{self, Filter, Fit, Frame};
//!
//! let (fit, filter, background) = (Fit::Crop, Filter::Bilinear, [255; 3]);
//! let frame = Frame { height: 1, width: 2, channels: 3, fit, filter, background };
//! // A grey picture of 2 x 1 pixels becomes red, green and blue: channel after channel.
//! let bytes = picture::decode(b"P5 2 1 255\n\x07\x09", &frame)?;
//! assert_eq!(bytes, [7, 9, 7, 9, 7, 9]);
//! assert_eq!(picture::decode(b"", &frame).unwrap_err(), "is empty");
//! # Ok::<_, String>(())
//! ```
#![forbid(unsafe_code)]

pub mod archive;
mod error;
pub mod picture;
pub mod table;
pub mod text;
pub mod tokens;

pub use error::{Error, Result, Unsupported};
