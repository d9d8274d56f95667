//! [`averaged`]: pictures as a coarse grid of means.

use candle_core::{Device, Tensor};
use transplant_core::Result;
use transplant_kernels::parallel;

/// `f32 [rows, channels, height, width]` as the means over a grid of `[down, across]` cells, which may share pixels where sizes do
/// not divide: `[rows, channels, down, across]`, on the CPU.
///
/// # Errors
/// When the tensor has not four dimensions.
pub fn averaged(images: &Tensor, [down, across]: [usize; 2]) -> Result<Tensor> {
    let (rows, channels, height, width) = images.dims4()?;
    let planes = images.reshape((rows * channels, height * width))?.to_vec2::<f32>()?;
    let cell = |at: usize, of: usize, size: usize| {
        let start = (at * size / of).min(size.saturating_sub(1));
        start..((at + 1) * size).div_ceil(of).clamp(start + 1, size.max(start + 1))
    };
    let mut out = vec![0f32; rows * channels * down * across];
    parallel::chunks_mut(&mut out, (down * across).max(1), &|i, out| {
        let plane = &planes[i];
        for (i, out) in out.iter_mut().enumerate() {
            let (ys, xs) = (cell(i / across, down, height), cell(i % across, across, width));
            let count = (ys.len() * xs.len()) as f32;
            *out = ys.map(|y| plane[y * width..][xs.clone()].iter().sum::<f32>()).sum::<f32>() / count;
        }
    });
    Ok(Tensor::from_vec(out, (rows, channels, down, across), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_means_and_share_pixels_where_sizes_do_not_divide() -> Result<()> {
        let x = Tensor::new(&[[[[1f32, 2., 3.], [3., 4., 8.]]]], &Device::Cpu)?;
        let of = |grid| averaged(&x, grid).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(of([1, 1]), [3.5]);
        assert_eq!(of([2, 3]), [1., 2., 3., 3., 4., 8.]);
        assert_eq!(of([1, 2]), [2.5, 4.25]);
        assert_eq!(of([4, 1]), [2., 2., 5., 5.]);
        Ok(())
    }
}
