//! Tests against Pillow and torchvision: `goldens/pictures.json`, written by `tests/goldens/generate_pictures.py`.

use serde::Deserialize;

use super::fit::fit;
use super::raster::{Raster, raster};
use super::{Filter, Fit, Frame, decode};

#[derive(Deserialize)]
struct Goldens {
    resized: Vec<Resized>,
    cropped: Vec<Resized>,
    padded: Vec<Resized>,
    decoded: Vec<Decoded>,
}

#[derive(Deserialize)]
struct Resized {
    filter: Filter,
    picture: Pixels,
    results: Vec<Pixels>,
}

#[derive(Deserialize)]
struct Decoded {
    name: String,
    base64: String,
    levels: u8,
    results: [Pixels; 2],
}

#[derive(Deserialize)]
struct Pixels {
    height: usize,
    width: usize,
    channels: usize,
    hex: String,
}

impl Pixels {
    fn raster(&self) -> Raster {
        let byte = |i: usize| u8::from_str_radix(&self.hex[i..i + 2], 16).unwrap();
        let pixels = (0..self.hex.len()).step_by(2).map(byte).collect();
        Raster { height: self.height, width: self.width, channels: self.channels, pixels, highest: None }
    }
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("../../goldens/pictures.json")).unwrap()
}

/// Asserts the same sizes, and values that are at most `levels` apart.
fn close(got: &Raster, wanted: &Raster, levels: u8, what: &str) {
    let sizes = |r: &Raster| [r.height, r.width, r.channels, r.pixels.len()];
    assert_eq!(sizes(got), sizes(wanted), "{what}");
    let worst = got.pixels.iter().zip(&wanted.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst.unwrap() <= levels, "{what}: {worst:?} levels apart");
}

fn fitted(cases: &[Resized], of: Fit, background: [u8; 3]) {
    for case in cases {
        let picture = case.picture.raster();
        for wanted in case.results.iter().map(Pixels::raster) {
            let (height, width, channels, filter) = (wanted.height, wanted.width, wanted.channels, case.filter);
            let frame = Frame { height, width, channels, fit: of, filter, background };
            let what = format!("{of:?} {filter:?} {}x{} to {height}x{width}", picture.height, picture.width);
            // Nothing is rounded where pixels are only chosen.
            let levels = u8::from(filter != Filter::Nearest);
            close(&fit(&picture, &frame).unwrap(), &wanted, levels, &what);
        }
    }
}

#[test]
fn every_filter_is_that_of_pillow() {
    fitted(&goldens().resized, Fit::Stretch, [0; 3]);
}

#[test]
fn a_square_crop_is_that_of_torchvision() {
    fitted(&goldens().cropped, Fit::Crop, [0; 3]);
}

#[test]
fn padding_is_that_of_pillow() {
    let goldens = goldens();
    let (colour, grey): (Vec<_>, Vec<_>) = goldens.padded.into_iter().partition(|c| c.picture.channels == 3);
    fitted(&colour, Fit::Pad, [250, 3, 90]);
    fitted(&grey, Fit::Pad, [255; 3]);
}

#[test]
fn every_kind_of_file_is_decoded_as_by_pillow() {
    for case in goldens().decoded {
        let content = from_base64(&case.base64);
        for wanted in case.results.iter().map(Pixels::raster) {
            let got = raster(&content, wanted.channels, [255; 3]).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            close(&got, &wanted, case.levels, &case.name);
        }
    }
}

#[test]
fn of_a_file_that_was_cut_off_nothing_is_made_up() {
    let frame =
        Frame { height: 4, width: 4, channels: 3, fit: Fit::Crop, filter: Filter::Bilinear, background: [0; 3] };
    // Of an animation the first frame is read, which may well be whole.
    for case in goldens().decoded.into_iter().filter(|c| !c.name.starts_with("animated")) {
        let content = from_base64(&case.base64);
        for end in [0, 1, 3, content.len() / 3, content.len() / 2] {
            assert!(decode(&content[..end], &frame).is_err(), "{} cut at {end} of {}", case.name, content.len());
        }
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let digits = four.iter().map(|c| match c {
            b'A'..=b'Z' => u32::from(c - b'A'),
            b'a'..=b'z' => u32::from(c - b'a') + 26,
            b'0'..=b'9' => u32::from(c - b'0') + 52,
            b'+' => 62,
            _ => 63,
        });
        let bits = digits.fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        out.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    out
}
