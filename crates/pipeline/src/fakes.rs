//! Components that can be checked but not built, for tests of what stands above them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Architecture, BuildCx, Component, Dataset, Error, HeadFit, Invalid, Metric, Optimiser, Plugins, Policy, Result,
    Schedule, Spec, Strategy, Task, Transform,
};

macro_rules! fake {
    ($name:ident, $kind:ident, $tag:literal, $about:literal, $check:expr, { $($(#[$m:meta])* $field:ident: $t:ty = $default:expr),* $(,)? }) => {
        #[doc = $about]
        #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name { $($(#[$m])* $field: $t),* }
        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
        impl Component<dyn $kind> for $name {
            const TYPE: &'static str = $tag;
            type Options = Self;
            fn check(options: &Self, plugins: &Plugins) -> Result<(), Invalid> {
                let check: fn(&Self, &Plugins) -> Result<(), Invalid> = $check;
                check(options, plugins)
            }
            fn build(_: Self, _: &BuildCx<'_>) -> Result<Box<dyn $kind>> {
                Err(Error::contract("a fake cannot be built"))
            }
        }
    };
}

fn at_least_one(key: &str, value: u64) -> Result<(), Invalid> {
    if value == 0 { Err(Invalid::key(key, "must be at least 1")) } else { Ok(()) }
}

fn nothing<T>(_: &T, _: &Plugins) -> Result<(), Invalid> {
    Ok(())
}

/// How classes are averaged.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Average {
    Macro,
    Micro,
}

fake!(Digits, Dataset, "mnist_5k", "Handwritten digits.", nothing, {});
fake!(Convnet, Architecture, "convnet", "Three blocks.", |o, _| at_least_one("width", o.width), {
    /// Channels of the first block, at least 1.
    width: u64 = 16,
});
fake!(Classification, Task, "classification", "One of several classes.", nothing, {
    /// Share of the label given to all classes, from 0 to below 1.
    label_smoothing: f64 = 0.0,
});
fake!(Parameter, Strategy, "parameter", "Starts from the source's weights.\n\nAll of them move.", nothing, {
    /// The last stage that is frozen; left out: none.
    freeze_until: Option<String> = None,
    /// Factor on the rate from stage to stage, from 0 to 1.
    decay: f64 = 1.0,
});
fake!(Structure, Strategy, "structure", "The same network with fresh weights.", nothing, {});
fake!(
    Feature, Strategy, "feature", "A head on frozen features.",
    |o, p| p.check(&o.head).map(|_| ()).map_err(|e| e.under("head")),
    {
        /// The head.
        head: Spec<dyn HeadFit> = Spec::new("linear"),
    }
);
fake!(Linear, HeadFit, "linear", "A linear head.", nothing, {});
fake!(Neighbours, HeadFit, "k_nearest", "The nearest rows vote.", |o, _| at_least_one("k", o.k), {
    /// Rows that vote, at least 1.
    k: u64 = 5,
});
fake!(Sgd, Optimiser, "sgd", "Gradient descent.", nothing, {
    /// Learning rate, above 0.
    lr: f64 = 0.05,
});
fake!(Constant, Schedule, "constant", "Always the same rate.", nothing, {});
fake!(OneCycle, Schedule, "one_cycle", "Up and down once.", nothing, {
    /// Share of the steps in which the rate rises, from 0 to 1.
    rise: f64 = 0.3,
});
fake!(Patience, Policy, "early_stopping", "Stops when nothing gets better.", nothing, {
    /// Epochs to wait, at least 1.
    patience: u64 = 5,
});
fake!(F1, Metric, "f1", "Precision and recall in one.", nothing, {
    /// How classes are averaged.
    average: Average = Average::Macro,
});
fake!(TopK, Metric, "top_k", "Right among the first k.", |o, _| at_least_one("k", o.k), {
    /// How many count, at least 1.
    k: u64 = 5,
});
fake!(Pad, Transform, "pad", "A border.", nothing, {
    /// Pixels on each side.
    pixels: u64 = 2,
});

/// Images in a folder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    /// The folder.
    path: PathBuf,
    /// Rows that are read; left out: all.
    limit: Option<u64>,
}

impl Component<dyn Dataset> for Folder {
    const TYPE: &'static str = "folder";
    type Options = Self;
    fn build(_: Self, _: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Err(Error::contract("a fake cannot be built"))
    }
}

/// All fakes.
pub(crate) fn plugins() -> Plugins {
    let mut p = Plugins::new();
    p.add::<dyn Dataset, Digits>();
    p.add::<dyn Dataset, Folder>();
    p.add::<dyn Architecture, Convnet>();
    p.add::<dyn Task, Classification>();
    p.add::<dyn Strategy, Parameter>();
    p.add::<dyn Strategy, Structure>();
    p.add::<dyn Strategy, Feature>();
    p.add::<dyn HeadFit, Linear>();
    p.add::<dyn HeadFit, Neighbours>();
    p.add::<dyn Optimiser, Sgd>();
    p.add::<dyn Schedule, Constant>();
    p.add::<dyn Schedule, OneCycle>();
    p.add::<dyn Policy, Patience>();
    p.add::<dyn Metric, F1>();
    p.add::<dyn Metric, TopK>();
    p.add::<dyn Transform, Pad>();
    p
}
