//! Whether rows with equal inputs are copies, or rows as they come: with a few categories, or texts of a word, records
//! that have nothing to do with each other have the same inputs.
//!
//! A row has a chance to be met among n others of 1 - exp(-n p), where p is the probability of its inputs. It is the
//! product of how often each column has the row's value; columns of which at most one is 1 are one category. For texts
//! the words, whatever their case and the signs between them, take the place of columns, and the number of words is one
//! more. A row that is met does not count itself, so a value that nothing else has is no chance at all. Columns that go
//! together make equal rows likelier than that: a few are taken for chance where as many are expected with a
//! probability of 1 in 100 (Poisson).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::Hash;

use candle_core::DType;
use transplant_core::{Acts, Dataset, Field, HIDDEN, Result, TEXT, rows_at_a_time, words};

/// From this chance on the equal inputs of one row say nothing.
const COMMON: f64 = 0.05;
/// What all the others come to is no chance below this probability.
const RARE: f64 = 0.01;
/// So many rows are enough to know how often a value is.
const SAMPLE: usize = 10_000;

/// Those of the rows `equal`, each of which has the inputs, or the words, of a row among `with` of `other`, that need
/// be no copies: their inputs are so common that some row there would have them anyway. `rows` of `of` are all that
/// were looked for. Of pictures only those of one colour are common.
///
/// # Errors
/// When a row cannot be read.
pub fn equal_by_chance(
    of: &dyn Dataset,
    rows: &[u64],
    equal: &BTreeSet<u64>,
    other: &dyn Dataset,
    with: &[u64],
) -> Result<BTreeSet<u64>> {
    if equal.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sample: Vec<u64> = with.iter().copied().step_by(with.len().div_ceil(SAMPLE).max(1)).collect();
    let own = |row: &u64| usize::from(equal.contains(row));
    let shares: Vec<f64> = match of.inputs().get(HIDDEN) {
        Some(Field::Vector { .. }) => {
            let known = Categories::new(values(other, &sample)?);
            rows.iter().zip(values(of, rows)?).map(|(row, values)| known.probability(&values, own(row))).collect()
        }
        Some(Field::Image { .. }) => {
            let rows: Vec<u64> = equal.iter().copied().collect();
            let plain = |values: &Vec<f32>| values.windows(2).all(|pair| pair[0] == pair[1]);
            let plain = rows.iter().zip(values(of, &rows)?).filter(|(_, values)| plain(values));
            return Ok(plain.map(|(row, _)| *row).collect());
        }
        _ if of.inputs().contains_key(TEXT) => {
            let known = Words::new(&texts(other, &sample)?);
            rows.iter().zip(texts(of, rows)?).map(|(row, text)| known.probability(&text, own(row))).collect()
        }
        _ => return Ok(BTreeSet::new()),
    };
    let chances = shares.iter().map(|share| 1. - (-(with.len() as f64) * share).exp());
    let (common, rare): (Vec<_>, Vec<_>) = rows.iter().zip(chances).partition(|(_, chance)| *chance >= COMMON);
    let expected: f64 = rare.iter().map(|(_, chance)| chance).sum();
    let met: Vec<_> = rare.into_iter().filter(|(row, _)| equal.contains(row)).collect();
    let explained = at_least(met.len(), expected) >= RARE;
    let all = common.into_iter().filter(|(row, _)| equal.contains(row)).chain(met.into_iter().filter(|_| explained));
    Ok(all.map(|(row, _)| *row).collect())
}

/// The probability that a Poisson variable of this mean is at least `n`.
fn at_least(n: usize, mean: f64) -> f64 {
    let (mut term, mut below) = ((-mean).exp(), 0.);
    for k in 0..n {
        below += term;
        term *= mean / (k + 1) as f64;
    }
    1. - below
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

    /// The share of rows with these values, `own` of them aside.
    fn probability(&self, row: &[f32], own: usize) -> f64 {
        let share = |(group, counts): (&std::ops::Range<usize>, &Counts<Vec<u32>>)| {
            row.get(group.clone()).map_or(0., |values| counts.share(&bits(values), own))
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
        let texts: Vec<Vec<String>> = texts.iter().map(|text| words_of(text)).collect();
        let lengths = Counts::new(texts.iter().map(Vec::len));
        Self { words: Counts::new(texts.into_iter().flatten()), lengths }
    }

    /// The share of texts with these words, `own` of them aside.
    fn probability(&self, text: &str, own: usize) -> f64 {
        let words = words_of(text);
        let times = |word: &String| own * words.iter().filter(|w| *w == word).count();
        self.lengths.share(&words.len(), own) * words.iter().map(|w| self.words.share(w, times(w))).product::<f64>()
    }
}

/// The words of a text as most networks are given them: runs of letters and digits in lower case; of a text without
/// any, what stands between blanks.
fn words_of(text: &str) -> Vec<String> {
    let found: Vec<String> = words(text, char::is_alphanumeric).into_iter().map(str::to_lowercase).collect();
    if found.is_empty() { text.split_whitespace().map(str::to_owned).collect() } else { found }
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
        assert!((known.probability(&row(4), 1) - (39. / 119.) * (59. / 119.)).abs() < 1e-9);
        // A number that no other row has is no chance.
        let numbers = Categories::new((0..120).map(|i| vec![i as f32 / 7.]).collect());
        assert_eq!(numbers.probability(&[3. / 7.], 1), 0.);
    }

    #[test]
    fn a_few_may_be_chance() {
        // 1 - e^-0.03 and 1 - 1.03 e^-0.03
        assert!((at_least(1, 0.03) - 0.029_554).abs() < 1e-6 && (at_least(2, 0.03) - 0.000_441_1).abs() < 1e-6);
        assert!(at_least(0, 2.) == 1. && at_least(1, 0.) == 0.);
    }

    #[test]
    fn one_word_is_no_copy() {
        let texts: Vec<String> = ["good", "bad", "good", "it broke after two days"].map(str::to_owned).into();
        let known = Words::new(&texts);
        assert!(
            (known.probability("good", 1) - (2. / 3.) * (1. / 7.)).abs() < 1e-9,
            "{}",
            known.probability("good", 1)
        );
        assert_eq!(known.probability("it broke after two days", 1), 0.);
        assert_eq!(known.probability("Good!", 1), known.probability("good", 1));
        assert_eq!((words_of("It's OK"), words_of("?! :)")), (words_of("it s ok"), vec!["?!".into(), ":)".into()]));
    }
}
