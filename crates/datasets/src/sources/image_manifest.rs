//! `image_manifest`: pictures that a table lists, each brought to one size, with classes or numbers as labels.
//!
//! The table is CSV, TSV, JSONL or Parquet. A picture is the path of a file, its bytes, or both as the Hugging Face `datasets`
//! library writes them: a struct `{bytes, path}`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use transplant_core::{BuildCx, Component, Dataset, Filter, Fit, Frame, Invalid, Plugins, Result};

use super::damaged::Damaged;
use super::domain_column::DomainColumn;
use super::image_folder::{channels, memory_mb, white};
use super::label_columns::LabelColumn;
use super::labelling::Labelling;
use super::pictures::{Picture, PictureSet, Pictures};
use super::tables::{Origin, empty_is_missing};
use crate::table::{Cell, Table};

/// Pictures listed in a CSV, TSV, JSONL or Parquet file, each brought to one size.
///
/// Rows without a label are kept and unlabelled. The test part is the rows that `split` calls so, or the file `test_path`;
/// without either there is none. Parquet needs the cargo feature `parquet`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The table, its kind told by its end; a relative path starts at the pipeline file.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Instead of a path the name of an asset that is a table.
    #[serde(default)]
    pub asset: Option<String>,
    /// A second table of the same columns: its rows are the test part.
    #[serde(default)]
    pub test_path: Option<PathBuf>,
    /// The column of the picture: a path that starts at the table's folder, bytes, or a struct of `bytes` and `path`.
    pub picture: String,
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
    /// The column of the row's name, by which outputs name it; without it the path of the picture.
    #[serde(default)]
    pub id: Option<String>,
    /// The words of CSV and TSV that are missing values; in JSONL and Parquet it is null.
    #[serde(default = "empty_is_missing")]
    pub missing: Vec<String>,
    /// Rows of pixels that each picture is brought to.
    pub height: usize,
    /// Columns of pixels that each picture is brought to.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    #[serde(default = "channels")]
    pub channels: usize,
    /// What is done with pictures of other proportions.
    #[serde(default)]
    pub fit: Fit,
    /// How pixels are computed from those of the picture.
    #[serde(default)]
    pub filter: Filter,
    /// Red, green and blue behind transparent pixels and around padded pictures, 0 to 255.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// What is done about pictures that cannot be decoded; one whose file is not there is always an error.
    #[serde(default)]
    pub damaged: Damaged,
    /// Megabytes of decoded pictures that stay in memory; others are decoded again for each batch.
    #[serde(default = "memory_mb")]
    pub memory_mb: u64,
    /// Under which terms the pictures may be used; it is noted with what is made from them.
    #[serde(default)]
    pub licence: Option<String>,
}

impl Options {
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

    fn frame(&self) -> Frame {
        let Self { height, width, channels, fit, filter, background, .. } = *self;
        Frame { height, width, channels, fit, filter, background }
    }
}

/// A table of pictures.
#[derive(Debug)]
pub struct ImageManifest;

impl ImageManifest {
    /// Reads the table and decodes each picture once.
    ///
    /// # Errors
    /// [`transplant_core::Error::Invalid`] when the options are wrong; [`transplant_core::Error::Data`] with table and row when
    /// a picture is missing or its file is not there, and for what is wrong with labels, groups, parts and pictures.
    pub fn open(o: &Options, cx: &BuildCx<'_>) -> Result<Pictures> {
        check(o)?;
        let columns: Vec<&str> = std::iter::once(o.picture.as_str()).chain(o.labelling().columns()).collect();
        let tables = o.origin().read(cx, &columns)?;
        let marks = o.labelling().read(&tables)?;
        let pictures =
            marks.places().map(|(table, row)| picture(table, row, &o.picture)).collect::<Result<Vec<_>>>()?;
        let labels = marks.finish()?;
        let ids = labels.ids.into_iter().flatten().map(Some).chain(std::iter::repeat(None));
        let called = |(picture, id): (Picture, Option<String>)| match id {
            Some(id) => picture.called(id),
            None => picture,
        };
        let set = PictureSet {
            name: o.origin().name(),
            frame: o.frame(),
            pictures: pictures.into_iter().zip(ids).map(called).collect(),
            labels: Vec::new(),
            classes: Vec::new(),
            roles: labels.roles,
            groups: labels.groups,
            group_names: labels.group_names,
            domain: labels.domain,
            licence: o.origin().licence(),
            damaged: Some(o.damaged),
            memory_mb: o.memory_mb,
        };
        Ok(Pictures::with_targets(set, labels.targets)?.with_findings(labels.findings))
    }
}

fn check(o: &Options) -> Result<(), Invalid> {
    o.origin().check()?;
    o.labelling().check(("picture", std::slice::from_ref(&o.picture)), o.test_path.as_deref())?;
    o.frame().check()
}

/// The picture of a row; its file has to be there.
fn picture(table: &Table, row: usize, column: &str) -> Result<Picture> {
    let fault = |message: String| table.fault(row, format!("column `{column}`: {message}"));
    let cell = table.column(column)?[row].as_ref().ok_or_else(|| fault("has no picture".to_owned()))?;
    let member = |name: &str| match cell {
        Cell::Struct(members) => members.iter().find(|(n, _)| n == name).and_then(|(_, cell)| cell.as_ref()),
        _ => None,
    };
    match (member("bytes"), member("path"), cell) {
        (Some(Cell::Bytes(bytes)), ..) | (None, None, Cell::Bytes(bytes)) => {
            Ok(Picture::bytes(format!("{}, row {row}", table.file().display()), bytes.as_slice()))
        }
        (None, Some(Cell::Text(path)), _) | (None, None, Cell::Text(path)) => {
            let file = table.file().parent().unwrap_or(Path::new("")).join(path);
            if !file.is_file() {
                return Err(fault(format!("there is no file {}", file.display())));
            }
            Ok(Picture::file(file).called(path))
        }
        (None, None, Cell::Struct(_)) => Err(fault("the struct has neither `bytes` nor `path`".to_owned())),
        (Some(cell), ..) | (_, Some(cell), _) | (.., cell) => {
            Err(fault(format!("holds {}, where a picture is expected", cell.kind())))
        }
    }
}

impl Component<dyn Dataset> for ImageManifest {
    const TYPE: &'static str = "image_manifest";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        check(o)
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        let key = o.origin().rows_key(o.labelling(), base);
        // Which rows are left out depends on the pictures.
        if o.damaged == Damaged::Skip { json!([key, o.picture]) } else { key }
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::open(&o, cx)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CLASS;
    use serde_json::{Value, json};
    use transplant_core::{HIDDEN, Roles, Seeds};

    /// A folder with a table and three grey pictures of one pixel.
    fn folder(name: &str, content: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("p")).unwrap();
        for grey in [0, 51, 102] {
            let content = [b"P5 1 1 255\n".as_slice(), &[grey]].concat();
            std::fs::write(folder.path().join(format!("p/{grey}.pgm")), content).unwrap();
        }
        std::fs::write(folder.path().join(name), content).unwrap();
        folder
    }

    fn open(folder: &Path, more: Value) -> Result<Pictures> {
        let mut all = json!({"picture": "file", "label": "y", "height": 1, "width": 1, "channels": 1});
        let Value::Object(more) = more else { panic!() };
        all.as_object_mut().unwrap().extend(more);
        let options: Options = serde_json::from_value(all).unwrap();
        let plugins = Plugins::new();
        ImageManifest::open(&options, &BuildCx { plugins: &plugins, base: folder, seeds: Seeds::new(0) })
    }

    fn values(pictures: &Pictures, rows: &[u64]) -> Vec<f32> {
        pictures.batch(rows).unwrap().inputs.get(HIDDEN).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    const ROWS: &str = "file,y,s,g\np/51.pgm,b,train,1\np/0.pgm,,train,1\np/102.pgm,a,test,2\n";

    #[test]
    fn pictures_are_found_beside_the_table() -> Result<()> {
        let folder = folder("sub.csv", ROWS);
        let pictures = open(folder.path(), json!({"path": "sub.csv", "split": "s", "group": "g"}))?;
        assert_eq!(values(&pictures, &[2, 0, 1]), [0.4, 0.2, 0.]);
        assert_eq!(pictures.classes_of(CLASS)?, [Some(1), None, Some(0)]);
        assert_eq!(*pictures.roles(), Roles { pool: vec![0, 1], test: vec![2], ..Roles::default() });
        assert_eq!(pictures.groups(), Some(&[0, 0, 1][..]));
        let target = pictures.batch(&[1, 2])?.target(CLASS)?.present.as_ref().unwrap().to_vec1::<f32>()?;
        assert_eq!(target, [0., 1.]);
        let fixed = open(folder.path(), json!({"path": "sub.csv", "classes": ["b", "a", "c"]}))?;
        assert_eq!(fixed.classes_of(CLASS)?, [Some(0), None, Some(1)]);
        Ok(())
    }

    #[test]
    fn a_struct_in_jsonl_names_a_file() -> Result<()> {
        let content = "{\"file\": {\"bytes\": null, \"path\": \"p/51.pgm\"}, \"y\": 3}\n";
        let folder = folder("t.jsonl", content);
        assert_eq!(values(&open(folder.path(), json!({"path": "t.jsonl"}))?, &[0]), [0.2]);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named_with_table_row_and_file() {
        let said = |content: &str, more: Value| {
            let folder = folder("t.csv", content);
            let Value::Object(mut all) = more else { panic!() };
            all.entry("path").or_insert(json!("t.csv"));
            open(folder.path(), Value::Object(all)).unwrap_err().to_string()
        };
        let e = said("file,y\np/0.pgm,a\np/7.pgm,a\n", json!({"damaged": "skip"}));
        assert!(e.contains("t.csv, row 1: line 3: column `file`: there is no file ") && e.ends_with("p/7.pgm"), "{e}");
        let e = said("file,y\np,a\n", json!({}));
        assert!(e.contains("row 0: line 2: column `file`: there is no file "), "{e}");
        let e = said("file,y\n,a\n", json!({}));
        assert!(e.contains("row 0: line 2: column `file`: has no picture"), "{e}");
        let e = said("file,y\nt.csv,a\n", json!({}));
        assert!(e.contains("t.csv: 1 of 1 pictures cannot be decoded"), "{e}");
        let e = said(ROWS, json!({"classes": ["a", "c"]}));
        assert!(e.contains("row 0: line 2: label `b` is none of `classes`"), "{e}");
        assert!(said(ROWS, json!({"picture": "files"})).contains("has no column `files` (did you mean `file`?)"));
        assert!(said(ROWS, json!({"picture": "y"})).starts_with("picture: names `y`"));
        assert!(said(ROWS, json!({"height": 0})).starts_with("height: must be"));
        assert!(said(ROWS, json!({"path": "t.xls"})).starts_with("path: `t.xls` is no table"));
    }

    #[test]
    fn options_left_out_come_back_the_same() {
        let given = json!({"path": "t.csv", "picture": "file", "label": "y", "height": 2, "width": 3});
        let o: Options = serde_json::from_value(given).unwrap();
        let mut full = serde_json::to_value(&o).unwrap();
        full.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        let again: Options = serde_json::from_value(full).unwrap();
        assert_eq!(serde_json::to_value(&o).unwrap(), serde_json::to_value(&again).unwrap());
    }

    /// Written by pyarrow with pictures by Pillow: `tests/goldens/generate_tables.py`.
    #[test]
    #[cfg_attr(not(feature = "parquet"), ignore = "needs the cargo feature `parquet`")]
    fn pictures_may_lie_in_parquet() -> Result<()> {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
        let more = json!({"path": "pictures.parquet", "picture": "image", "label": "label", "channels": 3});
        let pictures = open(&goldens, more)?;
        assert_eq!(values(&pictures, &[0, 1, 2]), [1., 0., 0., 0., 1., 0., 0., 0., 1.]);
        assert_eq!(pictures.classes_of(CLASS)?, [Some(1), None, Some(0)]);
        Ok(())
    }
}
