//! What the sources that read a table share: which file it is, and under which terms it may be used.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use transplant_assets::{Asset, Role, Store, find};
use transplant_core::{BuildCx, Error, Fingerprint, Invalid, Result};

use super::folder::one_path;
use super::labelling::{Labelling, Marks};
use crate::table::{Table, check_name, check_readable};

/// The options of a source that say where its rows are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// A file.
    pub(crate) path: Option<&'a Path>,
    /// Or an asset of the catalogue.
    pub(crate) asset: Option<&'a str>,
    /// A second file, whose rows are the test part.
    pub(crate) test_path: Option<&'a Path>,
    /// The words that are missing values.
    pub(crate) missing: &'a [String],
    /// The licence of a file.
    pub(crate) licence: Option<&'a str>,
}

impl Origin<'_> {
    /// Checks the options by themselves.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        for (key, path) in [("path", self.path), ("test_path", self.test_path)] {
            path.map(check_name).transpose().map_err(|e| e.under(key))?;
        }
        match (self.path, self.asset) {
            (Some(_), None) => Ok(()),
            (None, Some(name)) if self.licence.is_some() => {
                Err(Invalid::key("licence", format!("is that of the asset `{name}`, and is not given again")))
            }
            (None, Some(name)) => file_of(name).map(|_| ()),
            (Some(_), Some(_)) => Err(Invalid::key("asset", "is given beside `path`; one of them is the table")),
            (None, None) => Err(Invalid::key("path", "is missing").help("the table is a `path` or an `asset`")),
        }
    }

    /// The table, and that of the test part where there is one. An asset is fetched when it is not there yet.
    ///
    /// # Errors
    /// Those of [`Table::read`], and of the asset store.
    pub(crate) fn read(&self, cx: &BuildCx<'_>, columns: &[&str]) -> Result<Vec<Table>> {
        let mut tables = Vec::new();
        if let Some(name) = self.asset {
            let (asset, file) = file_of(name)?;
            check_readable(Path::new(file)).map_err(|e| e.under("asset"))?;
            let store = Store::at(Store::default_folder()?);
            let fetched = store.fetch(asset, &mut |note| tracing::info!("{note}"))?;
            let path = fetched.path(Role::Table).ok_or_else(|| Error::contract("a fetched table is not there"))?;
            tables.push(Table::read(path, columns, self.missing)?);
        }
        for (key, path) in [("path", self.path), ("test_path", self.test_path)] {
            if let Some(path) = path {
                check_readable(path).map_err(|e| e.under(key))?;
                tables.push(Table::read(&cx.path(path), columns, self.missing)?);
            }
        }
        Ok(tables)
    }

    /// Under which terms the rows may be used, where that is known.
    pub(crate) fn licence(&self) -> Option<String> {
        let of_asset = self.asset.and_then(|name| find(name).ok()).map(|asset| asset.licence.clone());
        of_asset.or_else(|| self.licence.map(str::to_owned))
    }

    /// What tells the records from those of another table, whichever of their columns are inputs.
    pub(crate) fn rows_key(&self, labelling: Labelling<'_>, base: &Path) -> Value {
        let path = |p: Option<&Path>| p.map(|p| one_path(p, base));
        let mut key = json!({
            "table": [path(self.path), self.asset, path(self.test_path)], "missing": self.missing,
            "label": [labelling.label, labelling.group, labelling.split], "classes": labelling.classes,
        });
        if !labelling.labels.is_empty() {
            key["labels"] = json!(labelling.labels);
        }
        key
    }

    /// What the data set is called in errors.
    pub(crate) fn name(&self) -> String {
        self.asset.map(str::to_owned).or_else(|| self.path.map(|p| p.display().to_string())).unwrap_or_default()
    }
}

/// Where each row stands in which file, for [`Dataset::record_hash`](transplant_core::Dataset::record_hash).
#[derive(Debug)]
pub(crate) struct Records {
    files: Vec<Fingerprint>,
    /// The number of the file, and of the record in it.
    places: Vec<(usize, usize)>,
}

impl Records {
    /// The records of the rows that are left.
    ///
    /// # Errors
    /// When a file cannot be read again.
    pub(crate) fn new(tables: &[Table], marks: &Marks<'_>) -> Result<Self> {
        let files = tables.iter().map(Table::content_hash).collect::<Result<_>>()?;
        Ok(Self { files, places: marks.numbers().collect() })
    }

    /// The hash of a row's record.
    pub(crate) fn hash(&self, row: u64) -> Option<Fingerprint> {
        let (file, record) = *self.places.get(usize::try_from(row).ok()?)?;
        let of = Sha256::new().chain_update(self.files[file]).chain_update((record as u64).to_le_bytes());
        Some(of.finalize().into())
    }
}

/// The `missing` of a file that does not say: cells without a character.
pub(crate) fn empty_is_missing() -> Vec<String> {
    vec![String::new()]
}

/// An asset that is a table, and the name of its file.
fn file_of(name: &str) -> Result<(&'static Asset, &'static str), Invalid> {
    let asset = find(name).map_err(|e| Invalid::key("asset", e.to_string()))?;
    match asset.file(Role::Table) {
        Some(file) => Ok((asset, &file.name)),
        None => Err(Invalid::key("asset", format!("`{name}` is no table: {}", asset.about))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Origin<'static> = Origin { path: None, asset: None, test_path: None, missing: &[], licence: None };

    #[test]
    fn a_table_is_a_file_or_an_asset() {
        let file = Some(Path::new("a.csv"));
        let reviews = Some("womens_clothing_reviews");
        for (origin, says) in [
            (NOTHING, "path: is missing"),
            (Origin { path: file, asset: reviews, ..NOTHING }, "asset: is given beside `path`"),
            (Origin { path: Some(Path::new("a.xls")), ..NOTHING }, "path: `a.xls` is no table"),
            (Origin { path: file, test_path: Some(Path::new("b")), ..NOTHING }, "test_path: `b` is no table"),
            (Origin { asset: Some("resnet18"), ..NOTHING }, "asset: `resnet18` is no table: ResNet-18"),
            (Origin { asset: Some("womens_reviews"), ..NOTHING }, "did you mean `womens_clothing_reviews`?"),
            (Origin { asset: reviews, licence: Some("MIT"), ..NOTHING }, "licence: is that of the asset"),
        ] {
            let e = origin.check().unwrap_err().to_string();
            assert!(e.contains(says), "{e}");
        }
        assert!(Origin { path: file, licence: Some("MIT"), ..NOTHING }.check().is_ok());
        let asset = Origin { asset: reviews, ..NOTHING };
        assert!(asset.check().is_ok());
        assert_eq!((asset.licence().as_deref(), asset.name()), (Some("CC0-1.0"), "womens_clothing_reviews".to_owned()));
    }
}
