//! [`NewRows`]: rows of a table that was not there in the training, read as the training read its own.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use transplant_codecs as codecs;
use transplant_core::{Acts, Columns, Error, Invalid, Result, TEXT, nearest};

use candle_core::{Device, Tensor};

use super::text_table::text_of;
use crate::codec::error;
use crate::table::{Cell, Table};

/// The column whose words name rows, where a table has it.
const ID: &str = "id";
/// An error names so many levels at most.
const LEVELS_NAMED: usize = 8;

/// Rows of a new table, in their order.
#[derive(Debug)]
pub struct NewRows {
    /// All of them; at least one.
    pub rows: Vec<NewRow>,
}

/// A row of a new table.
#[derive(Debug)]
pub struct NewRow {
    /// The file with the line on which the row begins, or with the number of the row, counted from 0, where the file
    /// has no lines.
    pub place: String,
    /// The word in the column `id`; `None`: there is no such column, or it has no value here.
    pub id: Option<String>,
    /// What the network is given before the transforms, one row; or what is wrong with a cell.
    pub inputs: Result<Acts>,
}

impl NewRows {
    /// Reads a table; `-` is one on the standard input, CSV or JSONL.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the file cannot be opened or is no table by its name; [`Error::Data`] when it is
    /// damaged, lacks a column or has no rows. What is wrong with cells of one row is in that row.
    pub fn read(file: &Path, columns: &Columns) -> Result<Self> {
        let (names, missing) = (columns.names(), columns.missing());
        let table = match file.to_str() {
            Some("-") => {
                let mut content = Vec::new();
                std::io::stdin().lock().read_to_end(&mut content).map_err(|e| Error::io(file, e))?;
                Table::parse(Path::new("<stdin>"), &content, &names, &[ID], missing)
            }
            _ => Table::read_with(file, &names, &[ID], missing),
        };
        let table = table.map_err(|e| match e {
            // A file the user named is the user's to get right.
            codecs::Error::Io { .. } => Invalid::new(format!("cannot read {e}")).into(),
            codecs::Error::NoColumn { path, message } if matches!(columns, Columns::Text { .. }) => {
                let message =
                    format!("is a table; it {message}; the name of a file with a text a line should end in .txt");
                Error::Data { path, row: None, message }
            }
            e => error(e),
        })?;
        let ids = table.column(ID)?;
        let row = |row: usize| NewRow {
            place: match table.line(row) {
                Some(line) => format!("{}:{line}", table.file().display()),
                None => format!("{}: row {row}", table.file().display()),
            },
            id: ids[row].as_ref().and_then(Cell::word).map(|word| word.into_owned()),
            inputs: inputs(columns, &table, row),
        };
        Ok(Self { rows: (0..table.rows()).map(row).collect() })
    }
}

/// One row as inputs.
fn inputs(columns: &Columns, table: &Table, row: usize) -> Result<Acts> {
    match columns {
        Columns::Text { columns, .. } => {
            let text = text_of(table, row, columns)?;
            if text.trim().is_empty() {
                return Err(table.fault(row, "has no text"));
            }
            Ok(Acts::new().with(TEXT, Tensor::from_slice(text.as_bytes(), (1, text.len()), &Device::Cpu)?))
        }
        Columns::Vector { numbers, categories, .. } => {
            let mut values = Vec::new();
            for column in numbers {
                let fault = |message: String| table.fault(row, format!("column `{}`: {message}", column.name));
                let number = table.column(&column.name)?[row].as_ref().map(number_of).transpose().map_err(fault)?;
                match (number, column.fill) {
                    (Some(number), None) => values.push(number as f32),
                    (Some(number), Some(_)) => values.extend([number as f32, 0.0]),
                    (None, Some(fill)) => values.extend([fill, 1.0]),
                    (None, None) => {
                        return Err(fault("has no number, and the training had no `fill` for one".to_owned()));
                    }
                }
            }
            for column in categories {
                let fault = |message: String| table.fault(row, format!("column `{}`: {message}", column.name));
                let word = table.column(&column.name)?[row].as_ref().map(category_of).transpose().map_err(fault)?;
                if let Some(word) = word.as_ref().filter(|word| !column.levels.contains(word)) {
                    return Err(fault(unknown_level(word, &column.levels)));
                }
                let is_level = |level: &String| if word.as_ref() == Some(level) { 1.0 } else { 0.0 };
                values.extend(column.levels.iter().map(is_level));
            }
            let width = values.len();
            Ok(Acts::hidden(Tensor::from_vec(values, (1, width), &Device::Cpu)?))
        }
        _ => Err(Error::contract("these columns are of a kind that is not read")),
    }
}

fn unknown_level(word: &str, levels: &[String]) -> String {
    let known: BTreeSet<&str> = levels.iter().map(String::as_str).take(LEVELS_NAMED).collect();
    let known = known.into_iter().map(|level| format!("`{level}`")).collect::<Vec<_>>().join(", ");
    let more =
        if levels.len() > LEVELS_NAMED { format!(" and {} more", levels.len() - LEVELS_NAMED) } else { String::new() };
    let near = nearest(word, levels.iter().map(String::as_str));
    let help = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("`{word}` is no level of the training, which had {known}{more}{help}")
}

/// The number in a cell.
///
/// # Errors
/// Says what the cell holds instead.
pub(super) fn number_of(cell: &Cell) -> Result<f64, String> {
    let found = || cell.word().map_or_else(|| cell.kind().to_owned(), |word| format!("`{word}`"));
    cell.number().filter(|n| (*n as f32).is_finite()).ok_or_else(|| {
        let comma = cell.word().is_some_and(|word| word.contains(','));
        let help = if comma { "; numbers have a decimal point and no commas" } else { "" };
        format!("{} is no number of single precision{help}", found())
    })
}

/// The word in a cell of a category.
///
/// # Errors
/// Says what the cell holds instead.
pub(super) fn category_of(cell: &Cell) -> Result<String, String> {
    let word = cell.word().map(|word| word.into_owned());
    word.ok_or_else(|| format!("holds {}, and no category", cell.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::{CategoryColumn, HIDDEN, NumberColumn};

    fn read(name: &str, content: &str, columns: &Columns) -> Result<NewRows> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        NewRows::read(&path, columns)
    }

    fn vector() -> Columns {
        let number = |name: &str, fill| NumberColumn { name: name.to_owned(), fill };
        Columns::Vector {
            numbers: vec![number("b", Some(2.5)), number("a", None)],
            categories: vec![CategoryColumn { name: "c".to_owned(), levels: vec!["blue".into(), "red".into()] }],
            missing: vec![String::new(), "?".to_owned()],
        }
    }

    #[test]
    fn columns_are_found_by_name() -> Result<()> {
        let table = "y,c,a,id,b\nu,red,1,k7,-0.5\n,?,3,,?\n";
        let rows = read("n.csv", table, &vector())?.rows;
        let values = |row: &NewRow| row.inputs.as_ref().unwrap().get(HIDDEN).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(values(&rows[0]), [[-0.5, 0., 1., 0., 1.]]);
        assert_eq!(values(&rows[1]), [[2.5, 1., 3., 0., 0.]]);
        assert_eq!((rows[0].id.as_deref(), rows[1].id.as_deref()), (Some("k7"), None));
        assert!(rows[1].place.ends_with("n.csv:3"), "{}", rows[1].place);
        Ok(())
    }

    #[test]
    fn a_bad_cell_spoils_its_row_only() -> Result<()> {
        let rows = read("n.csv", "a,b,c\n1,1,red\n1,1,rad\n,1,red\n\"1,5\",1,red\n1,1,\n", &vector())?.rows;
        let said: Vec<_> = rows.iter().map(|r| r.inputs.as_ref().err().map(Error::to_string)).collect();
        assert_eq!((&said[0], &said[4]), (&None, &None));
        for (i, says) in [
            (1, "line 3: column `c`: `rad` is no level of the training, which had `blue`, `red`; did you mean `red`?"),
            (2, "line 4: column `a`: has no number, and the training had no `fill`"),
            (3, "line 5: column `a`: `1,5` is no number of single precision; numbers have a decimal point"),
        ] {
            assert!(said[i].as_ref().unwrap().contains(says), "{said:?}");
        }
        Ok(())
    }

    #[test]
    fn a_missing_column_is_named_with_the_nearest() {
        let said = read("n.csv", "a,bb,c\n1,1,red\n", &vector()).unwrap_err().to_string();
        assert!(said.contains("has no column `b` (did you mean `bb`?)"), "{said}");
    }

    #[test]
    fn texts_are_joined_as_in_training() -> Result<()> {
        let columns = Columns::Text { columns: vec!["title".into(), "text".into()], missing: vec![String::new()] };
        let rows = read("n.csv", "\u{feff}text,title\r\n\"two\r\nlines\",T\r\n,\r\none,\r\n", &columns)?.rows;
        let text = |row: &NewRow| match &row.inputs {
            Ok(acts) => acts.get(TEXT).unwrap().to_vec2::<u8>().unwrap()[0].clone(),
            Err(e) => e.to_string().into_bytes(),
        };
        assert_eq!((text(&rows[0]), text(&rows[2])), (b"T\ntwo\r\nlines".to_vec(), b"one".to_vec()));
        let said = String::from_utf8(text(&rows[1])).unwrap();
        assert!(said.ends_with("line 4: has no text"), "{said}");
        assert_eq!(rows.len(), 3);
        Ok(())
    }
}
