//! Images of stripes, lying or standing: a data set made on the spot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Dataset, Invalid, Plugins, Result, Roles};
use transplant_datasets::{Images, Layout};

/// Stripes of 12 x 12 pixels, lying or standing. Every fifth row is the test part.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Rows, at least 10.
    pub rows: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows: 200 }
    }
}

pub struct Stripes;

impl Component<dyn Dataset> for Stripes {
    const TYPE: &'static str = "stripes";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        if o.rows < 10 { Err(Invalid::key("rows", "must be at least 10")) } else { Ok(()) }
    }

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        let layout = Layout {
            name: Self::TYPE.into(),
            shape: [1, 12, 12],
            highest: 255,
            classes: vec!["lying".into(), "standing".into()],
        };
        let class = |row: u64| (row % 2) as u32;
        let pixel = |row: u64, p: u64| {
            let (y, x) = (p / 12, p % 12);
            let along = if class(row) == 0 { y } else { x };
            if (along + row / 2) % 4 < 2 { 255 } else { (row * 37 + p * 11) as u8 % 64 }
        };
        let pixels = (0..o.rows).flat_map(|row| (0..144).map(move |p| pixel(row, p))).collect();
        let (test, pool) = (0..o.rows).partition(|row| row % 5 == 4);
        let labels = (0..o.rows).map(|row| Some(class(row))).collect();
        Ok(Box::new(Images::new(layout, labels, pixels, Roles { pool, validation: vec![], test })?))
    }
}
