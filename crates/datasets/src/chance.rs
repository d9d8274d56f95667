//! Whether rows with equal inputs are copies, or rows as they come: with a few categories, or texts of a word, records that have
//! nothing to do with each other have the same inputs.
//!
//! A row has a chance to be met among n others of 1 - exp(-n p), where p is the probability of its inputs. It is the product of how
//! often each column has the row's value; columns of which at most one is 1 are one category. For texts the words take the place of
//! columns, and the number of words is one more. The row itself is not counted, so a value that nothing else has is no chance at all.

use std::collections::HashMap;
use std::hash::Hash;

use candle_core::DType;
use transplant_core::{Acts, Dataset, Field, HIDDEN, Result, TEXT, rows_at_a_time};

/// From this chance on equal inputs say nothing.
const EXPECTED: f64 = 0.05;
/// So many rows are enough to know how often a value is.
const SAMPLE: usize = 10_000;

/// For each of these `rows` of `of`: whether its inputs are so common that some row among `with` of `other` would have them without
/// being a copy. Of pictures only those of one colour are.
///
/// # Errors
/// When a row cannot be read.
pub fn equal_by_chance(of: &dyn Dataset, rows: &[u64], other: &dyn Dataset, with: &[u64]) -> Result<Vec<bool>> {
    let sample: Vec<u64> = with.iter().copied().step_by(with.len().div_ceil(SAMPLE).max(1)).collect();
    let expected = |p: f64| 1. - (-(with.len() as f64) * p).exp() >= EXPECTED;
    Ok(match of.inputs().get(HIDDEN) {
        Some(Field::Vector { .. }) => {
            let known = Categories::new(values(other, &sample)?);
            values(of, rows)?.iter().map(|row| expected(known.probability(row))).collect()
        }
        Some(Field::Image { .. }) => {
            values(of, rows)?.iter().map(|row| row.windows(2).all(|pair| pair[0] == pair[1])).collect()
        }
        _ if of.inputs().contains_key(TEXT) => {
            let known = Words::new(&texts(other, &sample)?);
            texts(of, rows)?.iter().map(|text| expected(known.probability(text))).collect()
        }
        _ => vec![false; rows.len()],
    })
}

/// How often each value is met.
struct Counts<T>(HashMap<T, usize>, usize);

impl<T: Hash + Eq> Counts<T> {
    fn new(values: impl Iterator<Item = T>) -> Self {
        let (mut counts, mut all) = (HashMap::new(), 0);
        for value in values {
            *counts.entry(value).or_insert(0) += 1;
            all += 1;
        }
        Self(counts, all)
    }

    /// The share of a value among all others, `own` of its places aside.
    fn share(&self, value: &T, own: usize) -> f64 {
        let others = self.0.get(value).map_or(0, |n| n.saturating_sub(own));
        others as f64 / self.1.saturating_sub(own).max(1) as f64
    }
}

/// Columns, those of one category together.
struct Categories {
    groups: Vec<std::ops::Range<usize>>,
    counts: Vec<Counts<Vec<u32>>>,
}

impl Categories {
    fn new(rows: Vec<Vec<f32>>) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        let binary: Vec<bool> = (0..width).map(|c| rows.iter().all(|row| row[c] == 0. || row[c] == 1.)).collect();
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        for column in 0..width {
            let joins = |group: &std::ops::Range<usize>| {
                let one = |row: &Vec<f32>| row[column] == 1. && row[group.clone()].contains(&1.);
                binary[column] && binary[group.clone()].iter().all(|b| *b) && !rows.iter().any(one)
            };
            match groups.last_mut().filter(|group| joins(group)) {
                Some(group) => group.end = column + 1,
                None => groups.push(column..column + 1),
            }
        }
        let of = |group: &std::ops::Range<usize>| Counts::new(rows.iter().map(|row| bits(&row[group.clone()])));
        let counts = groups.iter().map(of).collect();
        Self { groups, counts }
    }

    fn probability(&self, row: &[f32]) -> f64 {
        let share = |(group, counts): (&std::ops::Range<usize>, &Counts<Vec<u32>>)| {
            row.get(group.clone()).map_or(0., |values| counts.share(&bits(values), 1))
        };
        self.groups.iter().zip(&self.counts).map(share).product()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Words, and how many of them texts have.
struct Words {
    words: Counts<String>,
    lengths: Counts<usize>,
}

impl Words {
    fn new(texts: &[String]) -> Self {
        let words = texts.iter().flat_map(|t| t.split_whitespace()).map(str::to_owned);
        Self { words: Counts::new(words), lengths: Counts::new(texts.iter().map(|t| t.split_whitespace().count())) }
    }

    fn probability(&self, text: &str) -> f64 {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let own = |word: &String| words.iter().filter(|w| *w == word).count();
        self.lengths.share(&words.len(), 1) * words.iter().map(|w| self.words.share(w, own(w))).product::<f64>()
    }
}

fn inputs(dataset: &dyn Dataset, rows: &[u64]) -> Result<Vec<Acts>> {
    let chunks = rows.chunks(rows_at_a_time(dataset.inputs()));
    chunks.map(|rows| Ok(dataset.batch(rows)?.inputs)).collect()
}

fn values(dataset: &dyn Dataset, rows: &[u64]) -> Result<Vec<Vec<f32>>> {
    let read = |acts: &Acts| Ok(acts.get(HIDDEN)?.flatten_from(1)?.to_dtype(DType::F32)?.to_vec2::<f32>()?);
    Ok(inputs(dataset, rows)?.iter().map(read).collect::<Result<Vec<_>>>()?.concat())
}

fn texts(dataset: &dyn Dataset, rows: &[u64]) -> Result<Vec<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
    let read = |acts: &Acts| Ok(acts.get(TEXT)?.to_vec2::<u8>()?.into_iter().map(text).collect());
    Ok(inputs(dataset, rows)?.iter().map(read).collect::<Result<Vec<Vec<String>>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_values_are_met_by_chance() {
        // A category of three levels in three columns, and one of two; 120 rows of 6 kinds.
        let row = |i: usize| {
            let (a, b) = (i % 3, (i / 3) % 2);
            vec![f32::from(a == 0), f32::from(a == 1), f32::from(a == 2), f32::from(b == 0), f32::from(b == 1)]
        };
        let known = Categories::new((0..120).map(row).collect());
        assert_eq!(known.groups, [0..3, 3..5]);
        assert!((known.probability(&row(4)) - (39. / 119.) * (59. / 119.)).abs() < 1e-9);
        // A number that no other row has is no chance.
        let numbers = Categories::new((0..120).map(|i| vec![i as f32 / 7.]).collect());
        assert_eq!(numbers.probability(&[3. / 7.]), 0.);
    }

    #[test]
    fn one_word_is_no_copy() {
        let texts: Vec<String> = ["good", "bad", "good", "it broke after two days"].map(str::to_owned).into();
        let known = Words::new(&texts);
        assert!((known.probability("good") - (2. / 3.) * (1. / 7.)).abs() < 1e-9, "{}", known.probability("good"));
        assert_eq!(known.probability("it broke after two days"), 0.);
    }
}
