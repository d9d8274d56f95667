//! What networks for images have in common.

use transplant_core::{Field, HIDDEN, Invalid, Result, Schema};

/// Channels of the image that a network of this type reads as `hidden`.
pub(crate) fn channels(network: &str, inputs: &Schema) -> Result<usize> {
    Ok(shape(network, inputs)?.0)
}

/// Channels, height and width of that image.
pub(crate) fn shape(network: &str, inputs: &Schema) -> Result<(usize, usize, usize)> {
    let Some(Field::Image { channels, height, width }) = inputs.get(HIDDEN) else {
        let there: Vec<&str> = inputs.keys().map(String::as_str).collect();
        let there = there.join(", ");
        return Err(Invalid::new(format!("`{network}` reads an image `{HIDDEN}`; there are: {there}")).into());
    };
    Ok((*channels, *height, *width))
}

/// A vector of this width as `hidden`.
pub(crate) fn vector(width: usize) -> Schema {
    Schema::from([(HIDDEN.to_owned(), Field::Vector { width })])
}
