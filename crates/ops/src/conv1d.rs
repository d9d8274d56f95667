//! Convolutions of sequences: those of images of one row.

use candle_core::{Result, Tensor, bail};

use crate::{Conv2dGeometry, conv_transpose2d, conv2d};

/// Stride, padding, dilation and groups of a 1-D convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1dGeometry {
    /// Distance between neighbouring windows, at least 1.
    pub stride: usize,
    /// Zeros before and after the input; `[dilation (k - 1), 0]` makes a kernel of `k` taps causal.
    pub padding: [usize; 2],
    /// Distance between neighbouring taps of the kernel, at least 1.
    pub dilation: usize,
    /// Groups of channels that are convolved apart; divides input and output channels.
    pub groups: usize,
}

impl Default for Conv1dGeometry {
    fn default() -> Self {
        Self { stride: 1, padding: [0; 2], dilation: 1, groups: 1 }
    }
}

impl Conv1dGeometry {
    fn of_a_row(self) -> Conv2dGeometry {
        Conv2dGeometry {
            stride: [1, self.stride],
            padding: [[0; 2], self.padding],
            dilation: [1, self.dilation],
            groups: self.groups,
        }
    }
}

/// Convolves `x [n, c, l]` with `weight [o, c / groups, k]` and adds `bias [o]`: `[n, o, ol]`, where
/// `ol = (l + padding - dilation (k - 1) - 1) / stride + 1`, rounded down.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, at: Conv1dGeometry) -> Result<Tensor> {
    let (x, weight) = rows("conv1d", x, weight)?;
    conv2d(&x, &weight, bias, at.of_a_row())?.squeeze(2)
}

/// The transposed convolution of `x [n, c, l]` with `weight [c, o / groups, k]` plus `bias [o]`: `[n, o, ol]`, where
/// `ol = (l - 1) stride - padding + dilation (k - 1) + 1 + output_padding`; see [`conv_transpose2d`].
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn conv_transpose1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    at: Conv1dGeometry,
    output_padding: usize,
) -> Result<Tensor> {
    let (x, weight) = rows("conv_transpose1d", x, weight)?;
    conv_transpose2d(&x, &weight, bias, at.of_a_row(), [0, output_padding])?.squeeze(2)
}

/// Sequences as images of one row.
fn rows(name: &str, x: &Tensor, weight: &Tensor) -> Result<(Tensor, Tensor)> {
    if x.rank() != 3 || weight.rank() != 3 {
        bail!(
            "{name}: expected [n, channels, length] and a weight of rank 3, got {:?} and {:?}",
            x.dims(),
            weight.dims()
        )
    }
    Ok((x.unsqueeze(2)?, weight.unsqueeze(2)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random};

    #[test]
    fn gradients_are_right_in_both_directions() {
        let at = |stride, padding, dilation, groups| Conv1dGeometry { stride, padding, dilation, groups };
        for (c, o, l, k, at) in [
            (3, 2, 7, 3, at(1, [1, 1], 1, 1)),
            (4, 6, 9, 2, at(2, [2, 0], 3, 2)),
            (3, 3, 6, 3, at(1, [4, 0], 2, 3)),
            (1, 2, 1, 1, at(1, [0, 0], 1, 1)),
        ] {
            let t = [random(1, &[2, c, l]), random(2, &[o, c / at.groups, k]), random(3, &[o])];
            gradcheck(|t| conv1d(&t[0], &t[1], Some(&t[2]), at), &t);
            let back = random(2, &[c, o / at.groups, k]);
            let t = [t[0].clone(), back, t[2].clone()];
            gradcheck(|t| conv_transpose1d(&t[0], &t[1], Some(&t[2]), at, at.stride - 1), &t);
        }
    }

    #[test]
    fn a_causal_kernel_sees_no_later_position() -> Result<()> {
        let (x, w) = (random(1, &[1, 2, 9]), random(2, &[3, 2, 3]));
        let at = Conv1dGeometry { padding: [4, 0], dilation: 2, ..Conv1dGeometry::default() };
        let (all, some) = (conv1d(&x, &w, None, at)?, conv1d(&x.narrow(2, 0, 5)?, &w, None, at)?);
        assert_eq!((all.dims(), max_difference(&all.narrow(2, 0, 5)?, &some)), (&[1, 3, 9][..], 0.0));
        assert!(conv1d(&x, &random(2, &[3, 2, 3, 1]), None, at).is_err());
        Ok(())
    }
}
