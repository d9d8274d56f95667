use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// What pandas and pyarrow say is in a file: `tests/goldens/generate_tables.py`.
fn expected(name: &str) -> Vec<(String, Vec<Value>)> {
    let text = std::fs::read_to_string(golden(name)).unwrap();
    let columns: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    columns.into_iter().map(|(name, values)| (name, values.as_array().unwrap().clone())).collect()
}

/// Reads the expected columns of a file and compares words with words, numbers with numbers.
fn compare(file: &str, expected: &[(String, Vec<Value>)]) {
    let wanted: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let table = Table::read(&golden(file), &wanted, &[String::new()]).unwrap();
    for (name, values) in expected {
        let column = table.column(name).unwrap();
        assert_eq!(column.len(), values.len());
        for (cell, value) in column.iter().zip(values) {
            let same = match value {
                Value::Null => cell.is_none(),
                Value::Number(n) => cell.as_ref().and_then(Cell::number) == n.as_f64(),
                other => cell.as_ref().and_then(Cell::word).as_deref() == other.as_str(),
            };
            assert!(same, "{file}, {name}: {cell:?}, not {value}");
        }
    }
}

#[test]
fn one_table_is_the_same_in_csv_tsv_and_jsonl() {
    for ending in ["csv", "tsv", "jsonl"] {
        compare(&format!("people.{ending}"), &expected("people.json"));
    }
}

fn write(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn said(name: &str, content: impl AsRef<[u8]>, wanted: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let e = Table::read(&write(&folder, name, content), wanted, &[]).unwrap_err();
    assert!(matches!(e, Error::Data { .. } | Error::NoColumn { .. }), "{e}");
    let e = e.to_string();
    assert!(e.contains(name), "{e}");
    e
}

#[test]
fn damage_in_csv_and_tsv_is_named_with_its_line() {
    for (content, says) in [
        (&b"a,b\n1,2\n\"x\ny\",2\n1,2,3\n"[..], "line 5: 3 fields where the header names 2 columns"),
        (b"a,b\r\n1,2\r\n\r\n1\r\n", "line 4: 1 fields where the header names 2 columns"),
        (b"a,b\n1,2\n\xff,2\n", "line 3: is not UTF-8"),
        (b"a\xff,b\n1,2\n", "line 1: is not UTF-8"),
        (b"a,b\n\n1,\"2\n3,4\n", "line 3: a quoted field that is not closed"),
        (b"b,\"a\n1,2\n", "line 1: a quoted field that is not closed"),
        (b"", "is empty: its first line should name the columns"),
        (b"a,b\n", "has no rows"),
        (b"a,b,a\n1,2,3\n", "has two columns with the name `a`"),
        (b"text,b\n1,2\n", "has no column `a` (there are `text`, `b`)"),
    ] {
        let e = said("t.csv", content, &["a"]);
        assert!(e.contains(says), "{e}");
    }
    let e = said("t.tsv", "label\ttext\n1\t2\n", &["lable"]);
    assert!(e.contains("has no column `lable` (did you mean `label`?)"), "{e}");
    assert!(said("t.tsv", "a,b\n1,2\n", &["a"]).contains("`a,b`"));
}

#[test]
fn an_optional_column_may_be_absent() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("t.csv", "a,b\n1,2\n3,4\n"), ("t.jsonl", "{\"a\": \"1\"}\n{\"a\": \"3\", \"b\": 1}\n")] {
        let file = write(&folder, name, content);
        let table = Table::read_with(&file, &["a"], &["id", "a"], &[])?;
        assert_eq!(table.column("id")?, [None, None]);
        assert_eq!(table.column("a")?[1], Some(Cell::Text("3".to_owned())));
        let parsed = Table::parse(Path::new("-"), content.as_bytes(), &["a"], &["id"], &[])?;
        assert_eq!((parsed.rows(), parsed.column("a")?), (2, table.column("a")?));
        assert_eq!(parsed.line(1), table.line(1));
    }
    let with_mark = Table::parse(Path::new("-"), b"\xef\xbb\xbf\n{\"a\": 1}\n", &["a"], &[], &[])?;
    assert_eq!(with_mark.line(0), Some(2));
    Ok(())
}

#[test]
fn another_delimiter_is_told() {
    let e = said("t.csv", "text;label\na;b\n", &["text"]);
    assert!(
        e.contains("has no column `text` (it has one column, `text;label`: its fields seem to be separated by `;`"),
        "{e}"
    );
    assert!(said("t.csv", "text\tlabel\na\tb\n", &["text"]).contains("separated by tabs"));
}

#[test]
fn damage_in_jsonl_is_named_with_its_line() {
    for (content, says) in [
        (&b"{\"a\": 1}\n\n{\"a\": 1,}\n"[..], "line 3: character 9: trailing comma"),
        (b"{\"a\": 1}\n[1]\n", "line 2: character 0: invalid type: sequence, expected an object with the columns"),
        (b"{\"a\": 1} {\"a\": 2}\n", "line 1: character 10: trailing characters"),
        (b"{\"a\": 1}\n{\"a\": \"\xff\"}\n", "line 2: character"),
        (b"{\"a\": 1, \"a\": 2}\n", "the key `a` is there twice"),
        (b"{\"a\": [1]}\n", "line 1: column `a`: holds a list"),
        (b"{\"b\": 1}\n{\"c\": 1}\n", "has no column `a` (there are `b`, `c`)"),
        (b"{\"aa\": 1}\n", "did you mean `aa`?"),
        (b"\n \n", "has no rows"),
    ] {
        let e = said("t.jsonl", content, &["a"]);
        assert!(e.contains(says), "{e}");
    }
}

#[test]
fn only_declared_words_are_missing_and_rows_know_their_line() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "t.csv", "\u{feff}a,b,,\n1,NA,,\n\"multi\nline\",,,\n\nnull, NA,,\n");
    let words = |missing: &[&str]| -> Result<Vec<Option<String>>> {
        let missing: Vec<_> = missing.iter().map(|m| (*m).to_owned()).collect();
        let table = Table::read(&file, &["b", "a", "b"], &missing)?;
        assert_eq!((table.rows(), table.names.len()), (3, 2));
        let word = |cell: &Option<Cell>| cell.as_ref().and_then(Cell::word).map(|w| w.into_owned());
        assert_eq!(word(&table.column("a")?[1]).as_deref(), Some("multi\nline"));
        assert!(table.fault(2, "is odd").to_string().ends_with("t.csv, row 2: line 6: is odd"));
        assert!(table.column("c").is_err());
        Ok(table.column("b")?.iter().map(word).collect())
    };
    let some = |w: &str| Some(w.to_owned());
    assert_eq!(words(&[])?, [some("NA"), some(""), some(" NA")]);
    assert_eq!(words(&["", "NA"])?, [None, None, some(" NA")]);
    let file = write(&folder, "t.jsonl", "{\"a\": null, \"b\": \"\"}\n{\"b\": true}\n{\"a\": {\"x\": 1.5}, \"b\": -1}");
    let table = Table::read(&file, &["a", "b"], &[String::new()])?;
    let pair = Cell::Struct(vec![("x".to_owned(), Some(Cell::Number(1.5)))]);
    assert_eq!(table.column("a")?, [None, None, Some(pair)]);
    assert_eq!(table.column("b")?, [Some(Cell::Text(String::new())), Some(Cell::Truth(true)), Some(Cell::Integer(-1))]);
    Ok(())
}

#[test]
fn the_kind_is_told_by_the_name() {
    for (name, format) in [
        ("a.csv", Some(Format::Separated(b','))),
        ("a.TSV", Some(Format::Separated(b'\t'))),
        ("a.ndjson", Some(Format::Jsonl)),
        ("a.parquet.brotli", Some(Format::Parquet)),
        ("csv", None),
        ("a.xlsx", None),
    ] {
        assert_eq!(Format::from_name(Path::new(name)).ok(), format, "{name}");
    }
    let e = Table::read(Path::new("a.xlsx"), &["a"], &[]).unwrap_err().to_string();
    assert!(e.contains("`a.xlsx` is no table") && e.contains(".parquet.brotli"), "{e}");
    assert!(matches!(Table::read(Path::new("nowhere.csv"), &["a"], &[]), Err(Error::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_quoted_comes_back(rows in prop::collection::vec(prop::array::uniform2("[a\",\t\r\n ü]{0,6}"), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        for (name, delimiter) in [("t.csv", ','), ("t.tsv", '\t')] {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let mut text = format!("x{delimiter}y\n");
            rows.iter().for_each(|[x, y]| text += &format!("{}{delimiter}{}\n", quoted(x), quoted(y)));
            let table = Table::read(&write(&folder, name, text), &["y", "x"], &[]).unwrap();
            for (i, [x, y]) in rows.iter().enumerate() {
                prop_assert_eq!(&table.column("x").unwrap()[i], &Some(Cell::Text(x.clone())));
                prop_assert_eq!(&table.column("y").unwrap()[i], &Some(Cell::Text(y.clone())));
            }
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(content in prop::collection::vec(prop::sample::select(&b"a,\"\n\r\t{}:[]1\\\xff"[..]), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["t.csv", "t.tsv", "t.jsonl"] {
            let _ = Table::read(&write(&folder, name, &content), &["a"], &[]);
        }
    }
}

#[test]
#[cfg_attr(feature = "parquet", ignore = "needs a build without the cargo feature `parquet`")]
fn a_light_build_says_what_it_lacks() {
    let e = Table::read(&golden("people_none.parquet"), &["id"], &[]).unwrap_err();
    assert!(matches!(e, Error::Unsupported(_)), "{e}");
    assert!(e.to_string().contains("needs the cargo feature `parquet`"), "{e}");
}

mod of_parquet {
    use super::*;

    #[test]
    #[cfg_attr(not(feature = "parquet"), ignore = "needs the cargo feature `parquet`")]
    fn one_table_is_the_same_under_every_codec() {
        for kind in ["none", "snappy", "gzip", "brotli", "zstd", "lz4", "v2"] {
            compare(&format!("people_{kind}.parquet"), &expected("people.json"));
        }
    }

    #[test]
    #[cfg_attr(not(feature = "parquet"), ignore = "needs the cargo feature `parquet`")]
    fn plain_types_and_structs_of_them_are_read() -> Result<()> {
        compare("types.parquet", &expected("types.json"));
        let table = Table::read(&golden("types.parquet"), &["bytes", "pair", "single"], &[])?;
        let bytes = |b: &[u8]| Some(Cell::Bytes(b.to_vec()));
        assert_eq!(table.column("bytes")?, [bytes(b"\xff\x00"), bytes(b"ok"), None]);
        let pair = |b: Option<Cell>, path: &str| {
            let path = Some(Cell::Text(path.to_owned()));
            Some(Cell::Struct(vec![("bytes".to_owned(), b), ("path".to_owned(), path)]))
        };
        assert_eq!(table.column("pair")?, [pair(bytes(&[1]), "a.png"), None, pair(None, "b.png")]);
        assert!(table.fault(1, "is odd").to_string().ends_with("types.parquet, row 1: is odd"));
        Ok(())
    }

    #[test]
    #[cfg_attr(not(feature = "parquet"), ignore = "needs the cargo feature `parquet`")]
    fn other_types_are_refused_only_when_asked_for() {
        for (column, says) in [
            ("list", "column `list`: holds lists"),
            ("deep", "column `deep`: holds lists, maps or structs in structs"),
            ("day", "column `day`: holds values of the type Date"),
            ("moment", "column `moment`: holds values of the type Timestamp"),
            ("money", "column `money`: holds values of the type Decimal"),
            ("truht", "has no column `truht` (did you mean `truth`?)"),
        ] {
            let e = Table::read(&golden("types.parquet"), &[column], &[]).unwrap_err().to_string();
            assert!(e.contains("types.parquet: ") && e.contains(says), "{e}");
        }
    }

    #[test]
    #[cfg_attr(not(feature = "parquet"), ignore = "needs the cargo feature `parquet`")]
    fn a_damaged_file_is_an_error_or_read_but_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let whole = std::fs::read(golden("people_snappy.parquet")).unwrap();
        let read =
            |content: &[u8]| Table::read(&write(&folder, "t.parquet", content), &["id", "name", "score", "town"], &[]);
        assert_eq!(read(&whole).unwrap().rows(), 5);
        for end in (0..whole.len()).step_by(61) {
            let e = read(&whole[..end]).unwrap_err();
            assert!(e.to_string().contains("t.parquet: is no whole Parquet file"), "{e}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut other = whole.clone();
            other[at] ^= 0x55;
            if let Err(e) = read(&other) {
                assert!(matches!(e, Error::Data { .. } | Error::NoColumn { .. }), "{e}");
            }
        }
    }
}
