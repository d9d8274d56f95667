//! `table`: numbers and categories from columns of a CSV, TSV, JSONL or Parquet file, with a class each.
//!
//! Numbers stay as they are: bringing them to one scale is for a transform or the network. Columns that are not named are
//! never read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use transplant_core::{
    Acts, Batch, BuildCx, CategoryColumn, Columns, Component, Dataset, Error, Field, Finding, Fingerprint, HIDDEN,
    Invalid, NumberColumn, Plugins, Result, Roles, Schema,
};

use super::images::hex;
use super::labelling::{Labelling, Labels, Marks};
use super::new_rows::{category_of, number_of};
use super::tables::{Origin, Records, empty_is_missing};
use crate::findings::contradictions;
use crate::table::{Cell, Table};

/// Rows of numbers and categories with a class each, from a file of CSV, TSV, JSONL or Parquet.
///
/// A row is a vector: the `numbers` in their order, each followed by its indicator where `fill` is given, then for each of the
/// `categories` a one among zeros for its level, the levels of all rows sorted by text; a missing category is all zeros.
/// Rows without a label are kept and unlabelled. The test part is the rows that `split` calls so, or the file `test_path`;
/// without either there is none. Parquet needs the cargo feature `parquet`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, its kind told by its end; a relative path starts at the pipeline file.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Instead of a path the name of an asset that is a table.
    #[serde(default)]
    pub asset: Option<String>,
    /// A second file of the same columns: its rows are the test part.
    #[serde(default)]
    pub test_path: Option<PathBuf>,
    /// The columns that are numbers.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// The columns that are categories.
    #[serde(default)]
    pub categories: Vec<String>,
    /// What stands for a number that is missing; without it such a row is an error.
    #[serde(default)]
    pub fill: Option<Fill>,
    /// The column of the label, a text or a number.
    pub label: String,
    /// Names and order of the classes; without it the labels that are there, numbers by size, others by text. A label that is the
    /// same number as one of them, `1.0` beside `1`, belongs to it. Of two classes the second is the one that is looked for.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// The column of the group; no group stands on both sides of a split.
    #[serde(default)]
    pub group: Option<String>,
    /// The column that says `train`, `validation` or `test`.
    #[serde(default)]
    pub split: Option<String>,
    /// The words of CSV and TSV that are missing values; in JSONL and Parquet it is null.
    #[serde(default = "empty_is_missing")]
    pub missing: Vec<String>,
    /// Under which terms the file may be used; it is noted with what is made from it.
    #[serde(default)]
    pub licence: Option<String>,
}

/// What stands for a number that is missing. A column beside it is then 1 where it was, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// The mean of the numbers that are there in the rows outside validation and test part.
    Mean,
    /// 0.
    Zero,
}

impl Options {
    /// A file with the column of its label, and no inputs yet.
    pub fn new(path: impl Into<PathBuf>, label: &str) -> Self {
        Self {
            path: Some(path.into()),
            asset: None,
            test_path: None,
            numbers: Vec::new(),
            categories: Vec::new(),
            fill: None,
            label: label.to_owned(),
            classes: None,
            group: None,
            split: None,
            missing: empty_is_missing(),
            licence: None,
        }
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            path: self.path.as_deref(),
            asset: self.asset.as_deref(),
            test_path: self.test_path.as_deref(),
            missing: &self.missing,
            licence: self.licence.as_deref(),
        }
    }

    fn labelling(&self) -> Labelling<'_> {
        let (group, split) = (self.group.as_deref(), self.split.as_deref());
        Labelling { label: &self.label, classes: self.classes.as_deref(), group, split }
    }
}

/// Rows of numbers and their classes. The input [`HIDDEN`] is `f32 [rows, width]`, the target [`CLASS`](crate::CLASS)
/// `u32 [rows]`.
pub struct VectorTable {
    name: String,
    columns: Vec<String>,
    read: Columns,
    /// Row after row.
    values: Vec<f32>,
    labelled: Labels,
    records: Records,
    inputs: Schema,
    hash: String,
    licence: Option<String>,
}

impl VectorTable {
    /// Reads the rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the options are wrong; [`Error::Data`] with file and row when a
    /// value is no number or missing, and for what is wrong with labels, groups and parts.
    pub fn open(o: &Options, cx: &BuildCx<'_>) -> Result<Self> {
        check(o)?;
        let inputs = o.numbers.iter().chain(&o.categories).map(String::as_str);
        let tables = o.origin().read(cx, &inputs.chain(o.labelling().columns()).collect::<Vec<_>>())?;
        let marks = o.labelling().read(&tables)?;
        let mut parts = Vec::new();
        let numbers = o.numbers.iter().map(|name| number(name, o.fill, &marks, &mut parts));
        let numbers = numbers.collect::<Result<_>>()?;
        let categories = o.categories.iter().map(|name| category(name, &marks, &mut parts));
        let categories = categories.collect::<Result<_>>()?;
        let read = Columns::Vector { numbers, categories, missing: o.missing.clone() };
        let values = (0..marks.len()).flat_map(|row| parts.iter().map(move |(_, column)| column[row])).collect();
        let columns: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
        let records = Records::new(&tables, &marks)?;
        let contradicting = contradicting(o, &marks)?;
        let mut labelled = marks.finish()?;
        labelled.findings.extend(contradicting);
        Self::with(o, read, columns, values, (labelled, records))
    }

    fn with(
        o: &Options,
        read: Columns,
        columns: Vec<String>,
        values: Vec<f32>,
        (labelled, records): (Labels, Records),
    ) -> Result<Self> {
        let mut hash = Sha256::new();
        labelled.add_to(&mut hash);
        hash.update(format!("{columns:?}"));
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        let inputs = BTreeMap::from([(HIDDEN.to_owned(), Field::Vector { width: columns.len() })]);
        let (hash, licence) = (hex(&hash.finalize()), o.origin().licence());
        Ok(Self { name: o.origin().name(), columns, read, values, labelled, records, inputs, hash, licence })
    }

    /// How many rows there are, all roles together.
    pub fn rows(&self) -> u64 {
        self.labelled.labels.len() as u64
    }

    /// What each value of a row is: `age`, `age is missing`, `colour = red`.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

impl fmt::Debug for VectorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorTable").field("name", &self.name).field("columns", &self.columns).finish_non_exhaustive()
    }
}

fn check(o: &Options) -> Result<(), Invalid> {
    o.origin().check()?;
    if o.numbers.is_empty() && o.categories.is_empty() {
        return Err(Invalid::key("numbers", "is empty, as `categories` is: a row needs at least one column"));
    }
    if let Some(name) = o.numbers.iter().find(|name| o.categories.contains(name)) {
        return Err(Invalid::key("categories", format!("names `{name}`, which is one of `numbers`")));
    }
    o.labelling().check(("numbers", &o.numbers), o.test_path.as_deref())?;
    o.labelling().check(("categories", &o.categories), o.test_path.as_deref())
}

/// Tells of rows with the same cells and different labels.
fn contradicting(o: &Options, marks: &Marks<'_>) -> Result<Option<Finding>> {
    let key = |(table, row): (&Table, usize)| -> Result<Vec<Option<String>>> {
        let mut cells = Vec::new();
        for name in &o.numbers {
            cells.push(table.column(name)?[row].as_ref().and_then(Cell::number).map(|n| n.to_string()));
        }
        for name in &o.categories {
            cells.push(table.column(name)?[row].as_ref().and_then(|c| Some(c.word()?.into_owned())));
        }
        Ok(cells)
    };
    let keys = marks.places().map(|place| key(place).map(Some)).collect::<Result<Vec<_>>>()?;
    let names: Vec<String> = marks.places().map(|(table, row)| table.row_name(row)).collect();
    let (classes, labels) = marks.classes()?;
    Ok(contradictions(keys, &labels, &classes.names, &|row| names[row].clone()))
}

/// What each value of a row is, and the value in every row.
type Parts = Vec<(String, Vec<f32>)>;

/// Adds a column of numbers, and the one that says which of them were missing.
fn number(name: &str, fill: Option<Fill>, marks: &Marks<'_>, columns: &mut Parts) -> Result<NumberColumn> {
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
        read.push(Some(number_of(cell).map_err(fault)?));
    }
    let there = read.iter().enumerate().filter(|(row, _)| marks.is_trained_on(*row)).filter_map(|(_, n)| *n);
    let (sum, count) = there.fold((0., 0u64), |(sum, count), n| (sum + n, count + 1));
    let filled = match fill {
        Some(Fill::Mean) if count > 0 => sum / count as f64,
        _ => 0.,
    };
    columns.push((name.to_owned(), read.iter().map(|n| n.unwrap_or(filled) as f32).collect()));
    if fill.is_some() {
        let missing = read.iter().map(|n| if n.is_none() { 1. } else { 0. });
        columns.push((format!("{name} is missing"), missing.collect()));
    }
    Ok(NumberColumn { name: name.to_owned(), fill: fill.map(|_| filled as f32) })
}

/// Adds a column for each level of a category.
fn category(name: &str, marks: &Marks<'_>, columns: &mut Parts) -> Result<CategoryColumn> {
    let mut read = Vec::with_capacity(marks.len());
    for (table, row) in marks.places() {
        let word = |cell: &crate::table::Cell| {
            category_of(cell).map_err(|e| table.fault(row, format!("column `{name}`: {e}")))
        };
        read.push(table.column(name)?[row].as_ref().map(word).transpose()?);
    }
    let levels: BTreeSet<&str> = read.iter().flatten().map(String::as_str).collect();
    if let Some((table, _)) = marks.places().next().filter(|_| levels.is_empty()) {
        return Err(Error::data(table.file(), None, format!("column `{name}`: no row has a category")));
    }
    for &level in &levels {
        let is_level = read.iter().map(|word| if word.as_deref() == Some(level) { 1. } else { 0. });
        columns.push((format!("{name} = {level}"), is_level.collect()));
    }
    Ok(CategoryColumn { name: name.to_owned(), levels: levels.into_iter().map(str::to_owned).collect() })
}

impl Dataset for VectorTable {
    fn inputs(&self) -> &Schema {
        &self.inputs
    }

    fn targets(&self) -> &Schema {
        &self.labelled.targets
    }

    fn roles(&self) -> &Roles {
        &self.labelled.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.labelled.classes_of(&self.name, target)
    }

    fn groups(&self) -> Option<&[u64]> {
        self.labelled.groups.as_deref()
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let targets = self.labelled.targets_of(&self.name, rows)?;
        let width = self.columns.len();
        let values = rows.iter().flat_map(|row| &self.values[*row as usize * width..][..width]).copied().collect();
        let values = Tensor::from_vec(values, (rows.len(), width), &Device::Cpu)?;
        Ok(Batch::new(Acts::hidden(values), targets, rows.to_vec()))
    }

    fn content_hash(&self) -> String {
        self.hash.clone()
    }

    fn findings(&self) -> Vec<Finding> {
        self.labelled.findings.clone()
    }

    fn columns(&self) -> Option<Columns> {
        Some(self.read.clone())
    }

    fn record_hash(&self, row: u64) -> Option<Fingerprint> {
        self.records.hash(row)
    }

    fn licence(&self) -> Option<String> {
        self.licence.clone()
    }
}

impl Component<dyn Dataset> for VectorTable {
    const TYPE: &'static str = "table";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        check(o)
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        o.origin().rows_key(o.labelling(), base)
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::open(&o, cx)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Seeds;

    fn with(content: &str, change: impl FnOnce(&mut Options)) -> Result<VectorTable> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.csv"), content).unwrap();
        let mut o = Options::new("t.csv", "y");
        (o.numbers, o.categories) = (vec!["b".into(), "a".into()], vec!["c".into()]);
        o.missing.push("?".into());
        change(&mut o);
        let plugins = Plugins::new();
        VectorTable::open(&o, &BuildCx { plugins: &plugins, base: folder.path(), seeds: Seeds::new(0) })
    }

    const ROWS: &str = "a,b,c,s,y\n1,-0.5,red,train,u\n3,?,blue,train,v\n100,8,?,test,u\n?,2.5,red,train,\n";

    #[test]
    fn missing_numbers_are_filled_from_rows_that_are_trained_on() -> Result<()> {
        let t = with(ROWS, |o| (o.fill, o.split) = (Some(Fill::Mean), Some("s".into())))?;
        assert_eq!(t.columns(), ["b", "b is missing", "a", "a is missing", "c = blue", "c = red"]);
        assert_eq!(t.inputs()[HIDDEN], Field::Vector { width: 6 });
        assert_eq!((t.rows(), &t.roles().pool[..], &t.roles().test[..]), (4, &[0, 1, 3][..], &[2][..]));
        let batch = t.batch(&[3, 1, 2])?;
        let rows = [[2.5, 0., 2., 1., 0., 1.], [1., 1., 3., 0., 1., 0.], [8., 0., 100., 0., 0., 0.]];
        assert_eq!(batch.inputs.get(HIDDEN)?.to_vec2::<f32>()?, rows);
        assert_eq!(batch.target("class")?.present.as_ref().unwrap().to_vec1::<f32>()?, [0., 1., 1.]);
        let zero = with(ROWS, |o| o.fill = Some(Fill::Zero))?.batch(&[1])?;
        assert_eq!(zero.inputs.get(HIDDEN)?.to_vec2::<f32>()?, [[0., 1., 3., 0., 1., 0.]]);
        assert!(t.batch(&[4]).unwrap_err().to_string().contains("row 4: no such row"));
        Ok(())
    }

    #[test]
    fn a_record_is_known_by_other_columns() -> Result<()> {
        let plain = |o: &mut Options| o.fill = Some(Fill::Zero);
        let (whole, one) = (with(ROWS, plain)?, with(ROWS, |o| o.numbers = vec!["a".into()]).err());
        assert!(one.is_some(), "a number is missing");
        let other = with(ROWS, |o| (o.numbers, o.categories) = (Vec::new(), vec!["c".into()]))?;
        assert!((0..4).all(|row| whole.record_hash(row).is_some() && whole.record_hash(row) == other.record_hash(row)));
        assert_ne!(whole.record_hash(0), whole.record_hash(1));
        assert_ne!(whole.record_hash(0), with(&ROWS.replace("100", "101"), plain)?.record_hash(0), "another file");
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named_with_key_or_row() {
        let said = |content: &str, change: fn(&mut Options)| with(content, change).unwrap_err().to_string();
        let e = said(ROWS, |_| ());
        assert!(e.contains("t.csv, row 1: line 3: column `b`: has no number; `fill` says"), "{e}");
        for (word, says) in
            [("one", "`one` is no number"), ("nan", "`nan` is no number"), ("1e39", "`1e39` is no number")]
        {
            let e = said(&format!("a,b,c,y\n{word},1,x,u\n"), |_| ());
            assert!(e.contains("row 0: line 2: column `a`: ") && e.contains(says), "{e}");
        }
        assert!(said(ROWS, |o| (o.numbers, o.categories) = (vec![], vec![])).starts_with("numbers: is empty"));
        assert!(said(ROWS, |o| o.categories = vec!["a".into()]).starts_with("categories: names `a`"));
        assert!(said(ROWS, |o| o.numbers = vec!["y".into()]).starts_with("numbers: names `y`"));
        assert!(said(ROWS, |o| o.categories = vec!["y".into()]).starts_with("categories: names `y`"));
    }

    #[test]
    fn the_hash_follows_the_values_and_options_come_back_the_same() -> Result<()> {
        let hash = |content: &str| Ok::<_, Error>(with(content, |o| o.fill = Some(Fill::Zero))?.content_hash());
        assert_eq!(hash(ROWS)?, hash(&ROWS.replace(",train,", ",none,"))?);
        assert_ne!(hash(ROWS)?, hash(&ROWS.replace("100", "101"))?);
        let o: Options = serde_json::from_str(r#"{"path": "t.csv", "label": "y", "fill": "mean"}"#).unwrap();
        let mut full = serde_json::to_value(&o).unwrap();
        full.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        let again: Options = serde_json::from_value(full).unwrap();
        assert_eq!(serde_json::to_value(&o).unwrap(), serde_json::to_value(&again).unwrap());
        Ok(())
    }
}
