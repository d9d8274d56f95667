//! Student's t distribution with a whole number of degrees of freedom, where it is a finite sum (Abramowitz & Stegun,
//! *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4).

use std::f64::consts::PI;

/// The probability that a t-distributed number with this many degrees of freedom, at least 1, lies within `±t`.
fn within(t: f64, degrees: u64) -> f64 {
    let n = degrees as f64;
    let angle = (t.abs() / n.sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    // The factors of successive terms are 2/3, 4/5, … for odd degrees of freedom and 1/2, 3/4, … for even ones.
    let (mut term, mut sum) = (if odd { cos } else { 1.0 }, 0.0);
    let mut next = if odd { 2.0 } else { 1.0 };
    for _ in 0..degrees / 2 {
        sum += term;
        term *= cos * cos * next / (next + 1.0);
        next += 2.0;
    }
    let inside = if odd { (angle + sin * sum) * 2.0 / PI } else { sin * sum };
    inside.clamp(0.0, 1.0)
}

/// The two-sided p-value of `t`, to about 10⁻¹⁵ absolutely.
pub(super) fn two_sided_p(t: f64, degrees: u64) -> f64 {
    1.0 - within(t, degrees)
}

/// The `t` within whose `±t` 95 % of the distribution lie.
pub(super) fn t95(degrees: u64) -> f64 {
    // It falls from 12.7 at one degree of freedom to the normal distribution's 1.96.
    let (mut low, mut high) = (1.9, 13.0);
    while high - low > 1e-14 * high {
        let mid = 0.5 * (low + high);
        if mid <= low || mid >= high {
            break;
        }
        if within(mid, degrees) < 0.95 { low = mid } else { high = mid }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_met() {
        // Standard tables, scipy.stats.t.ppf(0.975, degrees).
        for (degrees, t) in [(1, 12.706_204_736_2), (2, 4.302_652_729_9), (4, 2.776_445_105_2), (14, 2.144_786_687_9)] {
            assert!((t95(degrees) - t).abs() < 1e-9, "{degrees}: {}", t95(degrees));
            assert!((two_sided_p(t, degrees) - 0.05).abs() < 1e-10);
        }
        assert!((t95(30) - 2.042_272_456_3).abs() < 1e-9);
        assert!((t95(1_000_000) - 1.959_966).abs() < 1e-5);
        // scipy.stats.t.sf(2, 10) * 2
        assert!((two_sided_p(2.0, 10) - 0.073_388_034_770_74).abs() < 1e-12);
        assert_eq!(two_sided_p(0.0, 5), 1.0);
        assert_eq!(two_sided_p(f64::INFINITY, 5), 0.0);
        assert_eq!(two_sided_p(-1.0, 7), two_sided_p(1.0, 7));
    }
}
