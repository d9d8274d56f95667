//! Look-up of rows of a table by integers, for words, categories and positions.
//!
//! Bengio et al. 2003, *A Neural Probabilistic Language Model*.

use candle_core::{DType, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::{Element, zeros};
use transplant_kernels::elementwise::fill;
use transplant_kernels::parallel;

use crate::host::{by_dtype, is_fast, own, read, tensor};

/// Rows of the table whose gradients a task sums.
const TASK_ROWS: usize = 64;
/// Elements of the output that a task copies.
const TASK_ELEMENTS: usize = 1 << 14;

/// The rows of `weight [count, width]` that `indices`, of an integer type and any shape, name: `[.., width]`. The
/// gradient of a row of the table is the sum over its uses in their order.
///
/// # Errors
/// When shapes or types do not fit, or an index is not below `count`; the error names its position.
pub fn embedding(indices: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (count, width) = weight.dims2()?;
    if !indices.dtype().is_int() || width == 0 {
        bail!("embedding: indices of type {:?} into a table {:?}", indices.dtype(), weight.dims())
    }
    let found = indices.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    if let Some(at) = found.iter().position(|i| usize::try_from(*i).map_or(true, |i| i >= count)) {
        let position = position(at, indices.dims());
        bail!("embedding: index {} at {position:?} is not below the table's count of {count}", found[at])
    }
    let op = Embedding { indices: found.into_iter().map(|i| i as usize).collect(), count, width };
    let shape = [indices.dims(), &[width]].concat();
    if !is_fast(weight) {
        return op.composed(weight, &shape);
    }
    let y = by_dtype!(weight.dtype(), T => own(read::<T, _>(weight, |w| op.rows(w))?));
    record(op, &[weight], y, shape, Memory::Plain)
}

/// The coordinates of an element.
fn position(mut at: usize, dims: &[usize]) -> Vec<usize> {
    let mut of_axis = |len: &usize| {
        let i = at % len;
        at /= len;
        i
    };
    let mut reversed: Vec<usize> = dims.iter().rev().map(&mut of_axis).collect();
    reversed.reverse();
    reversed
}

struct Embedding {
    indices: Vec<usize>,
    count: usize,
    width: usize,
}

impl Embedding {
    fn rows<T: Element>(&self, weight: &[T]) -> Vec<T> {
        let width = self.width;
        let task = (TASK_ELEMENTS / width).max(1) * width;
        fill(self.indices.len() * width, task, |slots, from| {
            slots.rows(width, |row, out| {
                let i = self.indices[(from + row.start) / width];
                out.map(&weight[i * width..(i + 1) * width], |v| v);
            });
        })
    }

    fn gradient<T: Element>(&self, g: &[T]) -> Vec<T> {
        let width = self.width;
        // Uses of one row stand together, in their order: the sort is stable.
        let mut uses: Vec<usize> = (0..self.indices.len()).collect();
        uses.sort_by_key(|u| self.indices[*u]);
        let mut dw = zeros::<T>(self.count * width);
        parallel::chunks_mut(&mut dw, (TASK_ROWS * width).max(1), &|task, dw| {
            let first = task * TASK_ROWS;
            let from = uses.partition_point(|u| self.indices[*u] < first);
            let end = uses.partition_point(|u| self.indices[*u] < first + TASK_ROWS);
            for u in &uses[from..end] {
                let row = self.indices[*u] - first;
                let g = &g[u * width..(u + 1) * width];
                dw[row * width..(row + 1) * width].iter_mut().zip(g).for_each(|(d, g)| *d += *g);
            }
        });
        dw
    }

    /// The same from candle's operations, for devices other than the CPU.
    fn composed(&self, weight: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let indices = self.indices.iter().map(|i| *i as u32).collect();
        let indices = Tensor::from_vec(indices, self.indices.len(), weight.device())?;
        weight.index_select(&indices, 0)?.reshape(shape)
    }
}

impl Differentiable for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        by_dtype!(link.grad.dtype(), T => {
            let dw = read::<T, _>(link.grad, |g| self.gradient(g))?;
            Ok(vec![Some(tensor(dw, (self.count, self.width), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};
    use candle_core::Device;

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        let indices = Tensor::new(&[[3u32, 0, 3], [1, 3, 0]], &Device::Cpu).unwrap();
        let weight = [random(1, &[5, 4])];
        let op = Embedding { indices: vec![3, 0, 3, 1, 3, 0], count: 5, width: 4 };
        gradcheck(|t| embedding(&indices, &t[0]), &weight);
        gradcheck(|t| op.composed(&t[0], &[2, 3, 4]), &weight);
        let y = embedding(&indices, &weight[0]).unwrap();
        assert_eq!(max_difference(&y, &op.composed(&weight[0], &[2, 3, 4]).unwrap()), 0.0);
        let scalar = embedding(&Tensor::new(2i64, &Device::Cpu).unwrap(), &weight[0]).unwrap();
        assert_eq!(max_difference(&scalar, &weight[0].get(2).unwrap()), 0.0);
        let many = Tensor::from_vec((0..5000u32).map(|i| i * i % 300).collect(), 5000, &Device::Cpu).unwrap();
        same_bits_on_any_pool(|t| embedding(&many, &t[0]), &[single(&random(2, &[300, 7]))]);
    }

    #[test]
    fn an_index_out_of_range_is_named_with_its_position() {
        let indices = Tensor::new(&[[0i64, 1, 2], [0, 5, 1]], &Device::Cpu).unwrap();
        let e = embedding(&indices, &random(1, &[5, 4])).unwrap_err().to_string();
        assert!(e.contains("index 5 at [1, 1]"), "{e}");
        assert!(embedding(&Tensor::new(&[-1i64], &Device::Cpu).unwrap(), &random(1, &[5, 4])).is_err());
        assert!(embedding(&random(1, &[2]), &random(1, &[5, 4])).is_err());
    }
}
