//! `pad`: puts a border of one value round every image: so wide on each side, or as much as a size needs, the image in the
//! middle. Brings a small resized image to the size and the margin a network knows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{each_image, image_schema, in_range, place};

/// Puts a border round every image.
///
/// Give either the borders, or the size that comes out; then the image stands in the middle. It brings a small image to
/// the size and the margin that a network knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Rows of pixels above.
    pub top: usize,
    /// Rows of pixels below.
    pub bottom: usize,
    /// Columns of pixels on the left.
    pub left: usize,
    /// Columns of pixels on the right.
    pub right: usize,
    /// The height that comes out, instead of `top` and `bottom`; an odd row goes below.
    pub height: Option<usize>,
    /// The width that comes out, instead of `left` and `right`; an odd column goes to the right.
    pub width: Option<usize>,
    /// The border's value.
    pub fill: f64,
}

/// A border.
#[derive(Debug)]
pub struct Pad(Options);

impl Pad {
    /// Pads so.
    ///
    /// # Errors
    /// When a border and the size it leads to are both given, or nothing is.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        for (key, size, sides, borders) in [
            ("height", o.height, "`top` and `bottom`", [o.top, o.bottom]),
            ("width", o.width, "`left` and `right`", [o.left, o.right]),
        ] {
            if size.is_some() && borders != [0, 0] {
                return Err(Invalid::key(key, format!("stands instead of {sides}: give one or the other")));
            }
            if size.into_iter().chain(borders).any(|n| n > 1 << 15) {
                return Err(Invalid::key(key, "more than 32768 pixels"));
            }
        }
        if o.height.is_none() && o.width.is_none() && [o.top, o.bottom, o.left, o.right] == [0; 4] {
            return Err(Invalid::new("pads nothing").help("give `height` and `width`, or borders"));
        }
        in_range("fill", o.fill, f64::from(f32::MIN), f64::from(f32::MAX))?;
        Ok(Self(o))
    }

    /// The borders before and after, along the height and along the width.
    fn borders(&self, height: usize, width: usize) -> Result<[[usize; 2]; 2], Invalid> {
        let o = &self.0;
        let along = |key: &str, to: Option<usize>, from: usize, borders: [usize; 2]| match to {
            None => Ok(borders),
            Some(to) => {
                let all = to.checked_sub(from);
                let all = all.ok_or_else(|| Invalid::key(key, format!("{to} is less than the image's {from}")))?;
                Ok([all / 2, all - all / 2])
            }
        };
        Ok([along("height", o.height, height, [o.top, o.bottom])?, along("width", o.width, width, [o.left, o.right])?])
    }
}

impl Transform for Pad {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, |[c, h, w]| {
            let [y, x] = self.borders(h, w)?;
            Ok([c, h + y[0] + y[1], w + x[0] + x[1]])
        })
    }

    fn apply(&self, inputs: Acts, _: &TransformCx<'_>) -> Result<Acts> {
        let (_, _, h, w) = inputs.get(transplant_core::HIDDEN)?.dims4()?;
        let [y, x] = self.borders(h, w)?;
        let to = [h + y[0] + y[1], w + x[0] + x[1]];
        let fill = self.0.fill as f32;
        each_image(inputs, &|[c, ..]| [c, to[0], to[1]], &|_, image, out| {
            for (from, out) in image.planes().zip(out.chunks_mut(to[0] * to[1])) {
                place(from, [h, w], out, to, [y[0] as isize, x[0] as isize], fill);
            }
        })
    }
}

impl Component<dyn Transform> for Pad {
    const TYPE: &'static str = "pad";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(drop)
    }

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Self::new(o)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{apply, build, counting, fault};
    use super::*;
    use serde_json::json;
    use transplant_core::{Field, HIDDEN};

    #[test]
    fn borders_are_put_where_they_are_asked_for() -> Result<()> {
        let t = build::<Pad>(json!({"top": 1, "right": 2, "fill": 9}))?;
        assert!(!t.random());
        let wanted = [9., 9., 9., 9., 0., 1., 9., 9., 2., 3., 9., 9.];
        assert_eq!(apply(t.as_ref(), counting([1, 1, 2, 2]), 0), wanted);
        let t = build::<Pad>(json!({"bottom": 1, "left": 1}))?;
        assert_eq!(apply(t.as_ref(), counting([1, 2, 1, 1]), 0), [0., 0., 0., 0., 0., 1., 0., 0.]);
        Ok(())
    }

    #[test]
    fn to_a_size_the_image_stands_in_the_middle() -> Result<()> {
        let t = build::<Pad>(json!({"height": 3, "width": 4, "fill": 5}))?;
        let wanted = [5., 5., 5., 5., 5., 0., 5., 5., 5., 5., 5., 5.];
        assert_eq!(apply(t.as_ref(), counting([1, 1, 1, 1]), 0), wanted);
        let image = Field::Image { channels: 1, height: 2, width: 9 };
        let e = t.schema(&Schema::from([(HIDDEN.to_owned(), image)])).unwrap_err();
        assert_eq!(e.to_string(), "width: 4 is less than the image's 9");
        Ok(())
    }

    #[test]
    fn contradictions_are_named() {
        assert!(fault::<Pad>(json!({"height": 3, "top": 1})).starts_with("height: stands instead"));
        assert!(fault::<Pad>(json!({"width": 3, "right": 1})).starts_with("width: stands instead"));
        assert!(fault::<Pad>(json!({})).contains("pads nothing"));
    }
}
