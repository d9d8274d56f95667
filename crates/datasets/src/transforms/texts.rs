//! What transforms of texts have in common.

use candle_core::Tensor;
use transplant_core::{Acts, Error, Field, Invalid, MASK, Result, Schema, TEXT, TOKENS, TransformCx};
use transplant_kernels::parallel;

/// The schema with its text as tokens.
pub(super) fn token_schema(inputs: &Schema, length: usize, vocabulary: usize) -> Result<Schema> {
    if inputs.get(TEXT) != Some(&Field::Text) {
        return Err(Invalid::new("needs texts, and the data set has none").into());
    }
    let mut out = inputs.clone();
    out.remove(TEXT);
    out.insert(TOKENS.to_owned(), Field::Tokens { length, vocabulary });
    Ok(out)
}

/// Sets tokens and mask to the numbers that `f` gives for each text, filled up with 0 to `length` or cut off there. Texts are
/// worked on in parallel, each by itself, so the result does not depend on the number of threads.
pub(super) fn each_text(
    mut inputs: Acts,
    cx: &TransformCx<'_>,
    length: usize,
    f: &(dyn Fn(&str) -> Result<Vec<u32>, String> + Sync),
) -> Result<Acts> {
    let texts = inputs.get(TEXT)?;
    let (device, (rows, _)) = (texts.device().clone(), texts.dims2()?);
    let numbers = of_each_text(&inputs, Some(cx.rows), f)?;
    let (mut tokens, mut mask) = (vec![0u32; rows * length], vec![0f32; rows * length]);
    let filled = tokens.chunks_mut(length.max(1)).zip(mask.chunks_mut(length.max(1)));
    for (numbers, (tokens, mask)) in numbers.iter().zip(filled) {
        let n = numbers.len().min(length);
        tokens[..n].copy_from_slice(&numbers[..n]);
        mask[..n].fill(1.0);
    }
    inputs.remove(TEXT);
    inputs.set(TOKENS, Tensor::from_vec(tokens, (rows, length), &device)?);
    inputs.set(MASK, Tensor::from_vec(mask, (rows, length), &device)?);
    Ok(inputs)
}

/// Whether each row of tokens has one that is there, by its mask, and `known`.
pub(super) fn has_known_tokens(made: &Acts, known: &dyn Fn(u32) -> bool) -> Result<Vec<bool>> {
    let (tokens, mask) = (made.get(TOKENS)?.to_vec2::<u32>()?, made.get(MASK)?.to_vec2::<f32>()?);
    let of_row = |(tokens, mask): (Vec<u32>, Vec<f32>)| tokens.iter().zip(mask).any(|(t, m)| m > 0.0 && known(*t));
    Ok(tokens.into_iter().zip(mask).map(of_row).collect())
}

/// What `f` says of each text of a batch, an error about a text named by its row.
pub(super) fn of_each_text<T: Send>(
    inputs: &Acts,
    rows: Option<&[u64]>,
    f: &(dyn Fn(&str) -> Result<T, String> + Sync),
) -> Result<Vec<T>> {
    let texts = inputs.get(TEXT)?.to_vec2::<u8>()?;
    let said = parallel::map(texts.len(), &|i| {
        let bytes = &texts[i];
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let text = std::str::from_utf8(&bytes[..end]).map_err(|e| format!("it is not UTF-8: {e}"));
        let row = rows.map_or(Some(i as u64), |rows| rows.get(i).copied());
        text.and_then(f).map_err(|m| Error::data(TEXT, row, m))
    });
    said.into_iter().collect()
}

/// What the tests of these transforms share.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use candle_core::Device;
    use transplant_core::{Seeds, Transform};

    /// A batch of texts, as `u8 [rows, bytes]`.
    pub(crate) fn batch(texts: &[&str]) -> Acts {
        let longest = texts.iter().map(|t| t.len()).max().unwrap_or_default().max(1);
        let bytes = texts.iter().flat_map(|t| t.bytes().chain(std::iter::repeat(0)).take(longest)).collect();
        Acts::new().with(TEXT, Tensor::from_vec(bytes, (texts.len(), longest), &Device::Cpu).unwrap())
    }

    /// Tokens and mask of every row; their shape must be the one that the schema promises, and the texts must be gone.
    pub(crate) fn apply(t: &dyn Transform, texts: &[&str]) -> Vec<(Vec<u32>, Vec<f32>)> {
        let schema = t.schema(&Schema::from([(TEXT.to_owned(), Field::Text)])).unwrap();
        let Field::Tokens { length, vocabulary } = schema[TOKENS] else { panic!("{schema:?}") };
        assert!(!schema.contains_key(TEXT) && !t.random());
        let rows: Vec<u64> = (0..texts.len() as u64).collect();
        let out = t.apply(batch(texts), &TransformCx { rows: &rows, epoch: 0, seeds: Seeds::new(1) }).unwrap();
        assert!(out.find(TEXT).is_none());
        let tokens = out.get(TOKENS).unwrap().to_vec2::<u32>().unwrap();
        assert!(tokens.iter().all(|t| t.len() == length && t.iter().all(|t| (*t as usize) < vocabulary)));
        tokens.into_iter().zip(out.get(MASK).unwrap().to_vec2::<f32>().unwrap()).collect()
    }

    #[test]
    fn what_is_no_text_is_refused_and_its_row_named() {
        assert!(token_schema(&Schema::new(), 1, 1).unwrap_err().to_string().contains("needs texts"));
        let bytes = Tensor::new(&[[b'a', b'b'], [0xff, b'b']], &Device::Cpu).unwrap();
        let cx = TransformCx { rows: &[7, 9], epoch: 0, seeds: Seeds::new(1) };
        let e = each_text(Acts::new().with(TEXT, bytes), &cx, 2, &|_| Ok(vec![1])).unwrap_err().to_string();
        assert!(e.contains('9') && e.contains("not UTF-8"), "{e}");
    }
}
