//! [`Adapter`]: small trained modules beside a frozen layer (LoRA and kin).

use candle_core::Tensor;

use crate::{Result, Scope};

/// The kind and geometry of a layer that an adapter may attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteKind {
    /// `y = x Wᵀ + b`.
    Linear {
        /// Input width.
        inputs: usize,
        /// Output width.
        outputs: usize,
    },
    /// A 2-D convolution.
    Conv2d {
        /// Input channels.
        inputs: usize,
        /// Output channels.
        outputs: usize,
        /// Height and width of the kernel.
        kernel: (usize, usize),
        /// Stride, as (height, width).
        stride: [usize; 2],
        /// Zeros before and after, in each direction.
        padding: [[usize; 2]; 2],
        /// Dilation, as (height, width).
        dilation: [usize; 2],
        /// Groups of channels.
        groups: usize,
    },
}

/// A layer: its full name (without `.weight`) and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Full name of the layer, e.g. `backbone.block1.conv`.
    pub name: String,
    /// What it computes.
    pub kind: SiteKind,
}

/// Makes a [`Delta`] for a layer.
pub trait Adapter: std::fmt::Debug + Send + Sync {
    /// Builds the adapter of one layer. `scope` stands below the layer's name; parameters made there are trained, and
    /// have [`Role::Adapter`](crate::Role::Adapter). Called whenever the network is built, and once more when it is
    /// merged.
    ///
    /// # Errors
    /// When a parameter cannot be made. `Ok(None)` leaves the layer as it is.
    fn attach(&self, site: &Site, scope: &Scope) -> Result<Option<Box<dyn Delta>>>;
}

/// What an adapter adds to its layer.
pub trait Delta: Send + Sync {
    /// The adapted output, from the layer's input `x` and its own output `y`.
    ///
    /// # Errors
    /// When an operation fails.
    fn forward(&self, x: &Tensor, y: Tensor) -> Result<Tensor>;

    /// The weight that alone computes the adapted layer; `None` when there is none. Called by the trainer at the end of
    /// a fit for layers that [`Finish::merge`](crate::Finish) names; `weight` is the layer's own, and is not changed.
    ///
    /// # Errors
    /// When an operation fails.
    fn merged(&self, weight: &Tensor) -> Result<Option<Tensor>>;
}
