//! Changes of an image's colours with fixed strengths, as torchvision makes them of `f32` tensors (`transforms.v2.functional`).
//! Values are between 0 and 1; images have one channel or three, channel after channel.

/// The grey of every pixel, by the weights of ITU-R BT.601.
fn grey(pixels: &[f32], plane: usize) -> Vec<f32> {
    let channel = |c: usize| &pixels[c * plane..(c + 1) * plane];
    if pixels.len() < 3 * plane {
        return channel(0).to_vec();
    }
    let colours = channel(0).iter().zip(channel(1)).zip(channel(2));
    colours.map(|((r, g), b)| r * 0.2989 + g * 0.587 + b * 0.114).collect()
}

/// `share` of the image and the rest of another value.
fn blend(pixel: &mut f32, other: f32, share: f32) {
    *pixel = (*pixel * share + other * (1. - share)).clamp(0., 1.);
}

/// Makes every channel the grey of the pixel.
pub(super) fn greyscale(pixels: &mut [f32], plane: usize) {
    let grey = grey(pixels, plane);
    pixels.chunks_mut(plane).for_each(|channel| channel.copy_from_slice(&grey));
}

/// Brightness: 0 is black, 1 changes nothing.
pub(super) fn brightness(pixels: &mut [f32], factor: f32) {
    pixels.iter_mut().for_each(|p| *p = (*p * factor).clamp(0., 1.));
}

/// Contrast: 0 is the mean grey, 1 changes nothing.
pub(super) fn contrast(pixels: &mut [f32], plane: usize, factor: f32) {
    let mean = grey(pixels, plane).iter().map(|g| f64::from(*g)).sum::<f64>() / plane as f64;
    pixels.iter_mut().for_each(|p| blend(p, mean as f32, factor));
}

/// Saturation: 0 is grey, 1 changes nothing.
pub(super) fn saturation(pixels: &mut [f32], plane: usize, factor: f32) {
    if pixels.len() == plane {
        return;
    }
    let grey = grey(pixels, plane);
    for channel in pixels.chunks_mut(plane) {
        channel.iter_mut().zip(&grey).for_each(|(p, grey)| blend(p, *grey, factor));
    }
}

/// Turns the hue by this part of the circle.
pub(super) fn hue(pixels: &mut [f32], plane: usize, part: f32) {
    if pixels.len() < 3 * plane {
        return;
    }
    for i in 0..plane {
        let at = [i, i + plane, i + 2 * plane];
        let [hue, saturation, value] = to_hsv(at.map(|i| pixels[i]));
        let rgb = to_rgb([(hue + part).rem_euclid(1.), saturation, value]);
        at.into_iter().zip(rgb).for_each(|(i, v)| pixels[i] = v);
    }
}

fn to_hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let (least, most) = (r.min(g).min(b), r.max(g).max(b));
    if least == most {
        return [0., 0., most];
    }
    let range = most - least;
    let [from_r, from_g, from_b] = [r, g, b].map(|c| (most - c) / range);
    let sector = if most == r {
        from_b - from_g
    } else if most == g {
        2. + from_r - from_b
    } else {
        4. + from_g - from_r
    };
    [(sector * (1. / 6.) + 1.) % 1., range / most, most]
}

fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sector = (hue * 6.).floor();
    let within = saturation * (hue * 6. - sector);
    let rest = 1. - saturation;
    let [q, t, p] = [1. - within, within + rest, rest].map(|v| (v * value).clamp(0., 1.));
    match sector as i32 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

/// Sharpness: 0 is smoothed, 1 changes nothing. The border stays as it is.
pub(super) fn sharpness(pixels: &mut [f32], height: usize, width: usize, factor: f32) {
    if height <= 2 || width <= 2 {
        return;
    }
    for plane in pixels.chunks_mut(height * width) {
        let from = plane.to_vec();
        for y in 1..height - 1 {
            for x in 1..width - 1 {
                let row = |y: usize| from[y * width + x - 1..=y * width + x + 1].iter().sum::<f32>();
                let middle = from[y * width + x];
                let smooth = (row(y - 1) + row(y) + row(y + 1) + 4. * middle) / 13.;
                plane[y * width + x] = middle + (smooth - middle) * (1. - factor);
            }
        }
        plane.iter_mut().for_each(|p| *p = p.clamp(0., 1.));
    }
}

/// Leaves so many bits of a value; 8 change nothing.
pub(super) fn posterise(pixels: &mut [f32], bits: u32) {
    if bits < 8 {
        let levels = f32::from(1u8 << bits);
        pixels.iter_mut().for_each(|p| *p = (*p * levels).floor().clamp(0., levels - 1.) / levels);
    }
}

/// Turns values from `threshold` upwards into their opposite.
pub(super) fn solarise(pixels: &mut [f32], threshold: f32) {
    pixels.iter_mut().filter(|p| **p >= threshold).for_each(|p| *p = 1. - *p);
}

/// Stretches every channel to all values from 0 to 1.
pub(super) fn autocontrast(pixels: &mut [f32], plane: usize) {
    for channel in pixels.chunks_mut(plane) {
        let least = channel.iter().copied().fold(f32::INFINITY, f32::min);
        let most = channel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if least < most {
            channel.iter_mut().for_each(|p| *p = ((*p - least) / (most - least)).clamp(0., 1.));
        }
    }
}

/// Spreads the values of every channel evenly, by Pillow's rule on 256 of them.
pub(super) fn equalise(pixels: &mut [f32], plane: usize) {
    for channel in pixels.chunks_mut(plane) {
        let levels: Vec<u8> = channel.iter().map(|p| (*p * 255.999) as u8).collect();
        let mut counts = [0usize; 256];
        levels.iter().for_each(|l| counts[usize::from(*l)] += 1);
        let brightest = counts.iter().rev().find(|n| **n > 0).copied().unwrap_or_default();
        let step = (plane - brightest) / 255;
        let mut below = step / 2;
        let table = counts.map(|n| {
            let level = below.checked_div(step).unwrap_or_default().min(255);
            below += n;
            level as f32
        });
        for (p, level) in channel.iter_mut().zip(levels) {
            *p = if step == 0 { f32::from(level) } else { table[usize::from(level)] } / 255.;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, golden, golden_image};
    use super::*;
    use transplant_core::HIDDEN;

    #[test]
    fn every_change_is_that_of_torchvision() {
        for (case, wanted) in golden("colour") {
            let [image, change, strength] = case.split('/').collect::<Vec<_>>()[..] else { panic!("{case}") };
            let image = golden_image(image).get(HIDDEN).unwrap().clone();
            let (_, _, h, w) = image.dims4().unwrap();
            let mut pixels: Vec<f32> = image.flatten_all().unwrap().to_vec1().unwrap();
            let (by, plane) = (strength.parse::<f32>().unwrap(), h * w);
            match change {
                "greyscale" => greyscale(&mut pixels, plane),
                "brightness" => brightness(&mut pixels, by),
                "contrast" => contrast(&mut pixels, plane, by),
                "saturation" => saturation(&mut pixels, plane, by),
                "hue" => hue(&mut pixels, plane, by),
                "sharpness" => sharpness(&mut pixels, h, w, by),
                "posterise" => posterise(&mut pixels, by as u32),
                "solarise" => solarise(&mut pixels, by),
                "autocontrast" => autocontrast(&mut pixels, plane),
                "equalise" => equalise(&mut pixels, plane),
                other => panic!("no change `{other}`"),
            }
            close(&case, &pixels, &wanted, 3e-6);
        }
    }

    #[test]
    fn strength_one_changes_nothing_and_flat_images_stay() {
        let image = golden_image("small").get(HIDDEN).unwrap().clone();
        let pixels: Vec<f32> = image.flatten_all().unwrap().to_vec1().unwrap();
        let plane = pixels.len() / 3;
        let mut same = pixels.clone();
        posterise(&mut same, 8);
        brightness(&mut same, 1.);
        contrast(&mut same, plane, 1.);
        saturation(&mut same, plane, 1.);
        assert_eq!(same, pixels);
        let mut flat = vec![0.4; 300];
        hue(&mut flat, 100, 0.3);
        autocontrast(&mut flat, 100);
        assert_eq!(flat, [0.4; 300]);
        equalise(&mut flat, 100);
        assert_eq!(flat, [0.4; 300], "one value has nothing to be spread over");
    }
}
