//! From rows of single precision to tiles of bfloat16, rounded to the nearest, ties to even.
//!
//! A left tile holds 16 rows of 32 terms; a right one, for 16 columns, 16 rows in each of which two terms stand side by side.
#![allow(unsafe_code, reason = "vectors that are read through pointers")]

use std::arch::x86_64::*;

use super::unit::{DEPTH, ROWS, TILE};

/// The first `n` lanes.
fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}

/// Two vectors as one of bfloat16, `low` in its lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn narrowed(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes without meaning of their own.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Two vectors as one of bfloat16, their lanes in turns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn in_turns(first: __m512, second: __m512) -> __m512i {
    let low: [i16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as i16);
    // SAFETY: the order is 64 readable bytes.
    let order = unsafe { _mm512_loadu_si512(low.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, narrowed(first, second))
}

/// Lanes of `mask` from memory, zero in the others.
///
/// # Safety
/// The memory of these lanes must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn some(mask: __mmask16, at: *const f32) -> __m512 {
    // SAFETY: as the caller promises.
    unsafe { _mm512_maskz_loadu_ps(mask, at) }
}

/// Writes `len` terms of each of up to 16 rows as left tiles one behind the other; what is missing is zero.
///
/// # Safety
/// `len` numbers must be readable from each of `rows`, `len` rounded up to whole tiles writable from `to`; the processor must
/// have AVX-512 with bfloat16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn left(rows: &[*const f32], len: usize, to: *mut u16) {
    let blocks = len.div_ceil(DEPTH);
    for i in 0..ROWS {
        for block in 0..blocks {
            let left = len - block * DEPTH;
            // SAFETY: masks leave out what lies beyond `len`; row `i` of tile `block` lies inside what may be written.
            unsafe {
                let value = match rows.get(i) {
                    Some(row) => {
                        let at = row.add(block * DEPTH);
                        let high = some(first(left.saturating_sub(16)), at.wrapping_add(16));
                        narrowed(some(first(left), at), high)
                    }
                    None => _mm512_setzero_si512(),
                };
                _mm512_storeu_si512(to.add(block * TILE + i * DEPTH).cast(), value);
            }
        }
    }
}

/// Writes `columns` (at most 32) numbers of each row as pairs of right tiles one behind the other, 32 rows in each pair; what
/// is missing is zero.
///
/// # Safety
/// `columns` numbers must be readable from each of `rows`, and two tiles for every 32 rows writable from `to`; the processor
/// must have AVX-512 with bfloat16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn right(rows: impl ExactSizeIterator<Item = *const f32>, columns: usize, to: *mut u16) {
    let (count, masks) = (rows.len(), [first(columns), first(columns.saturating_sub(16))]);
    let mut rows = rows;
    for pair in 0..count.div_ceil(DEPTH) * ROWS {
        let (a, b) = (rows.next(), rows.next());
        for (half, mask) in masks.into_iter().enumerate() {
            // SAFETY: masks leave out what lies beyond the columns; row `pair % 16` lies inside its tile.
            unsafe {
                let of = |row: Option<*const f32>| match row {
                    Some(row) => some(mask, row.wrapping_add(half * 16)),
                    None => _mm512_setzero_ps(),
                };
                let to = to.add((pair / ROWS * 2 + half) * TILE + pair % ROWS * DEPTH);
                _mm512_storeu_si512(to.cast(), in_turns(of(a), of(b)));
            }
        }
    }
}

/// Writes a left tile whose rows are `columns` (at most 16) columns of up to 32 rows; what is missing is zero.
///
/// # Safety
/// `columns` numbers must be readable from each of `rows`, and a tile writable from `to`; the processor must have AVX-512 with
/// bfloat16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn left_of_columns(rows: &[*const f32], columns: usize, to: *mut u16) {
    let mask = first(columns);
    let of = |row: usize| match rows.get(row) {
        // SAFETY: the mask leaves out what lies beyond the columns.
        Some(row) => unsafe { some(mask, *row) },
        None => _mm512_setzero_ps(),
    };
    let mut pairs = [_mm512_setzero_si512(); 16];
    for (i, pair) in pairs.iter_mut().enumerate() {
        *pair = in_turns(of(2 * i), of(2 * i + 1));
    }
    for (i, row) in transposed(pairs).into_iter().enumerate() {
        // SAFETY: row `i` of the tile.
        unsafe { _mm512_storeu_si512(to.add(i * DEPTH).cast(), row) }
    }
}

/// The transpose of 16 rows of 16 words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    let (mut pairs, mut fours, mut out) = ([zero; 16], [zero; 16], [zero; 16]);
    // Words of neighbouring rows, then pairs of words: blocks of four by four, in each quarter of a vector.
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        for half in 0..2 {
            let (a, b) = (pairs[4 * i + half], pairs[4 * i + half + 2]);
            fours[4 * i + 2 * half] = _mm512_unpacklo_epi64(a, b);
            fours[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
        }
    }
    // Then the quarters: row `4 q + i` is quarter `q` of the four blocks' vector `i`.
    for i in 0..4 {
        let (a, b) = (fours[i], fours[4 + i]);
        let (c, d) = (fours[8 + i], fours[12 + i]);
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
        out[i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        out[4 + i] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let (ab, cd) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
        out[8 + i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        out[12 + i] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
    out
}
