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
}

impl Pool2d {
    /// Square windows side by side, without padding.
    pub fn square(kernel: usize) -> Self {
        Self { kernel: (kernel, kernel), stride: (kernel, kernel), padding: (0, 0) }
    }

    /// Square windows.
    pub fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: (kernel, kernel), stride: (stride, stride), padding: (padding, padding) }
    }
}

/// One direction of a pooling operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) len: usize,
    pub(super) out: usize,
    pub(super) kernel: usize,
    stride: usize,
    padding: usize,
}

impl Axis {
    fn new(len: usize, kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        if kernel == 0 || stride == 0 || padding > kernel / 2 || len + 2 * padding < kernel {
            bail!("pooling: kernel {kernel}, stride {stride} and padding {padding} do not suit a length of {len}")
        }
        Ok(Self { len, out: (len + 2 * padding - kernel) / stride + 1, kernel, stride, padding })
    }

    /// The inputs of window `i` that exist; never empty, as the padding is at most half the kernel.
    #[inline]
    pub(super) fn window(&self, i: usize) -> Range<usize> {
        let from = i * self.stride;
        from.saturating_sub(self.padding)..(from + self.kernel - self.padding).min(self.len)
    }

    /// The `k`-th input of each window, or the nearest that the window has.
    pub(super) fn nearest(&self, k: usize) -> Vec<u32> {
        let of = |i: usize| {
            let w = self.window(i);
            (i * self.stride + k).saturating_sub(self.padding).clamp(w.start, w.end - 1) as u32
        };
        (0..self.out).map(of).collect()
    }

    /// Whether windows lie side by side and inside.
    pub(super) fn is_tiled(&self, kernel: usize) -> bool {
        (self.kernel, self.stride, self.padding) == (kernel, kernel, 0)
    }
}

/// The input as planes, with its axes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub(super) n: usize,
    pub(super) c: usize,
    pub(super) y: Axis,
    pub(super) x: Axis,
}

impl Dims {
    pub(super) fn new(x: &Tensor, p: Pool2d) -> Result<Self> {
        let (n, c, h, w) = x.dims4()?;
        let y = Axis::new(h, p.kernel.0, p.stride.0, p.padding.0)?;
        Ok(Self { n, c, y, x: Axis::new(w, p.kernel.1, p.stride.1, p.padding.1)? })
    }

    pub(super) fn shape(&self) -> (usize, usize, usize, usize) {
        (self.n, self.c, self.y.out, self.x.out)
    }

    /// Elements of an input plane.
    pub(super) fn plane(&self) -> usize {
        self.y.len * self.x.len
    }

    /// Elements of an output plane.
    pub(super) fn out(&self) -> usize {
        self.y.out * self.x.out
    }
}
