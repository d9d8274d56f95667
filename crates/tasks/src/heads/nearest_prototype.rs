//! Nearest prototype: each class is the mean of its rows (Mensink et al. 2013; Snell et al. 2017).
//!
//! The smallest head there is, and hard to beat when a class has one or two labels. It cannot tell apart classes whose
//! means coincide. A class without a labelled row is never predicted.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Features, Field, HIDDEN, HeadFit, Invalid, Module, Plugins, Result, Schema, Scope,
};

use super::{Distance, LOGITS, Rows, Uniform, class_count, labelled};

/// The logit of a class without a labelled row.
const NEVER: f64 = -1e4;

/// Each class is the mean of its labelled rows, and the nearest mean wins.
///
/// Hard to beat when a class has one or two labels; Mensink et al. 2013, Snell et al. 2017. A class without a labelled
/// row is never predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NearestPrototypeOptions {
    /// How far a row is from a prototype; for `euclidean` the square counts.
    pub distance: Distance,
    /// Distances are divided by it before the softmax; above 0. Larger: less sure. It does not change which class wins.
    pub temperature: f64,
}

impl Default for NearestPrototypeOptions {
    fn default() -> Self {
        Self { distance: Distance::default(), temperature: 0.1 }
    }
}

/// Compares with class means. Keeps `prototypes [classes, width]` and `seen [classes]`, 1 where a class had rows.
#[derive(Debug, Clone, Default)]
pub struct NearestPrototype(NearestPrototypeOptions);

impl NearestPrototype {
    /// With these options.
    ///
    /// # Errors
    /// When the temperature is not positive.
    pub fn new(options: NearestPrototypeOptions) -> Result<Self, Invalid> {
        if options.temperature.is_finite() && options.temperature > 0.0 {
            return Ok(Self(options));
        }
        Err(Invalid::key("temperature", "must be above 0"))
    }
}

impl Component<dyn HeadFit> for NearestPrototype {
    const TYPE: &'static str = "nearest_prototype";
    type Options = NearestPrototypeOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn HeadFit>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl HeadFit for NearestPrototype {
    fn name(&self) -> &'static str {
        <Self as Component<dyn HeadFit>>::TYPE
    }

    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        field: &Field,
        _: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let classes = class_count(field)?;
        let (rows, y) = labelled(f, target, classes)?;
        let mut counts = vec![0f64; classes];
        y.iter().for_each(|c| counts[*c] += 1.0);
        let mut means = Rows { width: rows.width, values: vec![0.0; classes * rows.width] };
        for (row, &c) in rows.iter().zip(&y) {
            let mean = &mut means.values[c * rows.width..(c + 1) * rows.width];
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / counts[c]);
        }
        let seen: Vec<f32> = counts.iter().map(|n| f32::from(u8::from(*n > 0.0))).collect();
        let seen = Tensor::from_vec(seen, classes, &Device::Cpu)?;
        Ok(BTreeMap::from([("prototypes".to_owned(), means.to_tensor()?), ("seen".to_owned(), seen)]))
    }

    fn build(&self, _: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        let classes = class_count(field)?;
        let (Some(prototypes), Some(seen)) = (scope.find("prototypes"), scope.find("seen")) else {
            return Ok(Box::new(Uniform { classes }));
        };
        let NearestPrototypeOptions { distance, temperature } = self.0;
        let prototypes = prepared(&prototypes, distance)?;
        let unseen = seen.affine(-NEVER, NEVER)?;
        // Half the squared distance of rows of length 1 is one minus their cosine.
        let factor = if distance == Distance::Cosine { 0.5 } else { 1.0 } / temperature;
        Ok(Box::new(Prototypes { prototypes, unseen, distance, factor }))
    }

    /// Of a squared Euclidean distance the row's own square is the same for all classes, and the rest is linear in the
    /// row.
    fn linear(&self, fitted: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        let (Some(prototypes), Some(seen)) = (fitted.get("prototypes"), fitted.get("seen")) else { return Ok(None) };
        if self.0.distance != Distance::Euclidean {
            return Ok(None);
        }
        let (prototypes, factor) = (prototypes.to_dtype(DType::F64)?, 1.0 / self.0.temperature);
        let squares = prototypes.sqr()?.sum(D::Minus1)?.affine(-factor, 0.0)?;
        let bias = (squares + seen.to_dtype(DType::F64)?.affine(-NEVER, NEVER)?)?;
        let weight = prototypes.affine(2.0 * factor, 0.0)?;
        Ok(Some(BTreeMap::from([
            ("weight".to_owned(), weight.to_dtype(DType::F32)?),
            ("bias".to_owned(), bias.to_dtype(DType::F32)?),
        ])))
    }
}

struct Prototypes {
    prototypes: Tensor,
    unseen: Tensor,
    distance: Distance,
    factor: f64,
}

impl Module for Prototypes {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        let x = prepared(acts.get(HIDDEN)?, self.distance)?;
        // Differences, not products: exact where row and prototype are close, and each row stands by itself.
        let apart = x.unsqueeze(1)?.broadcast_sub(&self.prototypes.unsqueeze(0)?)?.sqr()?.sum(D::Minus1)?;
        let logits = apart.affine(-self.factor, 0.0)?.broadcast_add(&self.unseen)?;
        Ok(Acts::new().with(LOGITS, logits))
    }
}

fn prepared(x: &Tensor, distance: Distance) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    if distance == Distance::Euclidean {
        return Ok(x);
    }
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{goldens, labels, largest, logits, matrix, softmax};
    use super::*;

    fn head(distance: Distance) -> NearestPrototype {
        NearestPrototype::new(NearestPrototypeOptions { distance, temperature: 2.0 }).unwrap()
    }

    #[test]
    fn agrees_with_scikit_learn() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        for case in g["nearest_prototype"].as_array().unwrap() {
            let head = head(serde_json::from_value(case["distance"].clone()).unwrap());
            let out = logits(&head, Some((&x, &y, &BTreeMap::new())), 3, &q)?;
            let said: Vec<u64> = out.iter().map(|r| largest(r)).collect();
            assert_eq!(said, serde_json::from_value::<Vec<u64>>(case["predictions"].clone()).unwrap());
        }
        Ok(())
    }

    #[test]
    fn euclidean_prototypes_are_a_linear_layer() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        let (euclidean, none) = (head(Distance::Euclidean), BTreeMap::new());
        let fitted = euclidean.fit(
            &super::super::tests::features(x.clone()),
            &y,
            &super::super::tests::class_field(4),
            &none,
        )?;
        let linear = euclidean.linear(&fitted)?.expect("a linear layer");
        let ours = q.matmul(&linear["weight"].t()?)?.broadcast_add(&linear["bias"])?.to_vec2::<f32>()?;
        for (ours, wanted) in ours.iter().zip(logits(&euclidean, Some((&x, &y, &none)), 4, &q)?) {
            for (a, b) in softmax(ours).iter().zip(softmax(&wanted)) {
                assert!((a - b).abs() < 1e-5, "{a} for {b}");
            }
        }
        assert!(head(Distance::Cosine).linear(&fitted)?.is_none());
        Ok(())
    }

    #[test]
    fn logits_are_distances_over_the_temperature_and_unseen_classes_never_win() -> Result<()> {
        let x = Tensor::new(&[[0f32, 0.0], [0.0, 2.0], [4.0, 0.0]], &Device::Cpu)?;
        let y = Tensor::new(&[0u32, 0, 2], &Device::Cpu)?;
        let q = Tensor::new(&[[0f32, 0.0], [1000.0, 0.0]], &Device::Cpu)?;
        let out = logits(&head(Distance::Euclidean), Some((&x, &y, &BTreeMap::new())), 3, &q)?;
        assert_eq!((out[0][0], out[0][2]), (-0.5, -8.0));
        assert!(out[0][1] < -9000.0);
        Ok(())
    }
}
