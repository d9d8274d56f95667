//! `table`: numbers and categories from columns of a CSV, TSV, JSONL or Parquet file, with classes or numbers as labels.
//!
//! Numbers stay as they are: `standardise` brings them to one scale. Columns that are not named are never read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use transplant_core::{
    Acts, Batch, BuildCx, CategoryColumn, Columns, Component, Dataset, Error, Fact, Field, Finding, Fingerprint,
    HIDDEN, Invalid, NumberColumn, Plugins, Result, Roles, Schema,
};

use super::categories::Categories;
use super::domain_column::DomainColumn;
use super::images::hex;
use super::label_columns::LabelColumn;
use super::labelling::Labelling;
use super::read_table::{Read, column_findings, numbers};
use super::tables::{Origin, Records, empty_is_missing};

/// Rows of numbers and categories with labels, classes or numbers, from a file of CSV, TSV, JSONL or Parquet.
///
/// A row is a vector: the `numbers` in their order, each followed by its indicator where `fill` is given, then for each
/// of the `categories` a one among zeros for its level, sorted by text. Levels are those of the pool, from which draws
/// and budgets choose; a missing category, or one that only test rows have, is all zeros.
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
    /// The column of the label, a text or a number: short for the target `class` alone.
    #[serde(default)]
    pub label: Option<String>,
    /// Instead of `label` several targets by name, or one of numbers: each the name of its column, or a table of `column`,
    /// `as` (`class` or `number`) and, for classes, `classes`. A cell that is missing is a label that is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, LabelColumn>,
    /// Names and order of the classes of `label`; without it the labels that are there, numbers by size, others by text. A label that is the
    /// same number as one of them, `1.0` beside `1`, belongs to it. Of two classes the second is the one that is looked for.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// The column of the group; no group stands on both sides of a split.
    #[serde(default)]
    pub group: Option<String>,
    /// The column of the domain, or a table of `column` and `cuts`, where a number is cut into ranges: `[36]` makes the domains
    /// `below 36` and `36 and above`. Streams and tests take rows of the domains that they name.
    #[serde(default)]
    pub domain: Option<DomainColumn>,
    /// The column that says `train`, `validation` or `test`.
    #[serde(default)]
    pub split: Option<String>,
    /// The column of the row's name, by which outputs name it and `divide = "hashed"` keeps it on its side whatever its
    /// cells become; without it a hash of its cells.
    #[serde(default)]
    pub id: Option<String>,
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
    /// The mean of the numbers that are there in the rows that are learned from.
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
            label: Some(label.to_owned()),
            labels: BTreeMap::new(),
            classes: None,
            group: None,
            domain: None,
            split: None,
            id: None,
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
        let (group, domain) = (self.group.as_deref(), self.domain.as_ref());
        let (split, id) = (self.split.as_deref(), self.id.as_deref());
        let label = self.label.as_deref();
        Labelling { label, labels: &self.labels, classes: self.classes.as_deref(), group, domain, split, id }
    }
}

/// Rows of numbers and their labels. The input [`HIDDEN`] is `f32 [rows, width]`, the targets are those of `labels`, with
/// `label` [`CLASS`](crate::CLASS): classes `u32 [rows]`, numbers `f32 [rows]`.
///
/// Means and levels are those of the pool until [`Dataset::fitted`] fits them to the rows of a cell.
pub struct VectorTable {
    read: Arc<Read>,
    /// What stands for a missing number, by column of numbers.
    fills: Vec<f32>,
    /// The levels that have a column, by column of categories: places among its words.
    levels: Vec<Vec<usize>>,
    columns: Vec<String>,
    inputs: Schema,
    /// What there is to tell of the rows that it is fitted to.
    findings: Vec<Finding>,
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
        let number = |name: &String| Ok((name.clone(), numbers(name, o.fill, &marks)?));
        let numbers: Vec<_> = o.numbers.iter().map(number).collect::<Result<_>>()?;
        let categories: Vec<_> =
            o.categories.iter().map(|name| Categories::read(name, &marks)).collect::<Result<_>>()?;
        let records = Records::new(&tables, &marks)?;
        let of_columns = column_findings((&o.numbers, &o.categories), &marks)?;
        let mut labelled = marks.finish()?;
        labelled.findings.extend(of_columns);
        labelled.findings.extend(categories.iter().flat_map(Categories::findings));
        let mut hash = Sha256::new();
        labelled.add_to(&mut hash);
        hash.update(format!("{:?}", (o.fill, &o.numbers, &o.categories)));
        let (name, licence) = (o.origin().name(), o.origin().licence());
        let (fill, missing) = (o.fill, o.missing.clone());
        let hash_so_far = String::new();
        let mut read = Read { name, fill, numbers, categories, missing, labelled, records, hash: hash_so_far, licence };
        (0..read.labelled.targets.rows()).for_each(|row| read.add_to(row, &mut hash));
        read.hash = hex(&hash.finalize());
        let pool = read.labelled.roles.pool.clone();
        Self::of(Arc::new(read), &pool, &pool)
    }

    /// The rows with means of those that are learned from, and a column for each level that the pool has.
    fn of(read: Arc<Read>, pool: &[u64], learned: &[u64]) -> Result<Self> {
        let (mut fills, mut levels) = (Vec::new(), Vec::new());
        for (_, values) in &read.numbers {
            fills.push(if read.fill == Some(Fill::Mean) { Read::mean(values, learned) } else { 0. });
        }
        for Categories { name, of, .. } in &read.categories {
            let there: BTreeSet<usize> = pool.iter().filter_map(|row| of[*row as usize]).collect();
            if there.is_empty() {
                let message = format!("column `{name}`: no row that may be learned from has a category");
                return Err(Error::data(&read.name, None, message));
            }
            levels.push(there.into_iter().collect());
        }
        let findings = read.without_numbers(learned);
        let mut out = Self { read, fills, levels, columns: Vec::new(), inputs: BTreeMap::new(), findings };
        out.columns = out.read_as().values();
        out.inputs.insert(HIDDEN.to_owned(), Field::Vector { width: out.columns.len() });
        Ok(out)
    }

    /// How many rows there are, all roles together.
    pub fn rows(&self) -> u64 {
        self.read.labelled.targets.rows() as u64
    }

    /// What each value of a row is: `age`, `age is missing`, `colour = red`.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How a row of the table becomes a row here.
    fn read_as(&self) -> Columns {
        let of = self.read.numbers.iter().zip(&self.fills);
        let number = |((name, _), fill): (&(String, _), &f32)| NumberColumn {
            name: name.clone(),
            fill: self.read.fill.map(|_| *fill),
        };
        let numbers = of.map(number).collect();
        let category = |(column, levels): (&Categories, &Vec<usize>)| CategoryColumn {
            name: column.name.clone(),
            levels: levels.iter().map(|level| column.words[*level].clone()).collect(),
        };
        let categories = self.read.categories.iter().zip(&self.levels).map(category).collect();
        Columns::Vector { numbers, categories, missing: self.read.missing.clone() }
    }

    /// Adds the values of a row.
    fn add(&self, row: usize, out: &mut Vec<f32>) {
        for ((_, values), fill) in self.read.numbers.iter().zip(&self.fills) {
            out.push(values[row].unwrap_or(*fill));
            out.extend(self.read.fill.map(|_| if values[row].is_none() { 1. } else { 0. }));
        }
        for (category, levels) in self.read.categories.iter().zip(&self.levels) {
            out.extend(levels.iter().map(|level| if category.of[row] == Some(*level) { 1. } else { 0. }));
        }
    }
}

impl fmt::Debug for VectorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorTable")
            .field("name", &self.read.name)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
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

impl Dataset for VectorTable {
    fn inputs(&self) -> &Schema {
        &self.inputs
    }

    fn targets(&self) -> &Schema {
        self.read.labelled.targets.schema()
    }

    fn roles(&self) -> &Roles {
        &self.read.labelled.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.read.labelled.targets.classes_of(&self.read.name, target)
    }

    fn numbers_of(&self, target: &str) -> Result<Vec<Option<f32>>> {
        self.read.labelled.targets.numbers_of(&self.read.name, target)
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.read.labelled.fact(name)
    }

    fn groups(&self) -> Option<&[u64]> {
        self.read.labelled.groups.as_deref()
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let targets = self.read.labelled.targets.of(&self.read.name, rows)?;
        let width = self.columns.len();
        let mut values = Vec::with_capacity(rows.len() * width);
        rows.iter().for_each(|row| self.add(*row as usize, &mut values));
        let values = Tensor::from_vec(values, (rows.len(), width), &Device::Cpu)?;
        Ok(Batch::new(Acts::hidden(values), targets, rows.to_vec()))
    }

    fn content_hash(&self) -> String {
        self.read.hash.clone()
    }

    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        if row >= self.rows() {
            return None;
        }
        let mut hash = Sha256::new();
        self.read.add_to(row as usize, &mut hash);
        Some(hash.finalize().into())
    }

    fn row_name(&self, row: u64) -> Option<String> {
        self.read.labelled.row_name(row, self.fingerprint(row))
    }

    fn group_key(&self, row: u64) -> Option<Fingerprint> {
        self.read.labelled.group_key(row)
    }

    fn column_names(&self) -> &[String] {
        &self.columns
    }

    fn fitted(&self, pool: &[u64], learned: &[u64]) -> Result<Option<Arc<dyn Dataset>>> {
        if self.read.fill != Some(Fill::Mean) && self.read.categories.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Self::of(self.read.clone(), pool, learned)?)))
    }

    fn findings(&self) -> Vec<Finding> {
        [self.read.labelled.findings.as_slice(), &self.findings].concat()
    }

    fn columns(&self) -> Option<Columns> {
        Some(self.read_as())
    }

    fn record_hash(&self, row: u64) -> Option<Fingerprint> {
        self.read.records.hash(row)
    }

    fn licence(&self) -> Option<String> {
        self.read.licence.clone()
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
    fn means_and_levels_are_those_of_the_rows_given() -> Result<()> {
        let t = with("a,b,c,y\n1,1,red,u\n3,?,blue,v\n8,100,green,u\n", |o| o.fill = Some(Fill::Mean))?;
        assert_eq!(t.columns().len(), 7);
        let fitted = t.fitted(&[0, 1], &[0])?.unwrap();
        assert_eq!(fitted.column_names(), ["b", "b is missing", "a", "a is missing", "c = blue", "c = red"]);
        let rows = [[1., 1., 3., 0., 1., 0.], [100., 0., 8., 0., 0., 0.]];
        assert_eq!(fitted.batch(&[1, 2])?.inputs.get(HIDDEN)?.to_vec2::<f32>()?, rows);
        assert_eq!((fitted.content_hash(), fitted.fingerprint(1)), (t.content_hash(), t.fingerprint(1)));
        let e = t.fitted(&[], &[]).err().unwrap().to_string();
        assert!(e.contains("t.csv: column `c`: no row that may be learned from has a category"), "{e}");
        let plain = with(ROWS.lines().next().map(|h| format!("{h}\n1,2,x,train,u\n")).unwrap().as_str(), |o| {
            o.categories.clear();
        })?;
        assert!(plain.fitted(&[0], &[0])?.is_none(), "nothing is fitted");
        Ok(())
    }

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
        assert_eq!((t.fingerprint(4), t.row_name(4), t.row_name(0).map(|n| n.len())), (None, None, Some(16)));
        let named = with(ROWS, |o| (o.fill, o.id) = (Some(Fill::Mean), Some("s".into())))?;
        assert_eq!(named.row_name(2).as_deref(), Some("test"));
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
