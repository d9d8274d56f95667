//! The trainer's invariants, over the strategies and backbones of the catalogue.

mod averaging;
mod cache;
mod every_pair;
mod mixing;
mod prefix;
mod resume;
mod texts;
