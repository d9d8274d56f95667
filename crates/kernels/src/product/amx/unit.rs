//! The matrix unit: eight tiles of sixteen rows of 64 bytes, and the one instruction that multiplies them.
//!
//! Rust has no stable functions for it, so this file speaks its instructions. Here tiles 0 to 3 hold sums, 4 and 5 the left and
//! 6 and 7 the right operands.
#![allow(unsafe_code, reason = "instructions that the language does not know")]

use std::arch::asm;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::simd::{Level, level};

/// Rows of a tile, and sums in each of its rows.
pub(super) const ROWS: usize = 16;
/// Terms in a row of an operand's tile.
pub(super) const DEPTH: usize = 32;
/// Numbers in an operand's tile.
pub(super) const TILE: usize = ROWS * DEPTH;
/// Rows and columns of the sums that are made at a time.
pub(super) const SIDE: usize = 2 * ROWS;

/// Sums of [`SIDE`] rows and columns, row by row.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [f32; SIDE * SIDE]);

/// Whether this processor has the unit and the system lets this process use it.
pub(crate) fn available() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = || {
        let vectors = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
        vectors && has_tiles() && may_use_tiles()
    };
    level() == Level::Avx512 && *FOUND.get_or_init(found)
}

/// AMX-TILE and AMX-BF16, in the processor's words.
fn has_tiles() -> bool {
    let (tile, bf16) = (1 << 24, 1 << 22);
    let leaf = std::arch::x86_64::__cpuid_count(7, 0).edx;
    leaf & tile != 0 && leaf & bf16 != 0
}

/// Linux saves the tiles of a process that has asked for them.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: this system call reads and writes no memory of ours; the kernel changes `rcx` and `r11`, which are named.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// The unit, set up on this thread as long as this value lives.
pub(super) struct Unit(PhantomData<*const ()>);

impl Unit {
    /// # Safety
    /// The unit must be [`available`], and there must be no other on this thread.
    pub(super) unsafe fn new() -> Self {
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = ROWS as u8;
        }
        // SAFETY: the instruction exists, as the caller promises, and reads the 64 bytes of `config`.
        unsafe { asm!("ldtilecfg [{}]", in(reg) config.0.as_ptr(), options(nostack, readonly)) };
        Self(PhantomData)
    }

    /// Sets all sums to zero.
    pub(super) fn zero(&mut self) {
        // SAFETY: there is a unit, so the tiles exist; no memory is touched.
        unsafe { asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem)) }
    }

    /// Takes sums from memory.
    pub(super) fn load(&mut self, c: &Sums) {
        // SAFETY: four quarters of 16 rows of 64 bytes, 128 bytes apart: all lie inside `c`.
        unsafe {
            asm!("tileloadd tmm0, [{c} + {s}]", "tileloadd tmm1, [{c} + {s} + 64]",
                 "tileloadd tmm2, [{d} + {s}]", "tileloadd tmm3, [{d} + {s} + 64]",
                 c = in(reg) c.0.as_ptr(), d = in(reg) c.0.as_ptr().add(ROWS * SIDE), s = in(reg) 4 * SIDE,
                 options(nostack, readonly));
        }
    }

    /// Puts the sums into memory.
    pub(super) fn store(&mut self, c: &mut Sums) {
        let c = c.0.as_mut_ptr();
        // SAFETY: four quarters of 16 rows of 64 bytes, 128 bytes apart: all lie inside `c`.
        unsafe {
            asm!("tilestored [{c} + {s}], tmm0", "tilestored [{c} + {s} + 64], tmm1",
                 "tilestored [{d} + {s}], tmm2", "tilestored [{d} + {s} + 64], tmm3",
                 c = in(reg) c, d = in(reg) c.add(ROWS * SIDE), s = in(reg) 4 * SIDE, options(nostack));
        }
    }

    /// Adds the products of `blocks` pairs of tiles: two rows of left tiles, each one behind the other from `a[0]` and `a[1]`,
    /// and right tiles in twos from `b`.
    ///
    /// # Safety
    /// `blocks` tiles must be readable from both of `a`, and twice as many from `b`.
    #[inline(always)]
    pub(super) unsafe fn add(&mut self, a: [*const u16; 2], b: *const u16, blocks: usize) {
        if blocks == 0 {
            return;
        }
        // SAFETY: each turn reads a tile of 1024 bytes from each left pointer and two from the right one, which the caller
        // promises to be readable, and moves the pointers behind them.
        unsafe {
            asm!(
                "2:",
                "tileloadd tmm4, [{a} + {s}]",
                "tileloadd tmm6, [{b} + {s}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {s} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{d} + {s}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 1024",
                "add {d}, 1024",
                "add {b}, 2048",
                "dec {n}",
                "jnz 2b",
                a = inout(reg) a[0] => _, d = inout(reg) a[1] => _, b = inout(reg) b => _, n = inout(reg) blocks => _,
                s = in(reg) 64usize, options(nostack, readonly),
            );
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: there is a unit, and nobody uses its tiles after this.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}
