//! Elementary functions without branches or tables, so that the compiler can compute many at once.

/// `e^x` in single precision, within two units in the last place; 0 below -87.3, infinite above 88.7.
#[inline(always)]
pub fn exp32(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < -87.33 { -87.33 } else { x };
    let clamped = if clamped > 88.72 { 88.72 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    // The polynomial of Cephes' expf.
    let mut p = 1.987_569_2e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    // The same number stands in the lowest bits of the shifted one: a conversion to integers would not be done on vectors.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    // 2^n in two factors, as 2^128 is no number.
    let half = n >> 1;
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
    let y = y * power(half) * power(n.wrapping_sub(half));
    let y = if x < -87.33 { 0.0 } else { y };
    let y = if x > 88.72 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// The error function in single precision, within a few units in the last place: an odd rational function on -4..4, beyond
/// which it is 1.
#[inline(always)]
pub fn erf32(x: f32) -> f32 {
    let c = if x > 4.0 { 4.0 } else { x };
    let c = if c < -4.0 { -4.0 } else { c };
    let s = c * c;
    let mut p = -2.726_142_3e-10;
    for a in [2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2] {
        p = p * s + a;
    }
    let mut q = -1.456_607_2e-5;
    for b in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        q = q * s + b;
    }
    c * p / q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_as_exact_as_single_precision() {
        let worst = (-87_000..88_000).map(|i| {
            let x = i as f32 * 1e-3;
            ((f64::from(exp32(x)) - f64::from(x).exp()) / f64::from(x).exp()).abs()
        });
        assert!(worst.fold(0.0, f64::max) < 3e-7);
        assert_eq!([exp32(f32::NEG_INFINITY), exp32(-1e30), exp32(0.0)], [0.0, 0.0, 1.0]);
        assert!(exp32(f32::INFINITY).is_infinite() && exp32(f32::NAN).is_nan() && exp32(88.5).is_finite());
    }

    #[test]
    fn the_error_function_is_as_exact_as_single_precision() {
        let worst = (-6000..6000).map(|i| {
            let x = i as f32 * 1e-3;
            (f64::from(erf32(x)) - libm::erf(f64::from(x))).abs()
        });
        assert!(worst.fold(0.0, f64::max) < 6e-7);
    }
}
