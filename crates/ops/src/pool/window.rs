//! Windows of a pooling operation.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

/// Kernel, stride and padding of a pooling operation, as (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Size of the window.
    pub kernel: (usize, usize),
    /// Distance between neighbouring windows.
    pub stride: (usize, usize),
    /// Positions added on every side; at most half the kernel.
    pub padding: (usize, usize),
    /// Whether a last window that begins inside the input but reaches beyond it counts (PyTorch's `ceil_mode`).
    pub ceil: bool,
}

impl Pool2d {
    /// Square windows side by side, without padding.
    pub fn square(kernel: usize) -> Self {
        Self::new(kernel, kernel, 0)
    }

    /// Square windows.
    pub fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: (kernel, kernel), stride: (stride, stride), padding: (padding, padding), ceil: false }
    }
}

/// The windows along one direction: the inputs of each that exist, never none.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) len: usize,
    pub(super) windows: Vec<Range<usize>>,
    /// By how many positions each window's mean is divided when padding counts.
    pub(super) extents: Vec<usize>,
}

impl Axis {
    fn new(len: usize, kernel: usize, stride: usize, padding: usize, ceil: bool) -> Result<Self> {
        if kernel == 0 || stride == 0 || padding > kernel / 2 || len + 2 * padding < kernel {
            bail!("pooling: kernel {kernel}, stride {stride} and padding {padding} do not suit a length of {len}")
        }
        let span = len + 2 * padding - kernel;
        let mut count = if ceil { span.div_ceil(stride) } else { span / stride } + 1;
        // A window must begin inside the input or the padding before it.
        if (count - 1) * stride >= len + padding {
            count -= 1;
        }
        let window = |i: usize| (i * stride).saturating_sub(padding)..(i * stride + kernel - padding).min(len);
        let extent = |i: usize| kernel.min(len + 2 * padding - i * stride);
        Ok(Self { len, windows: (0..count).map(window).collect(), extents: (0..count).map(extent).collect() })
    }

    /// `outputs` windows that together cover the input, as evenly as possible.
    pub(super) fn adaptive(len: usize, outputs: usize) -> Result<Self> {
        if len == 0 || outputs == 0 {
            bail!("pooling: {outputs} outputs of a length of {len}")
        }
        let windows: Vec<_> = (0..outputs).map(|i| i * len / outputs..((i + 1) * len).div_ceil(outputs)).collect();
        Ok(Self { len, extents: windows.iter().map(Range::len).collect(), windows })
    }

    /// The `k`-th input of each window, or its last.
    pub(super) fn nearest(&self, k: usize) -> Vec<u32> {
        self.windows.iter().map(|w| (w.start + k).min(w.end - 1) as u32).collect()
    }

    /// Inputs of the largest window.
    pub(super) fn longest(&self) -> usize {
        self.windows.iter().map(Range::len).max().unwrap_or(0)
    }

    pub(super) fn out(&self) -> usize {
        self.windows.len()
    }
}

/// The input as planes, with its axes.
#[derive(Debug, Clone)]
pub(super) struct Dims {
    pub(super) n: usize,
    pub(super) c: usize,
    pub(super) y: Axis,
    pub(super) x: Axis,
}

impl Dims {
    pub(super) fn new(x: &Tensor, p: Pool2d) -> Result<Self> {
        let (n, c, h, w) = x.dims4()?;
        let y = Axis::new(h, p.kernel.0, p.stride.0, p.padding.0, p.ceil)?;
        Ok(Self { n, c, y, x: Axis::new(w, p.kernel.1, p.stride.1, p.padding.1, p.ceil)? })
    }

    pub(super) fn shape(&self) -> (usize, usize, usize, usize) {
        (self.n, self.c, self.y.out(), self.x.out())
    }

    pub(super) fn input(&self) -> (usize, usize, usize, usize) {
        (self.n, self.c, self.y.len, self.x.len)
    }

    /// Elements of an input image.
    pub(super) fn image(&self) -> usize {
        self.c * self.y.len * self.x.len
    }

    /// Elements of an output image.
    pub(super) fn out(&self) -> usize {
        self.c * self.y.out() * self.x.out()
    }

    /// For each input of an output position's window, in reading order: where its channels begin in the image.
    #[inline(always)]
    pub(super) fn taps(&self, oy: usize, ox: usize) -> impl Iterator<Item = usize> + use<> {
        let (width, c, columns) = (self.x.len, self.c, self.x.windows[ox].clone());
        self.y.windows[oy].clone().flat_map(move |y| columns.clone().map(move |x| (y * width + x) * c))
    }
}
