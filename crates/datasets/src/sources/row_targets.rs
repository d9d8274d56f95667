//! [`RowTargets`]: the targets of all rows of a data set, classes and numbers.

use std::collections::BTreeMap;

use transplant_core::{Error, Field, Invalid, Result, Schema, Target, Targets};

use super::image_rows::CLASS;

/// The values of one target, row by row; `None` where they are missing.
#[derive(Debug, Clone)]
enum Values {
    Classes(Vec<Option<u32>>),
    Numbers(Vec<Option<f32>>),
}

/// The targets of rows, by name.
#[derive(Debug, Clone)]
pub(crate) struct RowTargets {
    rows: usize,
    schema: Schema,
    values: BTreeMap<String, Values>,
}

impl RowTargets {
    /// So many rows without a target.
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows, schema: Schema::new(), values: BTreeMap::new() }
    }

    /// The target [`CLASS`] alone.
    pub(crate) fn of_class(names: Vec<String>, labels: Vec<Option<u32>>) -> Self {
        let mut out = Self::new(labels.len());
        out.add_classes(CLASS, names, labels);
        out
    }

    /// Adds a target of classes, one a row.
    pub(crate) fn add_classes(&mut self, target: &str, names: Vec<String>, labels: Vec<Option<u32>>) {
        self.schema.insert(target.to_owned(), Field::Class { names });
        self.values.insert(target.to_owned(), Values::Classes(labels));
    }

    /// Adds a target of numbers, one a row.
    pub(crate) fn add_numbers(&mut self, target: &str, numbers: Vec<Option<f32>>) {
        self.schema.insert(target.to_owned(), Field::Number);
        self.values.insert(target.to_owned(), Values::Numbers(numbers));
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// What the targets are.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Names of the classes and the class of each row, where the target [`CLASS`] is all there is.
    pub(crate) fn only_class(&self) -> Option<(&[String], &[Option<u32>])> {
        match (self.schema.get(CLASS), self.values.get(CLASS)) {
            (Some(Field::Class { names }), Some(Values::Classes(labels))) if self.values.len() == 1 => {
                Some((names, labels))
            }
            _ => None,
        }
    }

    /// All there is, for a hash.
    pub(crate) fn written(&self) -> String {
        format!("{:?}", (&self.schema, &self.values))
    }

    /// The class targets: name, names of the classes, and the class of each row.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&str, &[String], &[Option<u32>])> {
        self.values.iter().filter_map(|(name, values)| match (self.schema.get(name), values) {
            (Some(Field::Class { names }), Values::Classes(labels)) => Some((name.as_str(), &names[..], &labels[..])),
            _ => None,
        })
    }

    /// # Errors
    /// [`Error::Data`] when a class is out of range.
    pub(crate) fn check(&self, dataset: &str) -> Result<()> {
        for (_, names, labels) in self.classes() {
            for (row, label) in (0..).zip(labels) {
                if let Some(label) = label.filter(|l| *l as usize >= names.len()) {
                    let message = format!("label {label} is out of range: there are {} classes", names.len());
                    return Err(Error::data(dataset, Some(row), message));
                }
            }
        }
        Ok(())
    }

    /// The class of every row.
    pub(crate) fn classes_of(&self, dataset: &str, target: &str) -> Result<Vec<Option<u32>>> {
        match self.get(dataset, target)? {
            Values::Classes(labels) => Ok(labels.clone()),
            Values::Numbers(_) => {
                Err(Invalid::key("target", format!("target `{target}` is a number, no class")).into())
            }
        }
    }

    /// The number of every row.
    pub(crate) fn numbers_of(&self, dataset: &str, target: &str) -> Result<Vec<Option<f32>>> {
        match self.get(dataset, target)? {
            Values::Numbers(numbers) => Ok(numbers.clone()),
            Values::Classes(_) => {
                Err(Invalid::key("target", format!("target `{target}` is a class, no number")).into())
            }
        }
    }

    fn get(&self, dataset: &str, target: &str) -> Result<&Values, Invalid> {
        self.values.get(target).ok_or_else(|| {
            let there: Vec<String> = self.values.keys().map(|name| format!("`{name}`")).collect();
            let message = format!("data set `{dataset}` has no target `{target}`, only {}", there.join(", "));
            Invalid::key("target", message)
        })
    }

    /// The targets of these rows.
    ///
    /// # Errors
    /// [`Error::Data`] when a row does not exist.
    pub(crate) fn of(&self, dataset: &str, rows: &[u64]) -> Result<Targets> {
        let there = self.rows as u64;
        if let Some(row) = rows.iter().find(|row| **row >= there) {
            return Err(Error::data(dataset, Some(*row), format!("no such row: there are {there}")));
        }
        let one = |(name, values): (&String, &Values)| {
            let target = match values {
                Values::Classes(labels) => Target::classes(&picked(labels, rows))?,
                Values::Numbers(numbers) => Target::numbers(&picked(numbers, rows))?,
            };
            Ok((name.clone(), target))
        };
        self.values.iter().map(one).collect()
    }
}

fn picked<T: Copy>(values: &[Option<T>], rows: &[u64]) -> Vec<Option<T>> {
    rows.iter().map(|row| values[*row as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> RowTargets {
        let mut out = RowTargets::new(3);
        out.add_numbers("age", vec![Some(3.5), None, Some(-1.0)]);
        out.add_classes("kind", vec!["a".to_owned(), "b".to_owned()], vec![None, Some(1), Some(0)]);
        out
    }

    #[test]
    fn missing_values_stay_missing() -> Result<()> {
        let of = targets().of("t", &[1, 0])?;
        let present = |name: &str| of[name].present.as_ref().unwrap().to_vec1::<f32>();
        assert_eq!((present("age")?, present("kind")?), (vec![0.0, 1.0], vec![1.0, 0.0]));
        assert_eq!(of["age"].values.to_vec1::<f32>()?, [0.0, 3.5]);
        assert!(targets().of("t", &[2])?.values().all(|t| t.present.is_none()));
        Ok(())
    }

    #[test]
    fn each_kind_is_asked_for_its_own() -> Result<()> {
        let t = targets();
        assert_eq!(t.numbers_of("t", "age")?, [Some(3.5), None, Some(-1.0)]);
        assert_eq!(t.classes_of("t", "kind")?, [None, Some(1), Some(0)]);
        assert!(t.classes_of("t", "age").unwrap_err().to_string().contains("is a number"));
        assert!(t.numbers_of("t", "kind").unwrap_err().to_string().contains("is a class"));
        assert!(t.numbers_of("t", "x").unwrap_err().to_string().contains("has no target `x`, only `age`, `kind`"));
        Ok(())
    }
}
