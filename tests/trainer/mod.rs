//! The trainer's invariants, over the strategies and backbones of the catalogue.

mod accumulated;
mod averaging;
mod cache;
mod every_pair;
mod life_cycle;
mod mixing;
mod phases;
mod prefix;
mod resume;
mod sam;
mod several_tasks;
mod streams;
mod texts;
mod without_labels;
