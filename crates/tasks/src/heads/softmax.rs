//! Softmax regression to convergence, by Newton's method with conjugate gradients.
//!
//! The Hessian is never formed: its product with a direction costs one pass over the rows. The loss is strictly convex
//! for any positive pull, so there is one minimum and no choice of where to start changes it. (Biases that nothing
//! pulls may move together without changing a probability; they stay together where they started.)

use transplant_core::{Error, Result};
use transplant_kernels::tall::{Tall, outer_products, products};

use super::Rows;

const MAX_NEWTON_STEPS: usize = 200;
const TOLERANCE: f64 = 1e-9;
/// The part of the loss that rounding may be.
const RESOLUTION: f64 = 1e-12;

/// The features of all rows, `[rows, width]`, in one form or another. What it computes has the same bits for any number
/// of threads.
pub(crate) trait Design: Sync {
    /// Values a row.
    fn width(&self) -> usize;

    /// The product of every row with each of some coefficients `[classes × width]`: `[rows × classes]`.
    fn times(&self, t: &[f64], classes: usize) -> Vec<f64>;

    /// The sum of all rows, times what `r [rows × classes]` says of them for each class: `[classes × width]`.
    fn transposed_times(&self, r: &[f64], classes: usize) -> Vec<f64>;
}

impl Design for Rows {
    fn width(&self) -> usize {
        self.width
    }

    fn times(&self, t: &[f64], classes: usize) -> Vec<f64> {
        products(Tall { width: self.width, values: &self.values }, t, classes)
    }

    fn transposed_times(&self, r: &[f64], classes: usize) -> Vec<f64> {
        outer_products(Tall { width: self.width, values: &self.values }, r, classes)
    }
}

/// `Σ weight · cross entropy + pull / 2 · |t − towards|²`, over coefficients `t [classes × width]`, row-major.
pub(crate) struct Softmax<'a, X: Design> {
    pub(crate) x: &'a X,
    pub(crate) y: &'a [usize],
    /// What each row counts; one that is held out counts nothing.
    pub(crate) weight: &'a [f64],
    pub(crate) classes: usize,
    pub(crate) pull: f64,
    /// Whether the last value of a row is a constant whose coefficients nothing pulls.
    pub(crate) free_bias: bool,
    pub(crate) towards: &'a [f64],
}

impl<X: Design> Softmax<'_, X> {
    /// The minimum, searched from `start`.
    pub(crate) fn minimise(&self, start: &[f64]) -> Result<Vec<f64>> {
        let mut t = start.to_vec();
        let (mut loss, mut probabilities) = self.loss(&t);
        let mut nearest = f64::INFINITY;
        for _ in 0..MAX_NEWTON_STEPS {
            let gradient = self.gradient(&t, &probabilities);
            let size = dot(&gradient, &gradient);
            if gradient.iter().all(|g| g.abs() <= TOLERANCE) || size > nearest / 4.0 {
                return Ok(t);
            }
            let step = self.newton_step(&probabilities, &gradient);
            let slope = dot(&step, &gradient);
            if -slope < RESOLUTION * loss {
                // The loss cannot tell so small a step from its noise: whole steps, as long as they halve the gradient.
                t.iter_mut().zip(&step).for_each(|(t, s)| *t += s);
                (loss, probabilities) = self.loss(&t);
                nearest = size;
                continue;
            }
            let mut length = 1.0;
            loop {
                let there: Vec<f64> = t.iter().zip(&step).map(|(a, s)| a + length * s).collect();
                let (new_loss, new_probabilities) = self.loss(&there);
                if new_loss <= loss + 1e-4 * length * slope {
                    (t, loss, probabilities) = (there, new_loss, new_probabilities);
                    break;
                }
                length /= 2.0;
                // The loss cannot be told from its neighbours any more: this is the minimum as far as f64 sees.
                if length < 1e-6 {
                    return Ok(t);
                }
            }
        }
        Err(Error::data("features", None, "logistic regression did not converge on them; are they of a sensible size?"))
    }

    /// The log-likelihood of every row's label.
    pub(crate) fn log_likelihoods(&self, t: &[f64]) -> Vec<f64> {
        let z = self.x.times(t, self.classes);
        z.chunks_exact(self.classes).zip(self.y).map(|(z, y)| z[*y] - log_sum_exp(z)).collect()
    }

    fn loss(&self, t: &[f64]) -> (f64, Vec<f64>) {
        let mut probabilities = self.x.times(t, self.classes);
        let mut loss = 0.0;
        for (p, (y, weight)) in probabilities.chunks_exact_mut(self.classes).zip(self.y.iter().zip(self.weight)) {
            let norm = log_sum_exp(p);
            loss += weight * (norm - p[*y]);
            p.iter_mut().for_each(|z| *z = (*z - norm).exp());
        }
        let pull = |(at, (a, b)): (usize, (&f64, &f64))| self.pull_at(at) * (a - b) * (a - b);
        (loss + 0.5 * t.iter().zip(self.towards).enumerate().map(pull).sum::<f64>(), probabilities)
    }

    fn gradient(&self, t: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let mut residuals = probabilities.to_vec();
        for (r, (y, weight)) in residuals.chunks_exact_mut(self.classes).zip(self.y.iter().zip(self.weight)) {
            r[*y] -= 1.0;
            r.iter_mut().for_each(|r| *r *= weight);
        }
        let mut out = self.x.transposed_times(&residuals, self.classes);
        let moved = t.iter().zip(self.towards).enumerate();
        out.iter_mut().zip(moved).for_each(|(o, (at, (a, b)))| *o += self.pull_at(at) * (a - b));
        out
    }

    fn hessian_times(&self, probabilities: &[f64], v: &[f64]) -> Vec<f64> {
        let mut z = self.x.times(v, self.classes);
        let rows = probabilities.chunks_exact(self.classes).zip(self.weight);
        for (z, (p, weight)) in z.chunks_exact_mut(self.classes).zip(rows) {
            let mean = dot(p, z);
            z.iter_mut().zip(p).for_each(|(z, p)| *z = weight * p * (*z - mean));
        }
        let mut out = self.x.transposed_times(&z, self.classes);
        out.iter_mut().zip(v).enumerate().for_each(|(at, (o, a))| *o += self.pull_at(at) * a);
        out
    }

    fn pull_at(&self, at: usize) -> f64 {
        if self.free_bias && (at + 1).is_multiple_of(self.x.width()) { 0.0 } else { self.pull }
    }

    /// Solves `H step = −gradient`, as exactly as pays this far from the minimum.
    fn newton_step(&self, probabilities: &[f64], gradient: &[f64]) -> Vec<f64> {
        let mut step = vec![0.0; gradient.len()];
        let mut residual: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut direction = residual.clone();
        let mut square = dot(&residual, &residual);
        let norm = square.sqrt();
        let enough = (norm * norm.sqrt().min(0.1)).powi(2);
        for _ in 0..10 * gradient.len() {
            if square <= enough {
                break;
            }
            let h = self.hessian_times(probabilities, &direction);
            let length = square / dot(&direction, &h);
            step.iter_mut().zip(&direction).for_each(|(s, d)| *s += length * d);
            residual.iter_mut().zip(&h).for_each(|(r, h)| *r -= length * h);
            let next = dot(&residual, &residual);
            direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + next / square * *d);
            square = next;
        }
        step
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn log_sum_exp(z: &[f64]) -> f64 {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + z.iter().map(|z| (z - top).exp()).sum::<f64>().ln()
}
