//! The arithmetic peak of one thread, as a yardstick for kernels.

use std::hint::black_box;
use std::time::Instant;

use crate::simd::{Level, level};

/// Iterations of the loop in one sample: one to a few milliseconds, so that some samples are undisturbed.
const ITERATIONS: usize = 400_000;
/// Samples, of which the fastest counts.
const SAMPLES: usize = 100;

/// Measures the peak of one thread in f32, in 10⁹ floating-point operations a second: a loop of nothing but multiply-adds on
/// registers, each two operations, with more independent chains than the latency of the instruction needs.
///
/// Uses the vectors of [`level()`]: fused multiply-adds of 256 or 512 bits with AVX2 or AVX-512, else what the compiler makes of
/// arrays. Takes up to a third of a second. No kernel can be faster; one that reads and writes memory stays below.
pub fn peak_gflops() -> f64 {
    let run = match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this level is only there when the processor has the instructions.
        Level::Avx512 => || unsafe { x86::avx512(ITERATIONS) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => || unsafe { x86::avx2(ITERATIONS) },
        _ => || portable(ITERATIONS),
    };
    let gflops = |_| {
        let start = Instant::now();
        let operations = run();
        operations as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..SAMPLES).map(gflops).fold(0.0, f64::max)
}

/// A factor and a summand that the compiler does not know. Chains tend to 1: no overflow, no slow denormal numbers.
fn operands() -> (f32, f32) {
    (black_box(0.5), black_box(0.5))
}

/// Arrays of the portable loop: chains, and lanes of each.
const PORTABLE: (usize, usize) = (8, 4);

/// Runs the loop on arrays; the number of floating-point operations done.
fn portable(iterations: usize) -> usize {
    let (factor, summand) = operands();
    let mut sums = [[factor; PORTABLE.1]; PORTABLE.0];
    for _ in 0..iterations {
        for sum in sums.as_flattened_mut() {
            // Without the instruction, `mul_add` would be a slow function call.
            *sum = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                sum.mul_add(factor, summand)
            } else {
                *sum * factor + summand
            };
        }
    }
    black_box(sums);
    iterations * PORTABLE.0 * PORTABLE.1 * 2
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    /// A loop over `CHAINS` registers; the number of floating-point operations done.
    macro_rules! peak_loop {
        ($name:ident, $features:literal, $chains:literal, $vector:ty, $set:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(iterations: usize) -> usize {
                let (factor, summand) = super::operands();
                let (factor, summand) = ($set(factor), $set(summand));
                let mut sums = [factor; $chains];
                for _ in 0..iterations {
                    for sum in &mut sums {
                        *sum = $fma(*sum, factor, summand);
                    }
                }
                black_box(sums);
                iterations * $chains * (size_of::<$vector>() / size_of::<f32>()) * 2
            }
        };
    }

    // Two units of four to five cycles each need ten chains; the factor, the summand and the chains fit the 16 or 32 registers.
    peak_loop!(avx2, "avx2,fma", 12, __m256, _mm256_set1_ps, _mm256_fmadd_ps);
    peak_loop!(avx512, "avx512f", 24, __m512, _mm512_set1_ps, _mm512_fmadd_ps);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_plausible() {
        let peak = peak_gflops();
        assert!(peak.is_finite() && peak > 0.1, "{peak}");
    }
}
