//! Pictures of 16 bits a value that use few of them.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use transplant_core::{Finding, FindingKind};

use crate::findings::counted;

/// Of the pictures with 16 bits a value: how many, and the largest value of all.
#[derive(Default)]
pub(super) struct SixteenBits {
    count: AtomicUsize,
    highest: AtomicU16,
}

impl SixteenBits {
    /// Adds a picture; `highest` is its largest value where it has 16 bits a value. Called by many threads.
    pub(super) fn add(&self, highest: Option<u16>) {
        if let Some(highest) = highest {
            self.count.fetch_add(1, Ordering::Relaxed);
            self.highest.fetch_max(highest, Ordering::Relaxed);
        }
    }

    /// What to tell where they use 14 bits or less: a camera's 12 bits are almost black then.
    pub(super) fn narrow(&self) -> Option<Finding> {
        let (count, highest) = (self.count.load(Ordering::Relaxed), self.highest.load(Ordering::Relaxed));
        if count == 0 || highest == 0 || highest >= 1 << 14 {
            return None;
        }
        let levels = (u32::from(highest) + 1).next_power_of_two();
        let (share, factor) = (100. * f64::from(highest) / 65535., 65536 / levels);
        let verb = if count == 1 { "has" } else { "have" };
        let message = format!(
            "{} {verb} 16 bits a value, and the largest value is {highest}, {share:.1} % of 65535: the network is given almost black \
             pictures, with {} of 256 levels; multiply their values by {factor} when you write them",
            counted(count, "picture"),
            u32::from(highest) / 257 + 1
        );
        Some(Finding::new(FindingKind::NarrowPixelRange, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_of_sixteen_bits_are_told() {
        let of = |values: &[Option<u16>]| {
            let sixteen = SixteenBits::default();
            values.iter().for_each(|v| sixteen.add(*v));
            sixteen.narrow()
        };
        let said = of(&[Some(4095), Some(17), None]).unwrap().message;
        assert!(said.starts_with("2 pictures have 16 bits a value, and the largest value is 4095, 6.2 %"), "{said}");
        assert!(said.contains("16 of 256 levels") && said.contains("by 16"), "{said}");
        assert_eq!((of(&[]), of(&[None]), of(&[Some(60000)]), of(&[Some(0)])), (None, None, None, None));
    }
}
