//! [`Read`]: the cells of a table as they were read, before anything is fitted to them.

use sha2::{Digest, Sha256};
use transplant_core::{Finding, FindingKind, Result};

use super::categories::Categories;
use super::labelling::{Labels, Marks};
use super::new_rows::number_of;
use super::table::Fill;
use super::tables::Records;
use crate::findings::{contradictions, help_for_missing, label_copy, too_fine};
use crate::table::{Cell, Table};

/// What was read, which nothing is fitted to.
pub(super) struct Read {
    pub(super) name: String,
    pub(super) fill: Option<Fill>,
    pub(super) numbers: Vec<(String, Vec<Option<f32>>)>,
    pub(super) categories: Vec<Categories>,
    /// The words that are missing values.
    pub(super) missing: Vec<String>,
    pub(super) labelled: Labels,
    pub(super) records: Records,
    pub(super) hash: String,
    pub(super) licence: Option<String>,
}

impl Read {
    /// The mean of the numbers that these rows have, 0 where they have none.
    pub(super) fn mean(values: &[Option<f32>], rows: &[u64]) -> f32 {
        let there = rows.iter().filter_map(|row| values[*row as usize]);
        let (sum, count) = there.fold((0., 0u64), |(sum, count), n| (sum + f64::from(n), count + 1));
        if count == 0 { 0. } else { (sum / count as f64) as f32 }
    }

    /// Tells of columns in which none of these rows, those that are learned from, has a number.
    pub(super) fn without_numbers(&self, rows: &[u64]) -> Vec<Finding> {
        let empty = |values: &[Option<f32>]| !rows.is_empty() && rows.iter().all(|row| values[*row as usize].is_none());
        let tell = |(name, _): &(String, _)| {
            let message = format!("column `{name}`: no row that is learned from has a number, and 0 stands for each");
            Finding::new(FindingKind::ColumnWithoutNumbers, message)
        };
        self.numbers.iter().filter(|(_, values)| empty(values)).map(tell).collect()
    }

    /// Makes a hash cover the cells of a row.
    pub(super) fn add_to(&self, row: usize, hash: &mut Sha256) {
        for (_, values) in &self.numbers {
            hash.update([u8::from(values[row].is_some())]);
            hash.update(values[row].unwrap_or_default().to_le_bytes());
        }
        for category in &self.categories {
            let word = category.of[row].map(|word| category.words[word].as_str());
            hash.update([u8::from(word.is_some())]);
            hash.update((word.unwrap_or_default().len() as u64).to_le_bytes());
            hash.update(word.unwrap_or_default());
        }
    }
}

/// A column of numbers.
pub(super) fn numbers(name: &str, fill: Option<Fill>, marks: &Marks<'_>) -> Result<Vec<Option<f32>>> {
    let mut read = Vec::with_capacity(marks.len());
    for (table, row) in marks.places() {
        let fault = |message: String| table.fault(row, format!("column `{name}`: {message}"));
        let Some(cell) = &table.column(name)?[row] else {
            if fill.is_none() {
                return Err(fault("has no number; `fill` says what stands for one".to_owned()));
            }
            read.push(None);
            continue;
        };
        let number = number_of(cell).map_err(|e| {
            let help = help_for_missing(cell, table);
            let fill =
                if help.is_empty() || fill.is_some() { "" } else { ", and `fill` says what stands for the number" };
            fault(e + &help + fill)
        });
        read.push(Some(number? as f32));
    }
    Ok(read)
}

/// Tells of rows with the same cells and different labels, of columns that say the label, and of numbers too fine for
/// single precision.
pub(super) fn column_findings(
    (numbers, categories): (&[String], &[String]),
    marks: &Marks<'_>,
) -> Result<Vec<Finding>> {
    let mut keys: Vec<Vec<Option<String>>> = vec![Vec::new(); marks.len()];
    let (mut fine, mut copies) = (Vec::new(), Vec::new());
    for name in numbers {
        let number = |(table, row): (&Table, usize)| Ok(table.column(name)?[row].as_ref().and_then(Cell::number));
        let read: Vec<Option<f64>> = marks.places().map(number).collect::<Result<_>>()?;
        keys.iter_mut().zip(&read).for_each(|(key, number)| key.push(number.map(|n| n.to_string())));
        let bits: Vec<Option<u64>> = read.iter().map(|number| number.map(|n| (n + 0.).to_bits())).collect();
        copies.extend(marks.find(|labels, _| label_copy(name, &bits, labels))?);
        fine.extend(too_fine(name, &read));
    }
    for name in categories {
        let word = |(table, row): (&Table, usize)| {
            Ok(table.column(name)?[row].as_ref().and_then(|c| Some(c.word()?.into_owned())))
        };
        let read: Vec<Option<String>> = marks.places().map(word).collect::<Result<_>>()?;
        copies.extend(marks.find(|labels, _| label_copy(name, &read, labels))?);
        keys.iter_mut().zip(read).for_each(|(key, word)| key.push(word));
    }
    let names: Vec<String> = marks.places().map(|(table, row)| table.row_name(row)).collect();
    let contradicting = marks.find(|labels, classes| {
        contradictions(keys.iter().cloned().map(Some), labels, classes, &|row| names[row].clone())
    })?;
    Ok(contradicting.into_iter().chain(copies).chain(fine).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{VectorTable, VectorTableOptions};
    use transplant_core::{BuildCx, Dataset, Plugins, Seeds};

    #[test]
    fn empty_columns_and_similar_levels_are_told() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.csv"), "a,b,c,y\n1,,x,u\n2,,x ,v\n3,,X,u\n4,5,y,v\n").unwrap();
        let told = |d: &dyn Dataset| d.findings().into_iter().map(|f| (f.kind, f.message)).collect::<Vec<_>>();
        let alike =
            "column `c`: `X` and `x` and `x ` differ in white space or case alone, and each is a level of its own";
        let alike = (FindingKind::SimilarCategories, alike.to_owned());
        let empty = "column `b`: no row that is learned from has a number, and 0 stands for each";
        let empty = (FindingKind::ColumnWithoutNumbers, empty.to_owned());
        for fill in [Fill::Mean, Fill::Zero] {
            let mut o = VectorTableOptions::new("t.csv", "y");
            (o.numbers, o.categories, o.fill) = (vec!["b".into(), "a".into()], vec!["c".into()], Some(fill));
            let plugins = Plugins::new();
            let t = VectorTable::open(&o, &BuildCx { plugins: &plugins, base: folder.path(), seeds: Seeds::new(0) })?;
            assert_eq!(told(&t), std::slice::from_ref(&alike), "row 3 has a number");
            let fitted = t.fitted(&[0, 1, 2, 3], &[0, 1, 2])?.unwrap();
            assert_eq!(told(&*fitted), [alike.clone(), empty.clone()]);
        }
        Ok(())
    }
}
