//! The operations that are timed, at sizes that networks use, and the arithmetic that they take.

use std::fmt;

use candle_core::{Result, Tensor};
use transplant_ops::{Activation, After, Conv2dGeometry, Pool2d};

type Operation = fn(&[Tensor], Conv2dGeometry) -> Result<Tensor>;

/// An operation and the shapes of its operands.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The input first.
    pub(crate) shapes: Vec<Vec<usize>>,
    pub(crate) at: Conv2dGeometry,
    pub(crate) run: Operation,
    /// Floating-point operations of a forward pass, two for each multiply-add, the padding's included; `None` for
    /// operations that are not products.
    pub(crate) flops: Option<f64>,
}

/// What is timed of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The output, where nothing is recorded.
    Forward,
    /// The gradient of the first operand only.
    InputGradient,
    /// The gradient of the second operand only.
    WeightGradient,
    /// The gradients of all operands.
    Gradients,
}

impl Case {
    /// What is timed of this operation.
    pub(crate) fn passes(&self) -> &'static [Pass] {
        if self.flops.is_some() && self.shapes.len() > 1 {
            &[Pass::Forward, Pass::InputGradient, Pass::WeightGradient]
        } else {
            &[Pass::Forward, Pass::Gradients]
        }
    }

    /// Floating-point operations of a pass. Each gradient of a product takes as many as the product; attention's two products
    /// have four gradients, and making the scores again is not counted.
    pub(crate) fn flops(&self, pass: Pass) -> Option<f64> {
        Some(if pass == Pass::Gradients { 2.0 } else { 1.0 } * self.flops?)
    }
}

impl Pass {
    /// Whether the gradient of this operand is made.
    pub(crate) fn wants(self, operand: usize) -> bool {
        match self {
            Self::Forward => false,
            Self::InputGradient => operand == 0,
            Self::WeightGradient => operand == 1,
            Self::Gradients => true,
        }
    }

    /// The key in a line of JSON; `tests/peers/torch_linear.py` has the same.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input_gradient",
            Self::WeightGradient => "weight_gradient",
            Self::Gradients => "gradients",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.key().replace('_', " "))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |s: &Vec<usize>| s.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let mut text = format!("{} {}", self.name, self.shapes.iter().take(2).map(shape).collect::<Vec<_>>().join(" "));
        if self.at.stride != [1, 1] {
            text += &format!(" / {}", self.at.stride[0]);
        }
        f.pad(&text)
    }
}

/// All operations.
pub(crate) fn all() -> Vec<Case> {
    let depthwise = |size, c, k, stride| conv("depthwise", [32, size], [c, c, k], stride, c);
    let image: &[usize] = &[32, 96, 64, 64];
    vec![
        conv("conv2d", [8, 56], [64, 64, 3], 1, 1),
        conv("conv2d", [8, 28], [128, 128, 3], 1, 1),
        conv("conv2d", [8, 7], [512, 512, 3], 1, 1),
        conv("conv2d", [8, 56], [64, 128, 3], 2, 1),
        conv("conv2d", [8, 224], [3, 64, 7], 2, 1),
        conv("point", [32, 64], [16, 96, 1], 1, 1),
        conv("point", [32, 32], [96, 24, 1], 1, 1),
        conv("point", [32, 8], [480, 80, 1], 1, 1),
        conv("point", [32, 4], [192, 1152, 1], 1, 1),
        depthwise(64, 32, 3, 1),
        depthwise(64, 96, 3, 2),
        depthwise(32, 144, 3, 1),
        depthwise(32, 144, 5, 2),
        depthwise(16, 240, 5, 1),
        depthwise(8, 480, 3, 1),
        depthwise(8, 672, 5, 1),
        depthwise(4, 1152, 5, 1),
        linear(3152, 192, 576),
        linear(3152, 768, 192),
        linear(2048, 384, 1536),
        linear(2048, 1536, 384),
        linear(1024, 1024, 1024),
        linear(256, 512, 512),
        attention([16, 197, 192], |t, _| transplant_ops::attention(&t[0], 3, None)),
        attention([32, 64, 384], |t, _| transplant_ops::attention(&t[0], 12, None)),
        case("softmax", &[&[3152, 197]], |t, _| transplant_ops::softmax(&t[0])),
        case("layer_norm", &[&[3152, 192], &[192], &[192]], |t, _| {
            transplant_ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)
        }),
        case("gelu", &[&[3152, 768]], |t, _| transplant_ops::activate(&t[0], Activation::Gelu)),
        case("relu", &[image], |t, _| transplant_ops::relu(&t[0])),
        case("batch_norm + relu6", &[image, &[96], &[96]], |t, _| {
            Ok(transplant_ops::batch_norm(&t[0], &t[1], &t[2], 1e-5, After::from(Activation::Relu6))?.0)
        }),
        case("max_pool2d", &[&[8, 64, 112, 112]], |t, _| transplant_ops::max_pool2d(&t[0], Pool2d::new(3, 2, 1))),
    ]
}

fn case(name: &'static str, shapes: &[&[usize]], run: Operation) -> Case {
    let shapes = shapes.iter().map(|s| s.to_vec()).collect();
    Case { name, shapes, at: Conv2dGeometry::default(), run, flops: None }
}

/// A linear layer over so many rows.
fn linear(rows: usize, inputs: usize, outputs: usize) -> Case {
    let flops = Some(2.0 * (rows * inputs * outputs) as f64);
    Case {
        flops,
        ..case("linear", &[&[rows, inputs], &[outputs, inputs]], |t, _| transplant_ops::linear(&t[0], &t[1], None))
    }
}

/// Self-attention of rows with so many positions.
fn attention([rows, positions, width]: [usize; 3], run: Operation) -> Case {
    let flops = Some(4.0 * (rows * positions * positions * width) as f64);
    Case { flops, ..case("attention", &[&[rows, positions, 3 * width]], run) }
}

/// A convolution of `n` images of `size` × `size`, with as much padding on each side as its kernel reaches.
fn conv(name: &'static str, [n, size]: [usize; 2], [c, o, k]: [usize; 3], stride: usize, groups: usize) -> Case {
    let at = Conv2dGeometry::padded(k / 2).strided(stride).grouped(groups);
    let run = |t: &[Tensor], at| transplant_ops::conv2d(&t[0], &t[1], None, at);
    let out = size.div_ceil(stride);
    let flops = Some(2.0 * (n * out * out * o * (c / groups) * k * k) as f64);
    Case { at, flops, ..case(name, &[&[n, c, size, size], &[o, c / groups, k, k]], run) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_know_their_arithmetic() {
        let flops = |name: &str| all().iter().filter(|c| c.name == name).map(|c| c.flops(Pass::Forward)).next();
        assert_eq!(flops("linear"), Some(Some(2.0 * 3152.0 * 192.0 * 576.0)));
        assert_eq!(flops("depthwise"), Some(Some(2.0 * 32.0 * 64.0 * 64.0 * 32.0 * 9.0)));
        assert_eq!(flops("relu"), Some(None));
    }
}
