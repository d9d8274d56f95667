//! Texts as they are: a network without a parameter that passes them on.
//!
//! For heads that read texts themselves, so that a classifier without a network is trained, measured and deployed like any
//! other: `strategy = { type = "feature", head = "tfidf_logistic_regression" }`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, Field, HIDDEN, Invalid, Result, Schema, Scope, Stage, TEXT,
};

/// Texts as they are, for heads that read them; a network without a parameter.
///
/// With `feature` and the head `tfidf_logistic_regression` it is the classifier without a network that networks for texts
/// are measured against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTextOptions {}

/// One stage `text`. Reads `text`, `u8 [rows, bytes]`; puts out the same as `hidden`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawText;

impl Component<dyn Architecture> for RawText {
    const TYPE: &'static str = "raw_text";
    type Options = RawTextOptions;

    fn build(_: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self))
    }
}

impl Architecture for RawText {
    fn stages(&self) -> Vec<Stage> {
        vec![Stage { reads: vec![TEXT.to_owned()], ..Stage::new("text") }]
    }

    fn build(&self, inputs: &Schema, _: &Scope) -> Result<Box<dyn Backbone>> {
        self.features(inputs)?;
        Ok(Box::new(Built(self.stages())))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        match inputs.get(TEXT) {
            Some(Field::Text) => Ok(Schema::from([(HIDDEN.to_owned(), Field::Text)])),
            _ => {
                let there: Vec<&str> = inputs.keys().map(String::as_str).collect();
                Err(Invalid::new(format!("`raw_text` reads texts `{TEXT}`; there are: {}", there.join(", "))).into())
            }
        }
    }
}

struct Built(Vec<Stage>);

impl Backbone for Built {
    fn stage(&self, _: usize, mut acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let text = acts.get(TEXT)?.clone();
        acts.set(HIDDEN, text);
        Ok(acts)
    }

    fn stages(&self) -> &[Stage] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use std::sync::Arc;
    use transplant_core::{Params, Seeds};

    #[test]
    fn texts_go_through_untouched_and_nothing_else_is_read() -> Result<()> {
        let (inputs, params) = (Schema::from([(TEXT.to_owned(), Field::Text)]), Params::new(&Device::Cpu));
        let scope = Scope::new(&params, Arc::default(), Seeds::new(1), DType::F32).pp("backbone");
        let net = Architecture::build(&RawText, &inputs, &scope)?;
        let text = Tensor::new(&[*b"red", *b"a\0\0"], &Device::Cpu)?;
        let out = net.forward(Acts::new().with(TEXT, text), 0..1, &mut Ctx::eval(&[0, 1]))?;
        assert_eq!(out.get(HIDDEN)?.to_vec2::<u8>()?, [*b"red", *b"a\0\0"]);
        assert!(params.is_empty());
        assert_eq!(RawText.features(&inputs)?[HIDDEN], Field::Text);
        let e = RawText.features(&Schema::from([("tokens".to_owned(), Field::Text)])).unwrap_err().to_string();
        assert!(e.contains("`text`; there are: tokens"), "{e}");
        Ok(())
    }
}
