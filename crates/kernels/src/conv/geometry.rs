//! The sizes of a convolution, checked once.

use crate::precision::Precision;

/// Stride, padding, dilation and groups of a 2-D convolution; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dGeometry {
    /// Distance between neighbouring windows, at least 1.
    pub stride: [usize; 2],
    /// Zeros before and after the input, in each direction.
    pub padding: [[usize; 2]; 2],
    /// Distance between neighbouring taps of the kernel, at least 1.
    pub dilation: [usize; 2],
    /// Groups of channels that are convolved apart; divides input and output channels.
    pub groups: usize,
}

impl Default for Conv2dGeometry {
    fn default() -> Self {
        Self { stride: [1; 2], padding: [[0; 2]; 2], dilation: [1; 2], groups: 1 }
    }
}

impl Conv2dGeometry {
    /// Stride 1 with this padding on every side.
    pub fn padded(padding: usize) -> Self {
        Self { padding: [[padding; 2]; 2], ..Self::default() }
    }

    /// The same with this stride in both directions.
    #[must_use]
    pub fn strided(self, stride: usize) -> Self {
        Self { stride: [stride; 2], ..self }
    }

    /// The same with this dilation in both directions.
    #[must_use]
    pub fn dilated(self, dilation: usize) -> Self {
        Self { dilation: [dilation; 2], ..self }
    }

    /// The same in groups of channels.
    #[must_use]
    pub fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with TensorFlow's padding "same" for an input and a kernel of these sizes: the output is the input's size
    /// divided by the stride, rounded up, and what cannot be halved goes to the end.
    #[must_use]
    pub fn same(self, input: [usize; 2], kernel: [usize; 2]) -> Self {
        let side = |i: usize| {
            let outputs = input[i].div_ceil(self.stride[i].max(1)).max(1);
            let reach = (outputs - 1) * self.stride[i] + (kernel[i].max(1) - 1) * self.dilation[i] + 1;
            let missing = reach.saturating_sub(input[i]);
            [missing / 2, missing - missing / 2]
        };
        Self { padding: [side(0), side(1)], ..self }
    }

    /// Outputs over an input of length `len` with a kernel of `k` taps in direction `axis`; `None` when it does not fit.
    pub fn outputs(&self, axis: usize, len: usize, k: usize) -> Option<usize> {
        let span = self.dilation[axis] * (k - 1) + 1;
        let padded = len + self.padding[axis][0] + self.padding[axis][1];
        (padded >= span).then(|| (padded - span) / self.stride[axis] + 1)
    }
}

/// All sizes of one call, and how its products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Images.
    pub n: usize,
    /// Input channels.
    pub c: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Output channels.
    pub o: usize,
    /// Height of the kernel.
    pub kh: usize,
    /// Width of the kernel.
    pub kw: usize,
    /// Height of the output.
    pub oh: usize,
    /// Width of the output.
    pub ow: usize,
    /// Stride, padding, dilation and groups.
    pub at: Conv2dGeometry,
    /// What operands are rounded to.
    pub precision: Precision,
}

impl Dims {
    /// The sizes of `x [n, c, h, w]` and `weight [o, c / groups, kh, kw]`, in the precision of this thread.
    ///
    /// # Errors
    /// When they do not fit, with the reason.
    pub fn new(x: &[usize], weight: &[usize], at: Conv2dGeometry) -> Result<Self, String> {
        let (&[n, c, h, w], &[o, cg, kh, kw]) = (x, weight) else {
            return Err(format!(
                "conv2d: expected an input [n, c, h, w] and a weight [o, c, kh, kw], got {x:?} and {weight:?}"
            ));
        };
        let groups = at.groups;
        if at.stride.contains(&0) || at.dilation.contains(&0) || groups == 0 || kh == 0 || kw == 0 {
            return Err(format!(
                "conv2d: stride, dilation, groups and kernel must be at least 1, got {at:?} and kernel {kh}x{kw}"
            ));
        }
        if c != cg * groups || o % groups != 0 {
            return Err(format!("conv2d: weight {weight:?} in {groups} groups does not fit the input {x:?}"));
        }
        let (Some(oh), Some(ow)) = (at.outputs(0, h, kh), at.outputs(1, w, kw)) else {
            return Err(format!("conv2d: a {kh}x{kw} kernel with {at:?} is larger than the input {x:?}"));
        };
        Ok(Self { n, c, h, w, o, kh, kw, oh, ow, at, precision: Precision::current() })
    }

    /// Input channels of a group.
    pub fn cg(&self) -> usize {
        self.c / self.at.groups
    }

    /// Output channels of a group.
    pub fn og(&self) -> usize {
        self.o / self.at.groups
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kh * self.kw
    }

    /// Whether each channel is convolved alone, with one output.
    pub fn is_depthwise(&self) -> bool {
        self.at.groups == self.c && self.o == self.c && self.c > 1
    }

    /// The input row (column) that tap `k` of output row (column) `out` reads, when it exists.
    pub fn source(&self, axis: usize, out: usize, k: usize) -> Option<usize> {
        let len = [self.h, self.w][axis];
        (out * self.at.stride[axis] + k * self.at.dilation[axis])
            .checked_sub(self.at.padding[axis][0])
            .filter(|i| *i < len)
    }

    /// The output row (column) that reads input row (column) `i` by tap `k`, when it exists.
    pub fn reader(&self, axis: usize, i: usize, k: usize) -> Option<usize> {
        let (stride, len) = (self.at.stride[axis], [self.oh, self.ow][axis]);
        let at = (i + self.at.padding[axis][0]).checked_sub(k * self.at.dilation[axis])?;
        at.is_multiple_of(stride).then(|| at / stride).filter(|o| *o < len)
    }
}
