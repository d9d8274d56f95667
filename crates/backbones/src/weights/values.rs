//! What values weights cannot have.

use candle_core::{DType, Tensor};
use transplant_core::{Invalid, Result};

/// A tensor of a file in single precision, `theirs` being its name there.
///
/// # Errors
/// When it holds whole numbers, a value that is not finite, or as a variance one below 0.
pub(super) fn checked(theirs: &str, ours: &str, tensor: &Tensor) -> Result<Tensor> {
    if !tensor.dtype().is_float() {
        let e = Invalid::new(format!("`{theirs}` holds whole numbers in the file, and `{ours}` is a weight"));
        return Err(e.help("weights of a quantised network are not read: take those it was made from").into());
    }
    let tensor = tensor.to_dtype(DType::F32)?;
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let count = |wrong: fn(&f32) -> bool| values.iter().filter(|v| wrong(v)).count();
    let (nan, infinite) = (count(|v| v.is_nan()), count(|v| v.is_infinite()));
    if nan + infinite > 0 {
        let of = values.len();
        let e = Invalid::new(format!(
            "`{theirs}` in the file is not finite: of its {of} values {nan} are NaN, {infinite} infinite"
        ));
        return Err(e.help("the training that wrote it had failed by then: take an earlier checkpoint").into());
    }
    let negative = if ours.ends_with("running_var") { count(|v| *v < 0.0) } else { 0 };
    if negative > 0 {
        let of = values.len();
        let e = Invalid::new(format!(
            "`{theirs}` in the file is a variance, and {negative} of its {of} values are below 0"
        ));
        return Err(e.help("the file is damaged, or its tensors have changed places").into());
    }
    Ok(tensor)
}
