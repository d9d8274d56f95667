//! `text_table`: texts from one or more columns of a CSV, TSV, JSONL or Parquet file, with classes or numbers as labels.
//!
//! Columns that are not named are never read: what stands beside a text (the stars of a review) often gives its label away.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use transplant_core::{
    Acts, Batch, BuildCx, Columns, Component, Dataset, Error, Fact, Field, Finding, Fingerprint, Invalid, Plugins,
    Result, Roles, Schema, TEXT,
};

use super::domain_column::DomainColumn;
use super::dropped::{Dropped, first_of_each, retain};
use super::images::hex;
use super::label_columns::LabelColumn;
use super::labelling::{Labelling, Labels};
use super::tables::{Origin, Records, empty_is_missing};
use crate::findings::contradictions;
use crate::table::Table;

/// Texts and their labels, classes or numbers, from a file of CSV, TSV, JSONL or Parquet.
///
/// The file is a `path` or an `asset` of the catalogue. Rows without a label are kept and unlabelled. The test part is the
/// rows that `split` calls so, or the file `test_path`; without either there is none. Parquet needs the cargo feature
/// `parquet`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, its kind told by its end; a relative path starts at the pipeline file.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Instead of a path the name of an asset that is a table, such as `womens_clothing_reviews`.
    #[serde(default)]
    pub asset: Option<String>,
    /// A second file of the same columns: its rows are the test part.
    #[serde(default)]
    pub test_path: Option<PathBuf>,
    /// The columns of the text, joined by a line break; one that is missing in a row is passed over.
    pub text: Vec<String>,
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
    /// text becomes; without it a hash of its text.
    #[serde(default)]
    pub id: Option<String>,
    /// The words of CSV and TSV that are missing values; in JSONL and Parquet it is null.
    #[serde(default = "empty_is_missing")]
    pub missing: Vec<String>,
    /// Whether rows without text are left out; otherwise they are an error.
    #[serde(default)]
    pub drop_empty: bool,
    /// Whether a text that is there again is left out. A row of the test part is kept rather than one of another part.
    #[serde(default)]
    pub drop_duplicates: bool,
    /// Under which terms the file may be used; it is noted with what is made from it.
    #[serde(default)]
    pub licence: Option<String>,
}

impl Options {
    /// A file with its columns of text and label, all else by default.
    pub fn new(path: impl Into<PathBuf>, text: &[&str], label: &str) -> Self {
        Self {
            path: Some(path.into()),
            asset: None,
            test_path: None,
            text: text.iter().map(|t| (*t).to_owned()).collect(),
            label: Some(label.to_owned()),
            labels: BTreeMap::new(),
            classes: None,
            group: None,
            domain: None,
            split: None,
            id: None,
            missing: empty_is_missing(),
            drop_empty: false,
            drop_duplicates: false,
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

/// Texts and their classes. The input [`TEXT`] is `u8 [rows, bytes]`, UTF-8 filled up with zeros to the longest of the
/// rows, the targets are those of `labels`, with `label` [`CLASS`](crate::CLASS): classes `u32 [rows]`, numbers `f32 [rows]`.
pub struct TextTable {
    name: String,
    texts: Vec<String>,
    labelled: Labels,
    columns: Columns,
    records: Records,
    inputs: Schema,
    hash: String,
    licence: Option<String>,
    dropped: Dropped,
    findings: Vec<Finding>,
}

impl TextTable {
    /// Reads the texts.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the options are wrong; [`Error::Data`] with file and row when a text is missing or holds a zero
    /// byte, and for what is wrong with labels, groups and parts.
    pub fn open(o: &Options, cx: &BuildCx<'_>) -> Result<Self> {
        check(o)?;
        let columns: Vec<&str> = o.text.iter().map(String::as_str).chain(o.labelling().columns()).collect();
        let tables = o.origin().read(cx, &columns)?;
        let mut marks = o.labelling().read(&tables)?;
        let mut texts = marks.places().map(|(table, row)| text_of(table, row, &o.text)).collect::<Result<Vec<_>>>()?;

        let mut dropped = Dropped::default();
        let kept: Vec<bool> = texts.iter().map(|text| !text.trim().is_empty()).collect();
        if let Some(row) = kept.iter().position(|kept| !kept).filter(|_| !o.drop_empty)
            && let Some((table, row)) = marks.places().nth(row)
        {
            return Err(table.fault(row, "has no text; `drop_empty = true` leaves such rows out"));
        }
        dropped.empty = retain(&mut texts, &mut marks, &kept);
        let name = o.origin().name();
        if texts.is_empty() {
            return Err(Error::data(&name, None, "has no row with a text"));
        }
        let names: Vec<String> = marks.places().map(|(table, row)| table.row_name(row)).collect();
        let mut contradicting = marks.find(|labels, classes| {
            let keys = texts.iter().map(|text| Some(text.as_str()));
            contradictions(keys, labels, classes, &|row| names[row].clone())
        })?;
        if o.drop_duplicates {
            let kept = first_of_each(&texts, &marks);
            dropped.duplicates = retain(&mut texts, &mut marks, &kept);
        }
        let records = Records::new(&tables, &marks)?;
        let labelled = marks.finish()?;
        for found in contradicting.iter_mut().filter(|_| o.drop_duplicates) {
            found.message += "; `drop_duplicates` keeps one of each, test rows before labelled ones before others, of those the first";
        }
        let findings = dropped.finding().into_iter().chain(contradicting).chain(labelled.findings.clone()).collect();
        let mut hash = Sha256::new();
        labelled.add_to(&mut hash);
        for text in &texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let inputs = BTreeMap::from([(TEXT.to_owned(), Field::Text)]);
        let (hash, licence) = (hex(&hash.finalize()), o.origin().licence());
        let columns = Columns::Text { columns: o.text.clone(), missing: o.missing.clone() };
        Ok(Self { name, texts, labelled, columns, records, inputs, hash, licence, dropped, findings })
    }

    /// How many rows there are, all roles together.
    pub fn rows(&self) -> u64 {
        self.texts.len() as u64
    }

    /// The text of every row.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// How many rows of the file were left out.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

impl fmt::Debug for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTable").field("name", &self.name).field("rows", &self.texts.len()).finish_non_exhaustive()
    }
}

fn check(o: &Options) -> Result<(), Invalid> {
    o.origin().check()?;
    if o.text.is_empty() {
        return Err(Invalid::key("text", "must name at least one column"));
    }
    o.labelling().check(("text", &o.text), o.test_path.as_deref())
}

/// The parts of a row's text that are there, each on a line of its own.
pub(super) fn text_of(table: &Table, row: usize, columns: &[String]) -> Result<String> {
    let mut text = String::new();
    for name in columns {
        let fault = |message: String| table.fault(row, format!("column `{name}`: {message}"));
        let Some(cell) = &table.column(name)?[row] else { continue };
        let word = cell.word().ok_or_else(|| fault(format!("holds {}, where a text is expected", cell.kind())))?;
        if word.contains('\0') {
            return Err(fault("the text holds a zero byte, which marks the end of one".to_owned()));
        }
        if !word.is_empty() && !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&word);
    }
    Ok(text)
}

impl Dataset for TextTable {
    fn inputs(&self) -> &Schema {
        &self.inputs
    }

    fn targets(&self) -> &Schema {
        self.labelled.targets.schema()
    }

    fn roles(&self) -> &Roles {
        &self.labelled.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.labelled.targets.classes_of(&self.name, target)
    }

    fn numbers_of(&self, target: &str) -> Result<Vec<Option<f32>>> {
        self.labelled.targets.numbers_of(&self.name, target)
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.labelled.fact(name)
    }

    fn groups(&self) -> Option<&[u64]> {
        self.labelled.groups.as_deref()
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let targets = self.labelled.targets.of(&self.name, rows)?;
        let texts: Vec<&[u8]> = rows.iter().map(|row| self.texts[*row as usize].as_bytes()).collect();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(1);
        let mut bytes = vec![0u8; rows.len() * longest];
        for (place, text) in bytes.chunks_mut(longest).zip(&texts) {
            place[..text.len()].copy_from_slice(text);
        }
        let bytes = Tensor::from_vec(bytes, (rows.len(), longest), &Device::Cpu)?;
        Ok(Batch::new(Acts::new().with(TEXT, bytes), targets, rows.to_vec()))
    }

    fn content_hash(&self) -> String {
        self.hash.clone()
    }

    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        Some(Sha256::digest(self.texts.get(row as usize)?).into())
    }

    fn row_name(&self, row: u64) -> Option<String> {
        self.labelled.row_name(row, self.fingerprint(row))
    }

    fn group_key(&self, row: u64) -> Option<Fingerprint> {
        self.labelled.group_key(row)
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    fn columns(&self) -> Option<Columns> {
        Some(self.columns.clone())
    }

    fn record_hash(&self, row: u64) -> Option<Fingerprint> {
        self.records.hash(row)
    }

    fn licence(&self) -> Option<String> {
        self.licence.clone()
    }
}

impl Component<dyn Dataset> for TextTable {
    const TYPE: &'static str = "text_table";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        check(o)
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        let key = o.origin().rows_key(o.labelling(), base);
        // Which rows are left out depends on the columns.
        if o.drop_empty || o.drop_duplicates { json!([key, o.text, o.drop_empty, o.drop_duplicates]) } else { key }
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::open(&o, cx)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use transplant_core::{FindingKind, Seeds};

    fn open(folder: &Path, o: &Options) -> Result<TextTable> {
        let plugins = Plugins::new();
        TextTable::open(o, &BuildCx { plugins: &plugins, base: folder, seeds: Seeds::new(0) })
    }

    /// A file `t.csv` and what is made of it.
    fn with(content: &str, change: impl FnOnce(&mut Options)) -> Result<TextTable> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.csv"), content).unwrap();
        std::fs::write(folder.path().join("test.csv"), "title,text,stars,y\n,one,9,b\n,five,9,a\n,six,,a\n").unwrap();
        let mut o = Options::new("t.csv", &["title", "text"], "y");
        change(&mut o);
        open(folder.path(), &o)
    }

    const REVIEWS: &str = "title,text,stars,y\nA,one,5,b\n,zwei ü,4,a\n,one,3,\nA,one,1,b\n,,2,a\n,one,,a\n";

    #[test]
    fn a_batch_holds_the_texts_filled_up_with_zeros() -> Result<()> {
        let t = with(REVIEWS, |o| o.drop_empty = true)?;
        assert_eq!((t.rows(), t.dropped()), (5, Dropped { empty: 1, duplicates: 0 }));
        assert_eq!(t.texts(), ["A\none", "zwei ü", "one", "A\none", "one"]);
        assert_eq!((t.roles().pool.len(), t.roles().test.len(), t.groups()), (5, 0, None));
        let batch = t.batch(&[1, 2])?;
        let bytes = batch.inputs.get(TEXT)?.to_vec2::<u8>()?;
        assert_eq!(bytes, ["zwei ü".as_bytes(), b"one\0\0\0\0"]);
        assert_eq!(batch.inputs.iter().count(), 1);
        assert_eq!(batch.target("class")?.present.as_ref().unwrap().to_vec1::<f32>()?, [1., 0.]);
        assert_eq!(t.batch(&[2])?.inputs.get(TEXT)?.dims(), [1, 3]);
        assert_eq!(t.batch(&[])?.inputs.get(TEXT)?.dims()[0], 0);
        assert!(t.batch(&[5]).unwrap_err().to_string().contains("t.csv, row 5: no such row"));
        Ok(())
    }

    #[test]
    fn of_the_same_texts_a_test_row_then_a_labelled_row_is_kept() -> Result<()> {
        let drop = |o: &mut Options| (o.drop_empty, o.drop_duplicates) = (true, true);
        let t = with(REVIEWS, drop)?;
        assert_eq!(t.texts(), ["A\none", "zwei ü", "one"]);
        assert_eq!(t.classes_of("class")?, [Some(1), Some(0), Some(0)]);
        assert_eq!(t.dropped(), Dropped { empty: 1, duplicates: 2 });
        let t = with(REVIEWS, |o| {
            drop(o);
            o.test_path = Some("test.csv".into());
        })?;
        assert_eq!(t.texts(), ["A\none", "zwei ü", "one", "five", "six"]);
        assert_eq!((&t.roles().pool[..], &t.roles().test[..]), (&[0, 1][..], &[2, 3, 4][..]));
        Ok(())
    }

    #[test]
    fn equal_texts_with_other_labels_are_told() -> Result<()> {
        let rows = "title,text,y\n,one,a\n,two,b\n,one,b\n,two,b\n,three,a\n";
        let told = |t: &TextTable| t.findings().into_iter().map(|f| (f.kind, f.message)).collect::<Vec<_>>();
        let both = "2 rows equal another one that has a different label, of which nothing can learn both: \
                    (line 2 is `a`, line 4 is `b`)";
        assert_eq!(told(&with(rows, |_| ())?), [(FindingKind::ContradictingLabels, both.to_owned())]);
        let told = told(&with(rows, |o| o.drop_duplicates = true)?);
        assert_eq!(told[0], (FindingKind::UnusedRows, "left out: 2 duplicates".to_owned()));
        assert_eq!(told[1].0, FindingKind::ContradictingLabels);
        assert!(told[1].1.starts_with(both) && told[1].1.contains("`drop_duplicates` keeps one of each"), "{told:?}");
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named_with_key_or_row() {
        let said = |content: &str, change: fn(&mut Options)| with(content, change).unwrap_err().to_string();
        let e = said(REVIEWS, |_| ());
        assert!(e.contains("t.csv, row 4: line 6: has no text; `drop_empty = true`"), "{e}");
        let e = said("title,text,y\na,b\0c,1\n", |_| ());
        assert!(e.contains("row 0: line 2: column `text`: the text holds a zero byte"), "{e}");
        let e = said("title,text,y\n,,1\n", |o| o.drop_empty = true);
        assert!(e.contains("t.csv: has no row with a text"), "{e}");
        assert!(said(REVIEWS, |o| o.label = Some("why".into())).contains("has no column `why`"));
        assert!(said(REVIEWS, |o| o.text.clear()).starts_with("text: must name"));
        assert!(said(REVIEWS, |o| o.text.push("y".into())).starts_with("text: names `y`"));
        assert!(said(REVIEWS, |o| o.path = None).starts_with("path: is missing"));
    }

    #[test]
    fn the_hash_follows_what_is_read_and_nothing_else() -> Result<()> {
        let hash = |content: &str| Ok::<_, Error>(with(content, |o| o.drop_empty = true)?.content_hash());
        let first = hash(REVIEWS)?;
        assert_eq!(first, hash(&REVIEWS.replace(",5,", ",1,"))?);
        assert_ne!(first, hash(&REVIEWS.replace("zwei", "drei"))?);
        assert_ne!(first, hash(&REVIEWS.replace(",3,\n", ",3,a\n"))?);
        Ok(())
    }

    #[test]
    fn options_left_out_come_back_the_same() {
        let given = serde_json::json!({"path": "t.csv", "text": ["a"], "label": "y"});
        let o: Options = serde_json::from_value(given).unwrap();
        let mut full = serde_json::to_value(&o).unwrap();
        full.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        assert_eq!(full["missing"], serde_json::json!([""]));
        let again: Options = serde_json::from_value(full).unwrap();
        assert_eq!(serde_json::to_value(&o).unwrap(), serde_json::to_value(&again).unwrap());
    }

    /// Counts by pandas 3.1.1: 23,486 rows, 22,641 texts, 22,634 different ones (18,534 recommended) of 1,177 clothes.
    #[test]
    #[ignore = "fetches 22 MB"]
    fn the_reviews_are_those_that_pandas_reads() -> Result<()> {
        let mut o = Options::new("", &["Review Text"], "Recommended IND");
        (o.path, o.asset) = (None, Some("womens_clothing_reviews".to_owned()));
        let said = open(Path::new("."), &o).unwrap_err().to_string();
        assert!(said.contains("row 92: has no text"), "{said}");
        o.drop_empty = true;
        let t = open(Path::new("."), &o)?;
        assert_eq!((t.rows(), t.dropped()), (22_641, Dropped { empty: 845, duplicates: 0 }));
        (o.drop_duplicates, o.group) = (true, Some("Clothing ID".to_owned()));
        let t = open(Path::new("."), &o)?;
        assert_eq!((t.rows(), t.dropped()), (22_634, Dropped { empty: 845, duplicates: 7 }));
        let clothes: std::collections::BTreeSet<_> = t.groups().unwrap().iter().collect();
        assert_eq!((clothes.len(), clothes.last()), (1_177, Some(&&1_176)));
        let labels = t.classes_of("class")?;
        assert_eq!(labels.iter().filter(|l| **l == Some(1)).count(), 18_534);
        assert!(labels.iter().all(Option::is_some));
        assert_eq!(t.targets()["class"], Field::Class { names: vec!["0".to_owned(), "1".to_owned()] });
        assert_eq!(t.licence().as_deref(), Some("CC0-1.0"));
        Ok(())
    }
}
