//! How what one network learned is moved to a new task, one file a strategy.
//!
//! | strategy | backbone | head | when |
//! |---|---|---|---|
//! | [`Parameter`] | loaded, fine-tuned | kept where the labels are the same | by default |
//! | [`Feature`] | loaded, frozen | fitted on features | few labels, little time, or many tasks on one network |
//! | [`Lora`] | loaded, frozen, with low-rank updates beside | trained | many tasks on one large network |
//! | [`L2Sp`] | fine-tuned, pulled to where it came from | trained | fine-tuning overfits |
//! | [`Mixup`], [`Cutmix`] | as those beside it say | as those beside it say | more data would help, and there is none |
//! | [`adapt`] | as those beside it say | as those beside it say | a target domain has rows and no labels |
//! | [`several_tasks`] | as those beside it say | as those beside it say | one network learns several tasks |
//! | [`Structure`] | fresh weights | fresh | to see what transfer is worth, and to pretrain |
//!
//! Several become one by [`compose`]. A strategy decides; the trainer acts: nothing here opens a file or owns a loop.
#![forbid(unsafe_code)]

pub mod adapt;
mod compose;
mod cutmix;
mod feature;
mod l2_sp;
mod lora;
mod mixing;
mod mixup;
mod parameter;
pub mod several_tasks;
mod structure;
mod weights;

pub use compose::compose;
pub use cutmix::{Cutmix, CutmixOptions};
pub use feature::{Feature, FeatureOptions};
pub use l2_sp::{L2Sp, L2SpOptions};
pub use lora::{Lora, LoraOptions};
pub use mixup::{Mixup, MixupOptions};
pub use parameter::{Parameter, ParameterHead, ParameterNorm, ParameterOptions};
pub use structure::{Structure, StructureOptions};

use transplant_core::{Plugins, Strategy};

/// Registers all strategies.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Strategy, Parameter>();
    p.add::<dyn Strategy, Structure>();
    p.add::<dyn Strategy, Feature>();
    p.add::<dyn Strategy, Lora>();
    p.add::<dyn Strategy, L2Sp>();
    p.add::<dyn Strategy, Mixup>();
    p.add::<dyn Strategy, Cutmix>();
    adapt::plugin(p);
    several_tasks::plugin(p);
}
