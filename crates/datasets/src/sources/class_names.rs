//! [`ClassNames`]: the classes that the labels of a column name. Numbers that are equal are one class, however they are written.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use transplant_core::{Finding, FindingKind};

use crate::findings::{listed, quoted};

/// Names of classes, and the class of each label.
#[derive(Debug, Default)]
pub(super) struct ClassNames {
    /// Names, in the order of the numbers.
    pub(super) names: Vec<String>,
    class_of: BTreeMap<String, u32>,
    /// Labels that are written otherwise than their class.
    merged: Vec<(String, u32)>,
}

impl ClassNames {
    /// The classes of these labels: numbers by their size, else by text.
    ///
    /// # Errors
    /// Says which labels are one number without being sure to be one class, and what decides it.
    pub(super) fn of_labels(labels: &BTreeSet<&str>) -> Result<Self, String> {
        let numbers: Option<Vec<(Decimal, &str)>> = labels.iter().map(|l| Some((Decimal::parse(l)?, *l))).collect();
        let Some(mut numbers) = numbers else {
            let names = labels.iter().map(|l| (*l).to_owned()).collect();
            return Ok(Self::with(names, Vec::new()));
        };
        // Of equal numbers the shortest stands first and is the name.
        numbers.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.len().cmp(&b.1.len())));
        let (mut names, mut merged) = (Vec::new(), Vec::new());
        for same in numbers.chunk_by(|a, b| a.0 == b.0) {
            if let (Some(odd), [a, b, ..]) = (same.iter().find(|(_, label)| !is_plain(label)), same) {
                let other = if odd.1 == a.1 { b.1 } else { a.1 };
                return Err(format!(
                    "the labels {} and {} are one number, written in two ways; `classes` says what they are: one class where it \
                     lists one of them, two where it lists both",
                    quoted(other),
                    quoted(odd.1)
                ));
            }
            merged.extend(same[1..].iter().map(|(_, label)| ((*label).to_owned(), names.len() as u32)));
            names.push(same[0].1.to_owned());
        }
        Ok(Self::with(names, merged))
    }

    /// These classes. A label that is none of them, but is the same number as one, belongs to that one.
    pub(super) fn fixed(names: &[String], labels: &BTreeSet<&str>) -> Self {
        let numbers: Vec<Option<Decimal>> = names.iter().map(|name| Decimal::parse(name)).collect();
        let number_of = |label: &&str| {
            let number = Decimal::parse(label)?;
            let mut same = (0..).zip(&numbers).filter(|(_, n)| n.as_ref() == Some(&number)).map(|(class, _)| class);
            Some(((*label).to_owned(), same.next().filter(|_| same.next().is_none())?))
        };
        let others = labels.iter().filter(|label| names.iter().all(|name| name != *label));
        Self::with(names.to_vec(), others.filter_map(number_of).collect())
    }

    fn with(names: Vec<String>, merged: Vec<(String, u32)>) -> Self {
        let class_of = names.iter().cloned().zip(0..).chain(merged.iter().cloned()).collect();
        Self { names, class_of, merged }
    }

    /// The class of a label, `None` where it is none of them.
    pub(super) fn class(&self, label: &str) -> Option<u32> {
        self.class_of.get(label).copied()
    }

    /// Tells of numbers that were written in several ways.
    pub(super) fn finding(&self) -> Option<Finding> {
        let name = |class: u32| self.names.get(class as usize).map(|name| quoted(name)).unwrap_or_default();
        let shown: Vec<String> =
            self.merged.iter().map(|(l, class)| format!("{} as {}", quoted(l), name(*class))).collect();
        let message = format!("labels that are one number are one class: {}", listed(&shown));
        (!shown.is_empty()).then(|| Finding::new(FindingKind::MergedNumbers, message))
    }
}

/// Whether a number is written as it usually is: without exponent, plus sign and leading zeros.
fn is_plain(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    !digits.starts_with('+') && !leading_zero && !digits.contains(['e', 'E'])
}

/// A number as it is written, exactly, of any length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Digits before the point; below 0 for zeros after it.
    point: i64,
    /// Without zeros at the start and the end; none at all for zero.
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads one; `None` where the text is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().ok()?;
        let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let all = [whole.as_bytes(), fraction.as_bytes()].concat();
        let start = all.iter().position(|b| *b != b'0').unwrap_or(all.len());
        let end = all.iter().rposition(|b| *b != b'0').map_or(start, |last| last + 1);
        let digits = all[start..end].to_vec();
        let point = if digits.is_empty() { 0 } else { whole.len() as i64 + i64::from(exponent) - start as i64 };
        Some(Self { negative: mantissa.starts_with('-') && !digits.is_empty(), point, digits })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |d: &Self| (!d.digits.is_empty(), d.point);
        let by_size = || size(self).cmp(&size(other)).then_with(|| self.digits.cmp(&other.digits));
        match (self.negative, other.negative) {
            (false, false) => by_size(),
            (true, true) => by_size().reverse(),
            (a, b) => b.cmp(&a),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[&str]) -> Vec<String> {
        ClassNames::of_labels(&labels.iter().copied().collect()).unwrap().names
    }

    #[test]
    fn numbers_are_sorted_by_size() {
        assert_eq!(
            names(&["10", "9", "-1.5", "1e2", "-20", "0", "0.01", ".5"]),
            ["-20", "-1.5", "0", "0.01", ".5", "9", "10", "1e2"]
        );
        assert_eq!(names(&["10", "9", "x"]), ["10", "9", "x"]);
        assert_eq!(names(&["1", "inf"]), ["1", "inf"]);
    }

    #[test]
    fn long_numbers_are_compared_exactly() {
        let long = ["900000000000000001", "900000000000000002", "123456789012345678901234567890123456789012345678901"];
        assert_eq!(names(&long), long);
    }

    #[test]
    fn equal_plain_numbers_are_one_class() {
        let labels = ["0", "0.0", "1", "1.0", "2.0", "-0.0"].into_iter().collect();
        let classes = ClassNames::of_labels(&labels).unwrap();
        assert_eq!(classes.names, ["0", "1", "2.0"]);
        assert_eq!((classes.class("1.0"), classes.class("-0.0"), classes.class("2")), (Some(1), Some(0), None));
        let told = classes.finding().unwrap().message;
        assert_eq!(told, "labels that are one number are one class: `0.0` as `0`, `-0.0` as `0`, `1.0` as `1`");
    }

    #[test]
    fn codes_that_are_one_number_are_an_error() {
        for pair in [["01", "1"], ["1000", "1e3"], ["+1", "1"]] {
            let e = ClassNames::of_labels(&pair.into_iter().collect()).unwrap_err();
            assert!(pair.iter().all(|label| e.contains(label)) && e.contains("`classes` says"), "{e}");
        }
    }

    #[test]
    fn fixed_classes_decide() {
        let fixed = |names: &[&str], labels: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let classes = ClassNames::fixed(&names, &labels.iter().copied().collect());
            labels.iter().map(|label| classes.class(label)).collect::<Vec<_>>()
        };
        assert_eq!(fixed(&["0", "1"], &["0.0", "1.0", "0", "2"]), [Some(0), Some(1), Some(0), None]);
        assert_eq!(fixed(&["1", "01"], &["01", "1", "1.0"]), [Some(1), Some(0), None]);
        assert_eq!(fixed(&["1000"], &["1e3", "1000"]), [Some(0), Some(0)]);
    }
}
