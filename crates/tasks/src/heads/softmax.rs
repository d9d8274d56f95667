//! Softmax regression to convergence, by Newton's method with conjugate gradients.
//!
//! The Hessian is never formed: its product with a direction costs one pass over the rows. The loss is strictly convex for
//! any positive pull, so there is one minimum and no choice of where to start changes it.

use transplant_core::{Error, Result};

use super::Rows;

const MAX_NEWTON_STEPS: usize = 200;
const TOLERANCE: f64 = 1e-9;

/// `Σ cross entropy + pull / 2 · |t − towards|²`, over coefficients `t [width × classes]`, row-major.
pub(crate) struct Softmax<'a> {
    pub(crate) x: &'a Rows,
    pub(crate) y: &'a [usize],
    pub(crate) classes: usize,
    pub(crate) pull: f64,
    pub(crate) towards: &'a [f64],
}

impl Softmax<'_> {
    /// The minimum over some of the rows, searched from `start`.
    pub(crate) fn minimise(&self, rows: &[usize], start: &[f64]) -> Result<Vec<f64>> {
        let mut t = start.to_vec();
        let (mut loss, mut probabilities) = self.loss(rows, &t);
        for _ in 0..MAX_NEWTON_STEPS {
            let gradient = self.gradient(rows, &t, &probabilities);
            if gradient.iter().all(|g| g.abs() <= TOLERANCE) {
                return Ok(t);
            }
            let step = self.newton_step(rows, &probabilities, &gradient);
            let slope = dot(&step, &gradient);
            let mut length = 1.0;
            loop {
                let there: Vec<f64> = t.iter().zip(&step).map(|(a, s)| a + length * s).collect();
                let (new_loss, new_probabilities) = self.loss(rows, &there);
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
        Err(Error::contract("logistic regression did not converge; are the features of a sensible size?"))
    }

    /// The log-likelihood of one row's label.
    pub(crate) fn log_likelihood(&self, t: &[f64], row: usize) -> f64 {
        let mut z = vec![0.0; self.classes];
        product(self.x.row(row), t, &mut z);
        z[self.y[row]] - log_sum_exp(&z)
    }

    fn loss(&self, rows: &[usize], t: &[f64]) -> (f64, Vec<f64>) {
        let mut probabilities = vec![0.0; rows.len() * self.classes];
        let mut loss = 0.0;
        for (&i, p) in rows.iter().zip(probabilities.chunks_exact_mut(self.classes)) {
            product(self.x.row(i), t, p);
            let norm = log_sum_exp(p);
            loss += norm - p[self.y[i]];
            p.iter_mut().for_each(|z| *z = (*z - norm).exp());
        }
        let distance: f64 = t.iter().zip(self.towards).map(|(a, b)| (a - b) * (a - b)).sum();
        (loss + 0.5 * self.pull * distance, probabilities)
    }

    fn gradient(&self, rows: &[usize], t: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let mut out: Vec<f64> = t.iter().zip(self.towards).map(|(a, b)| self.pull * (a - b)).collect();
        let mut residual = vec![0.0; self.classes];
        for (&i, p) in rows.iter().zip(probabilities.chunks_exact(self.classes)) {
            residual.copy_from_slice(p);
            residual[self.y[i]] -= 1.0;
            add_outer(self.x.row(i), &residual, &mut out);
        }
        out
    }

    fn hessian_times(&self, rows: &[usize], probabilities: &[f64], v: &[f64]) -> Vec<f64> {
        let mut out: Vec<f64> = v.iter().map(|a| self.pull * a).collect();
        let mut z = vec![0.0; self.classes];
        for (&i, p) in rows.iter().zip(probabilities.chunks_exact(self.classes)) {
            product(self.x.row(i), v, &mut z);
            let mean = dot(p, &z);
            z.iter_mut().zip(p).for_each(|(z, p)| *z = p * (*z - mean));
            add_outer(self.x.row(i), &z, &mut out);
        }
        out
    }

    /// Solves `H step = −gradient`, as exactly as pays this far from the minimum.
    fn newton_step(&self, rows: &[usize], probabilities: &[f64], gradient: &[f64]) -> Vec<f64> {
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
            let h = self.hessian_times(rows, probabilities, &direction);
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

/// `out = xᵀ t`, with `t [width × classes]`: the inner loop runs over classes, which lie side by side.
fn product(x: &[f64], t: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for (x, t) in x.iter().zip(t.chunks_exact(out.len())) {
        out.iter_mut().zip(t).for_each(|(o, t)| *o += x * t);
    }
}

/// `out += x rᵀ`.
fn add_outer(x: &[f64], r: &[f64], out: &mut [f64]) {
    for (x, out) in x.iter().zip(out.chunks_exact_mut(r.len())) {
        out.iter_mut().zip(r).for_each(|(o, r)| *o += x * r);
    }
}
