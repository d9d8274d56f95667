//! Updates of weights where they stand: one pass over a weight, its gradient and what the optimiser remembers of it.

use crate::simd::vectorised;

/// A step of stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f32,
    /// Share of a weight that is added to its gradient.
    pub weight_decay: f32,
    /// Share of the velocity that stays.
    pub momentum: f32,
    /// Whether the gradient is taken where the velocity leads.
    pub nesterov: bool,
}

impl SgdStep {
    /// Updates weights, and velocities where there are any. All slices are of one length.
    pub fn update(self, weights: &mut [f32], grads: &[f32], velocities: Option<&mut [f32]>) {
        let Self { lr, weight_decay, momentum, nesterov } = self;
        match velocities {
            None => vectorised(
                #[inline(always)]
                || {
                    for (w, g) in weights.iter_mut().zip(grads) {
                        *w -= lr * (g + weight_decay * *w);
                    }
                },
            ),
            Some(velocities) => vectorised(
                #[inline(always)]
                || {
                    for ((w, g), m) in weights.iter_mut().zip(grads).zip(velocities) {
                        let g = g + weight_decay * *w;
                        *m = *m * momentum + g;
                        *w -= lr * if nesterov { g + *m * momentum } else { *m };
                    }
                },
            ),
        }
    }
}

/// A step of Adam with decoupled weight decay (Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate over the first moment's correction for its start at zero.
    pub step_size: f32,
    /// Share of a weight that stays.
    pub decay: f32,
    /// Decay of the first moment and of the second.
    pub betas: [f32; 2],
    /// What a gradient, and its square, add to the moments.
    pub shares: [f32; 2],
    /// The second moment's correction for its start at zero.
    pub correction: f32,
    /// Added to the denominator.
    pub epsilon: f32,
}

impl AdamWStep {
    /// Updates weights and both moments. All slices are of one length.
    pub fn update(self, weights: &mut [f32], grads: &[f32], first: &mut [f32], second: &mut [f32]) {
        let Self { step_size, decay, betas: [b1, b2], shares: [c1, c2], correction, epsilon } = self;
        vectorised(
            #[inline(always)]
            || {
                for ((w, g), (m, v)) in weights.iter_mut().zip(grads).zip(first.iter_mut().zip(second)) {
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    *w = *w * decay - step_size * *m / ((*v * correction).sqrt() + epsilon);
                }
            },
        );
    }
}

/// Moves `averages` towards `values` by this share of the way.
pub fn approach(averages: &mut [f32], values: &[f32], share: f32) {
    vectorised(
        #[inline(always)]
        || {
            for (a, v) in averages.iter_mut().zip(values) {
                *a += share * (v - *a);
            }
        },
    );
}
