//! The sizes of a convolution, checked once, and the tiles in which it is computed.

use candle_core::{Result, Tensor, bail};

/// Stride, padding, dilation and groups of a 2-D convolution, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dGeometry {
    /// Distance between neighbouring windows, at least 1.
    pub stride: usize,
    /// Zeros put on every side of the input.
    pub padding: usize,
    /// Distance between neighbouring taps of the kernel, at least 1.
    pub dilation: usize,
    /// Groups of channels that are convolved apart; divides input and output channels.
    pub groups: usize,
}

impl Default for Conv2dGeometry {
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

impl Conv2dGeometry {
    /// Stride 1 with this padding.
    pub fn padded(padding: usize) -> Self {
        Self { padding, ..Self::default() }
    }
}

/// All sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dims {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) o: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    pub(crate) at: Conv2dGeometry,
}

/// Columns of the patch matrix that make a product efficient.
const GOOD_COLUMNS: usize = 256;
/// Elements of the patch matrix that stay in a core's cache.
const MAX_PATCHES: usize = 96 << 10;

impl Dims {
    pub(crate) fn new(x: &Tensor, weight: &Tensor, at: Conv2dGeometry) -> Result<Self> {
        let (n, c, h, w) = x.dims4()?;
        let (o, cg, kh, kw) = weight.dims4()?;
        let Conv2dGeometry { stride, padding, dilation, groups } = at;
        if stride == 0 || dilation == 0 || groups == 0 || kh == 0 || kw == 0 {
            bail!("conv2d: stride, dilation, groups and kernel must be at least 1, got {at:?} and kernel {kh}x{kw}")
        }
        if c != cg * groups || o % groups != 0 {
            bail!("conv2d: weight {:?} in {groups} groups does not fit the input {:?}", weight.dims(), x.dims())
        }
        let out = |len: usize, k: usize| {
            let span = dilation * (k - 1) + 1;
            (len + 2 * padding >= span).then(|| (len + 2 * padding - span) / stride + 1)
        };
        let (Some(oh), Some(ow)) = (out(h, kh), out(w, kw)) else {
            bail!("conv2d: a {kh}x{kw} kernel with {at:?} is larger than the input {:?}", x.dims())
        };
        Ok(Self { n, c, h, w, o, kh, kw, oh, ow, at })
    }

    /// Input channels of a group.
    pub(crate) fn cg(&self) -> usize {
        self.c / self.at.groups
    }

    /// Output channels of a group.
    pub(crate) fn og(&self) -> usize {
        self.o / self.at.groups
    }

    /// Rows of the patch matrix: taps of one output.
    pub(crate) fn taps(&self) -> usize {
        self.cg() * self.kh * self.kw
    }

    /// Positions of an output plane.
    pub(crate) fn positions(&self) -> usize {
        self.oh * self.ow
    }

    /// Elements of one input image.
    pub(crate) fn x_len(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Elements of one output image.
    pub(crate) fn y_len(&self) -> usize {
        self.o * self.positions()
    }

    /// Whether the input is its own patch matrix.
    pub(crate) fn is_pointwise(&self) -> bool {
        (self.kh, self.kw, self.at.stride, self.at.padding) == (1, 1, 1, 0)
    }

    /// Images in a tile and output rows in a block of it. They depend on the sizes of an image and the kernel alone, never
    /// on the batch or the number of threads, because the bits of a product depend on its sizes.
    pub(crate) fn tile(&self) -> (usize, usize) {
        let budget = MAX_PATCHES / self.taps().max(1);
        if self.is_pointwise() {
            (1, self.oh)
        } else if self.positions() > budget {
            (1, (budget / self.ow.max(1)).clamp(1, self.oh.max(1)))
        } else {
            (GOOD_COLUMNS.min(budget).div_ceil(self.positions().max(1)).max(1), self.oh)
        }
    }
}
