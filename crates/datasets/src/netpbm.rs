//! PGM and PPM, the plain picture formats of Netpbm: <https://netpbm.sourceforge.net/doc/pgm.html>.

use crate::image_file::Raster;

/// Reads `P2` and `P3` (numbers as text), `P5` and `P6` (bytes, two a value when the highest is above 255).
pub(crate) fn read(content: &[u8]) -> Result<Raster, String> {
    let (samples, text) = match content.get(..2) {
        Some(b"P2") => (1, true),
        Some(b"P3") => (3, true),
        Some(b"P5") => (1, false),
        Some(b"P6") => (3, false),
        _ => return Err("not a PGM or PPM file".to_owned()),
    };
    let mut at = 2;
    let mut number =
        |what: &str| next_number(content, &mut at).ok_or_else(|| format!("truncated or damaged: no {what}"));
    let (width, height, highest) = (number("width")?, number("height")?, number("highest value")?);
    if width == 0 || height == 0 || !(1..=65535).contains(&highest) {
        return Err(format!("{width}x{height} pixels up to {highest} cannot be"));
    }
    let count = width.checked_mul(height).and_then(|n| n.checked_mul(samples)).ok_or("too large a picture")?;
    let wide = if highest > 255 { 2 } else { 1 };
    let values: Vec<usize> = if text {
        // A value takes at least a digit and a space, so a count the file cannot hold is met before it is allocated.
        (0..count.min(content.len())).map_while(|_| next_number(content, &mut at)).collect()
    } else {
        // A single white space stands between the header and the bytes.
        let bytes = content.get(at + 1..).unwrap_or_default();
        bytes.chunks_exact(wide).take(count).map(|b| b.iter().fold(0, |n, v| (n << 8) | usize::from(*v))).collect()
    };
    if values.len() < count {
        return Err(format!("truncated: {} of {count} values", values.len()));
    }
    if let Some(value) = values.iter().find(|v| **v > highest) {
        return Err(format!("the value {value} is above the highest, {highest}"));
    }
    let values = values.into_iter().map(|v| v as f32 / highest as f32).collect();
    Ok(Raster { height, width, samples, values })
}

/// The next number in decimal digits, after white space and comments; `at` stands behind it then.
fn next_number(content: &[u8], at: &mut usize) -> Option<usize> {
    loop {
        match content.get(*at)? {
            b'#' => *at += content[*at..].iter().position(|b| *b == b'\n')?,
            b if b.is_ascii_whitespace() => *at += 1,
            _ => break,
        }
    }
    let digits = content[*at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let text = std::str::from_utf8(&content[*at..*at + digits]).ok()?;
    *at += digits;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_are_read() {
        let values = |content: &[u8]| read(content).map(|r| (r.width, r.height, r.samples, r.values)).unwrap();
        assert_eq!(values(b"P2\n# made by hand\n2 1\n4\n0 1"), (2, 1, 1, vec![0., 0.25]));
        assert_eq!(values(b"P3 1 1 255\n255 0 51\n"), (1, 1, 3, vec![1., 0., 0.2]));
        assert_eq!(values(b"P5 1 2 255\n\x00\xff"), (1, 2, 1, vec![0., 1.]));
        // A byte that looks like white space belongs to the pixels.
        assert_eq!(values(b"P6 1 1 10\n\n\x05\x00"), (1, 1, 3, vec![1., 0.5, 0.]));
        assert_eq!(values(b"P5 1 1 65535\n\x80\x00").3, [32768. / 65535.]);
    }

    #[test]
    fn damage_is_an_error() {
        for (content, says) in [
            (&b"P5 1"[..], "no height"),
            (b"P5 2 2 255\n123", "truncated: 3 of 4 values"),
            (b"P2 2 1 9\n1 x", "truncated: 1 of 2 values"),
            (b"P2 1 1 9\n10", "the value 10 is above the highest, 9"),
            (b"P5 0 2 255\n", "cannot be"),
            (b"P5 1 1 65536\n00", "cannot be"),
            (b"P2 99999999999 9999999999 9\n", "too large"),
            (b"P2 99999999 99999999 9\n1", "truncated"),
            (b"P7\n", "not a PGM"),
        ] {
            let said = read(content).err().unwrap();
            assert!(said.contains(says), "{said}");
        }
    }
}
