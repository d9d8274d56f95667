//! `affine`: turns, shifts, scales and shears every image at random, so that a network learns the shape of a thing and not
//! its place. The usual augmentation of a source of handwritten digits whose target is written by somebody else.
//!
//! Parametrised as torchvision's `RandomAffine`: about the image's centre, shifts in whole pixels, shear along x. Pixels
//! are interpolated bilinearly; what comes from outside has the value `fill`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::sample::{backwards, warp};
use super::{each_image, image_schema, in_range};

/// Turns, shifts, scales and shears every image at random.
///
/// Every number is a bound: the value is drawn uniformly for each row and epoch. The usual augmentation of handwritten
/// digits, above all when the target is written by somebody else.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Largest angle, either way, in degrees, 0 to 180.
    pub rotate_degrees: f64,
    /// Largest shift, either way, as a share of height and width, 0 to 1.
    pub translate: f64,
    /// Least and greatest factor of size, above 0.
    pub scale: [f64; 2],
    /// Largest shear along x, either way, in degrees, 0 to below 90.
    pub shear_degrees: f64,
    /// The value of what lies outside the image.
    pub fill: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rotate_degrees: 0., translate: 0., scale: [1., 1.], shear_degrees: 0., fill: 0. }
    }
}

/// Random affine maps.
#[derive(Debug)]
pub struct Affine(Options);

impl Affine {
    /// A random affine map within these bounds.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_range("rotate_degrees", o.rotate_degrees, 0., 180.)?;
        in_range("translate", o.translate, 0., 1.)?;
        in_range("shear_degrees", o.shear_degrees, 0., 89.)?;
        let [least, most] = o.scale;
        if !(least > 0. && least <= most && most.is_finite()) {
            return Err(Invalid::key("scale", format!("must be two factors above 0 in order, not [{least}, {most}]")));
        }
        in_range("fill", o.fill, f64::from(f32::MIN), f64::from(f32::MAX))?;
        Ok(Self(o))
    }

    /// The map drawn from a stream, for images of this size.
    fn draw(&self, rng: &mut impl Rng, height: usize, width: usize) -> [f64; 6] {
        let o = &self.0;
        let mut within = |most: f64| rng.random_range(-most..=most);
        let angle = within(o.rotate_degrees);
        let x = within(o.translate * width as f64).round();
        let y = within(o.translate * height as f64).round();
        let shear = within(o.shear_degrees);
        let scale = rng.random_range(o.scale[0]..=o.scale[1]);
        backwards(angle, [x, y], scale, [shear, 0.], [0., 0.])
    }
}

impl Transform for Affine {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, Ok)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let fill = self.0.fill as f32;
        each_image(inputs, &|size| size, &|i, image, out| {
            let mut rng = cx.seeds.stream("affine", &[cx.rows[i], cx.epoch]);
            warp(image, &self.draw(&mut rng, image.height, image.width), fill, out);
        })
    }
}

impl Component<dyn Transform> for Affine {
    const TYPE: &'static str = "affine";
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
    use super::super::Image;
    use super::super::testing::{apply, build, counting, fault, follows_rows};
    use super::*;
    use serde_json::json;
    use transplant_core::Seeds;

    fn warped(pixels: &[f32], width: usize, map: [f64; 6], fill: f32) -> Vec<f32> {
        let mut out = vec![0.; pixels.len()];
        warp(&Image { pixels, height: pixels.len() / width, width }, &map, fill, &mut out);
        // Sines of right angles are not quite whole.
        out.iter().map(|v| (v * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn known_maps_move_pixels_as_torchvision_does() {
        let backwards = |angle, shift, scale, shear| backwards(angle, shift, scale, [shear, 0.], [0., 0.]);
        let x = [1., 2., 3., 4., 5., 6., 7., 8., 9.];
        // A positive angle turns clockwise: the first column becomes the first row, from its end.
        assert_eq!(warped(&x, 3, backwards(90., [0., 0.], 1., 0.), 0.), [7., 4., 1., 8., 5., 2., 9., 6., 3.]);
        assert_eq!(warped(&x, 3, backwards(180., [0., 0.], 1., 0.), 0.), [9., 8., 7., 6., 5., 4., 3., 2., 1.]);
        // A shift of (1, 0) moves to the right.
        assert_eq!(warped(&x, 3, backwards(0., [1., 0.], 1., 0.), -1.), [-1., 1., 2., -1., 4., 5., -1., 7., 8.]);
        assert_eq!(warped(&x, 3, backwards(0., [0., -1.], 1., 0.), 0.), [4., 5., 6., 7., 8., 9., 0., 0., 0.]);
        // Half the size: the middle stays, its neighbours come from two pixels away.
        assert_eq!(warped(&x, 3, backwards(0., [0., 0.], 0.5, 0.), 0.), [0., 0., 0., 0., 5., 0., 0., 0., 0.]);
        // Twice the size: bilinear between the pixels.
        assert_eq!(warped(&x, 3, backwards(0., [0., 0.], 2., 0.), 0.), [3., 3.5, 4., 4.5, 5., 5.5, 6., 6.5, 7.]);
        // A shear of 45 degrees: the upper row moves a pixel to the right, the lower one to the left.
        assert_eq!(warped(&x, 3, backwards(0., [0., 0.], 1., 45.), 0.), [0., 1., 2., 4., 5., 6., 8., 9., 0.]);
    }

    #[test]
    fn the_drawn_maps_stay_within_their_bounds() {
        let t = Affine::new(Options { rotate_degrees: 30., translate: 0.1, scale: [0.5, 2.], ..Options::default() });
        let t = t.unwrap();
        let mut turned = [0, 0];
        for i in 0..500 {
            let m = t.draw(&mut Seeds::new(0).stream("t", &[i]), 20, 40);
            let scale = 1. / (m[0] * m[4] - m[1] * m[3]).sqrt();
            assert!((0.5..=2.).contains(&scale));
            let angle = m[1].atan2(m[0]).to_degrees();
            assert!(angle.abs() <= 30.);
            turned[usize::from(angle > 0.)] += 1;
            // Where the centre of the source goes: forwards, the shift.
            let det = m[0] * m[4] - m[1] * m[3];
            let x = (-m[4] * m[2] + m[1] * m[5]) / det;
            assert!(x.abs() <= 4.001 && (x - x.round()).abs() < 1e-9, "{x}");
        }
        assert!(turned.iter().all(|n| *n > 200), "{turned:?}");
    }

    #[test]
    fn it_is_seeded_by_row_and_epoch_and_does_nothing_by_default() -> Result<()> {
        let o = json!({"rotate_degrees": 20, "translate": 0.2, "scale": [0.8, 1.2], "shear_degrees": 10});
        follows_rows(build::<Affine>(o)?.as_ref(), [2, 5, 6]);
        let x = counting([2, 1, 4, 4]);
        let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
        assert_eq!(apply(build::<Affine>(json!({}))?.as_ref(), x, 0), values);
        Ok(())
    }

    #[test]
    fn bounds_out_of_range_are_named() {
        for (key, value) in [("rotate_degrees", json!(-1)), ("translate", json!(1.5)), ("shear_degrees", json!(90))] {
            assert!(fault::<Affine>(json!({ key: value })).starts_with(key));
        }
        for scale in [json!([0, 1]), json!([2, 1])] {
            assert!(fault::<Affine>(json!({ "scale": scale })).starts_with("scale: must be"));
        }
        assert!(fault::<Affine>(json!({ "rotate": 1 })).contains("did you mean `rotate_degrees`?"));
    }
}
