//! Convolutions one after another, each with what follows it.
//!
//! What stands between them is computed for a few images at a time, so that it stays in the caches.

use super::cpu::Ready;
use super::geometry::Dims;
use crate::buffer::{Shared, written};
use crate::compiled::compiled_here;
use crate::element::Element;
use crate::parallel;
use crate::product::{Act, Finish};

/// Bytes between two convolutions that a thread works on, where one image does not need more.
const BETWEEN: usize = 1 << 19;

compiled_here! {
    /// Convolutions one after another.
    pub trait Chains {
        /// A convolution from `weight [o, c / groups, kh, kw]`, and a factor and a shift for each output channel.
        fn link(d: &Dims, weight: &[Self], scale: Vec<Self>, shift: Vec<Self>, act: Act) -> Link<Self> = Link::new;
        /// What `links` make of `n` images `x`, each reading what the one before it wrote; the residual is added before the last
        /// activation.
        fn chain(links: Vec<Link<Self>>, n: usize, x: &[Self], residual: Option<&[Self]>) -> Vec<Self> = run;
    }
}

fn run<T: Element>(links: Vec<Link<T>>, n: usize, x: &[T], residual: Option<&[T]>) -> Vec<T> {
    Chain { links }.run(n, x, residual)
}

/// One convolution of a chain, with its weights and constants ready.
pub struct Link<T> {
    conv: Ready<T>,
    scale: Vec<T>,
    shift: Vec<T>,
    act: Act,
    /// Numbers that it puts out for an image.
    out: usize,
}

impl<T: Element> Link<T> {
    /// From `weight [o, c / groups, kh, kw]`, and a factor and a shift for each output channel.
    fn new(d: &Dims, weight: &[T], scale: Vec<T>, shift: Vec<T>, act: Act) -> Self {
        assert_eq!([scale.len(), shift.len()], [d.o; 2], "constants of each channel");
        Self { conv: Ready::new(d, weight), scale, shift, act, out: d.oh * d.ow * d.o }
    }

    fn finish<'a>(&'a self, residual: Option<&'a [T]>) -> Finish<'a, T> {
        Finish { scale: Some(&self.scale), shift: Some(&self.shift), residual, act: self.act }
    }
}

/// Convolutions of which each reads what the one before it wrote.
struct Chain<T> {
    /// The first to the last.
    links: Vec<Link<T>>,
}

impl<T: Element> Chain<T> {
    /// The output for `n` images.
    fn run(&self, n: usize, x: &[T], residual: Option<&[T]>) -> Vec<T> {
        let threads = parallel::threads();
        let between = self.between(0) + self.between(1);
        let block = (BETWEEN / size_of::<T>() / between.max(1)).clamp(1, n.div_ceil(4 * threads).max(1));
        let len = n * self.links.last().map_or(0, |l| l.out);
        let all = |y: Shared<T>| {
            // With fewer images than would keep all threads busy, the threads share each convolution.
            if self.links.len() == 1 || n < 2 * threads {
                self.pass((n, true), x, residual, y);
            } else {
                parallel::for_each(n.div_ceil(block), &|b| {
                    let images = b * block..((b + 1) * block).min(n);
                    let of = |len: usize| images.start * (len / n)..images.end * (len / n);
                    self.pass(
                        (images.len(), false),
                        &x[of(x.len())],
                        residual.map(|r| &r[of(r.len())]),
                        y.part(of(len)),
                    );
                });
            }
            Ok::<(), std::convert::Infallible>(())
        };
        // SAFETY: the parts cover all images, and the last convolution writes all that it puts out for each of them.
        unsafe { written(len, all) }.unwrap_or_default()
    }

    /// Numbers that an image needs between convolutions of the chain, in the first or second of two places that take turns.
    fn between(&self, place: usize) -> usize {
        let inner = &self.links[..self.links.len().saturating_sub(1)];
        inner.iter().skip(place).step_by(2).map(|l| l.out).max().unwrap_or(0)
    }

    /// All convolutions for some images.
    fn pass(&self, (images, spread): (usize, bool), x: &[T], residual: Option<&[T]>, y: Shared<T>) {
        let Some((last, inner)) = self.links.split_last() else { return };
        let (first, second) = (self.between(0) * images, self.between(1) * images);
        T::with_scratch(first + second, |scratch| {
            let (mut to, mut from) = scratch.split_at_mut(first);
            for (i, link) in inner.iter().enumerate() {
                let x = if i == 0 { x } else { &*from };
                link.conv.run((images, spread), x, link.finish(None), Shared::of(&mut to[..link.out * images]));
                std::mem::swap(&mut to, &mut from);
            }
            let x = if inner.is_empty() { x } else { &*from };
            last.conv.run((images, spread), x, last.finish(residual), y);
        });
    }
}
