//! [`Layout`]: named tensors as bytes, a row at a time.

use std::ops::Range;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, Error, Memory, Result};
use transplant_kernels::parallel;

/// How the tensors of a row lie in a record: one after the other, by name, in the order of their memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    name: String,
    dtype: String,
    /// Of one row, in the order of the memory.
    dims: Vec<usize>,
    channels_last: bool,
}

impl Part {
    fn dtype(&self) -> Result<DType> {
        DType::from_str(&self.dtype).map_err(|_| Error::param(&self.name, format!("there is no type `{}`", self.dtype)))
    }

    fn bytes(&self) -> usize {
        let size = self.dtype().map_or(0, |d| d.size_in_bytes());
        self.dims.iter().fold(size, |n, d| n.saturating_mul(*d))
    }

    fn memory(&self) -> Memory {
        if self.channels_last { Memory::ChannelsLast } else { Memory::Plain }
    }
}

impl Layout {
    /// That of some tensors, whose first dimension is the rows.
    pub(crate) fn of(acts: &Acts) -> Result<Self> {
        let part = |(name, t): (&str, &Tensor)| {
            let memory = Memory::of(t)?;
            let dims = memory.raw(t)?.dims().get(1..).unwrap_or_default().to_vec();
            let (dtype, channels_last) = (t.dtype().as_str().to_owned(), memory == Memory::ChannelsLast);
            Ok(Part { name: name.to_owned(), dtype, dims, channels_last })
        };
        acts.iter().map(part).collect::<Result<_>>().map(Self)
    }

    /// Bytes of a row.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().fold(0, |n, p| n.saturating_add(p.bytes()))
    }

    /// What `f` makes of the bytes of each row of some tensors of this layout, on all threads.
    pub(crate) fn of_rows<R: Send>(&self, acts: &Acts, f: impl Fn(&[u8]) -> R + Sync) -> Result<Vec<R>> {
        let values = |p: &Part| Ok((p.bytes(), Values::of(&p.memory().raw(acts.get(&p.name)?)?)?));
        let parts = self.0.iter().map(values).collect::<Result<Vec<_>>>()?;
        let rows = acts.iter().next().map_or(0, |(_, t)| t.dims().first().copied().unwrap_or_default());
        Ok(parallel::map(rows, &|row| {
            let mut bytes = Vec::with_capacity(self.bytes());
            parts.iter().for_each(|(size, values)| values.append(row * size..(row + 1) * size, &mut bytes));
            f(&bytes)
        }))
    }

    /// The rows of some tensors of this layout, one after the other.
    pub(crate) fn encode(&self, acts: &Acts) -> Result<Vec<u8>> {
        Ok(self.of_rows(acts, <[u8]>::to_vec)?.concat())
    }

    /// The tensors again.
    pub(crate) fn decode(&self, rows: &[u8], device: &Device) -> Result<Acts> {
        let (mut out, mut start) = (Acts::new(), 0);
        let n = rows.len() / self.bytes().max(1);
        for part in &self.0 {
            let size = part.bytes();
            let mut raw = Vec::with_capacity(n * size);
            rows.chunks_exact(self.bytes().max(1)).for_each(|row| raw.extend_from_slice(&row[start..start + size]));
            let dims = [&[n], part.dims.as_slice()].concat();
            let t = Tensor::from_raw_buffer(&raw, part.dtype()?, &dims, device)?;
            out.set(&part.name, part.memory().view(&t, &dims.into())?);
            start += size;
        }
        Ok(out)
    }
}

/// The values of a tensor, those of most kinds as the bytes that they are written as.
enum Values {
    F32(Vec<f32>),
    Bytes(Vec<u8>),
}

impl Values {
    fn of(t: &Tensor) -> Result<Self> {
        let t = t.to_device(&Device::Cpu)?;
        if t.dtype() == DType::F32 {
            return Ok(Self::F32(t.flatten_all()?.to_vec1()?));
        }
        let mut bytes = Vec::new();
        t.write_bytes(&mut bytes)?;
        Ok(Self::Bytes(bytes))
    }

    /// Appends the bytes of a range, which starts and ends with a value.
    fn append(&self, range: Range<usize>, to: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => to.extend_from_slice(&bytes[range]),
            Self::F32(values) => {
                const SIZE: usize = size_of::<f32>();
                let start = to.len();
                to.resize(start + range.len(), 0);
                let values = &values[range.start / SIZE..range.end / SIZE];
                let (places, _) = to[start..].as_chunks_mut();
                places.iter_mut().zip(values).for_each(|(place, v): (&mut [u8; SIZE], _)| *place = v.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_as_they_were() -> Result<()> {
        let cpu = &Device::Cpu;
        let image = Tensor::arange(0f32, 2. * 3. * 4. * 5., cpu)?.reshape((2, 4, 5, 3))?.permute((0, 3, 1, 2))?;
        let mask = Tensor::new(&[[1u8, 0], [1, 1]], cpu)?;
        let acts = Acts::hidden(image.clone()).with("mask", mask.clone());
        let layout = Layout::of(&acts)?;
        assert_eq!(layout.bytes(), 3 * 4 * 5 * 4 + 2);
        let bytes = layout.encode(&acts)?;
        let again = layout.decode(&bytes, cpu)?;
        let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
        assert_eq!(values(again.get("hidden")?)?, values(&image)?);
        assert_eq!(again.get("hidden")?.stride(), image.stride());
        assert_eq!(again.get("mask")?.to_vec2::<u8>()?, mask.to_vec2::<u8>()?);
        assert_eq!(Layout::of(&again)?, layout);
        let second = layout.decode(&bytes[layout.bytes()..], cpu)?;
        assert_eq!(values(second.get("hidden")?)?, values(&image.narrow(0, 1, 1)?)?);
        Ok(())
    }
}
