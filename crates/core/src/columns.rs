//! [`Columns`]: how a row of a table becomes a row of a data set.

use serde::{Deserialize, Serialize};

/// How a row of a table becomes inputs. It is kept with a model, so that `predict` makes of a new table what the
/// training made of its own: columns are found by name, in any order, and others are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Columns {
    /// The input [`TEXT`](crate::TEXT): the values of these columns, those that are there, joined by a line break.
    Text {
        /// The columns.
        columns: Vec<String>,
        /// The words of CSV and TSV that are missing values.
        missing: Vec<String>,
    },
    /// The input [`HIDDEN`](crate::HIDDEN), `f32 [rows, width]`: the numbers, then the categories.
    Vector {
        /// Each is one value, or two where something stands for a missing number.
        numbers: Vec<NumberColumn>,
        /// Each is as many values as it has levels.
        categories: Vec<CategoryColumn>,
        /// The words of CSV and TSV that are missing values.
        missing: Vec<String>,
    },
}

/// A column of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberColumn {
    /// Its name.
    pub name: String,
    /// What stands for a missing number; a value behind it is then 1 where the number is missing, else 0. `None`: a
    /// missing number is an error.
    pub fill: Option<f32>,
}

/// A column of categories: a one among zeros for the level of a row, all zeros where it is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryColumn {
    /// Its name.
    pub name: String,
    /// The levels of the training, in the order of their values.
    pub levels: Vec<String>,
}

impl Columns {
    /// The names of the columns that are read.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Text { columns, .. } => columns.iter().map(String::as_str).collect(),
            Self::Vector { numbers, categories, .. } => {
                let numbers = numbers.iter().map(|c| c.name.as_str());
                numbers.chain(categories.iter().map(|c| c.name.as_str())).collect()
            }
        }
    }

    /// What each value of a vector is: `age`, `age is missing`, `colour = red`. Empty for texts.
    pub fn values(&self) -> Vec<String> {
        let Self::Vector { numbers, categories, .. } = self else { return Vec::new() };
        let number = |c: &NumberColumn| {
            let missing = c.fill.map(|_| format!("{} is missing", c.name));
            std::iter::once(c.name.clone()).chain(missing)
        };
        let category = |c: &CategoryColumn| c.levels.iter().map(|level| format!("{} = {level}", c.name)).collect();
        let categories = categories.iter().map(category).collect::<Vec<Vec<String>>>().concat();
        numbers.iter().flat_map(number).chain(categories).collect()
    }

    /// The words of CSV and TSV that are missing values.
    pub fn missing(&self) -> &[String] {
        let (Self::Text { missing, .. } | Self::Vector { missing, .. }) = self;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_in_order() {
        let read_by_training = Columns::Text { columns: vec!["title".into(), "text".into()], missing: vec!["".into()] };
        assert_eq!(read_by_training.names(), ["title", "text"]);
    }

    #[test]
    fn each_value_has_a_name() {
        let numbers = [("b", None), ("a", Some(0.0))].map(|(name, fill)| NumberColumn { name: name.into(), fill });
        let levels = vec!["blue".into(), "red".into()];
        let categories = vec![CategoryColumn { name: "c".into(), levels }];
        let columns = Columns::Vector { numbers: numbers.into(), categories, missing: Vec::new() };
        assert_eq!(columns.values(), ["b", "a", "a is missing", "c = blue", "c = red"]);
    }
}
