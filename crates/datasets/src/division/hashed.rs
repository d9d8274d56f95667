//! Rows that are added move none that was there, whatever kind of data set they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use transplant_core::{BuildCx, Component, Plugins};

use super::*;
use crate::{ImageFolder, ImageManifest, Images, Layout, TextTable, VectorTable};

/// What tells a row: two rows of one number are copies, whose files have other names.
type Content = u16;

const SHARE: f64 = 0.3;

fn picture(content: Content) -> Vec<u8> {
    [b"P5 2 1 255\n".as_slice(), &content.to_le_bytes()].concat()
}

fn built<C: Component<dyn Dataset>>(folder: &Path, options: Value) -> Arc<dyn Dataset> {
    let plugins = Plugins::new();
    let options: C::Options = serde_json::from_value(options).unwrap();
    C::build(options, &BuildCx { plugins: &plugins, base: folder, seeds: Seeds::new(0) }).unwrap().into()
}

/// A table with a line a row, whose name is that of `content`, and whose group that of `content / 3`.
fn table(folder: &Path, rows: &[Content]) {
    let line = |(i, c): (usize, &Content)| format!("{i}.pgm,{c},{},text {c},{},g{},k{c}\n", c % 7, c % 2, c / 3);
    let lines: String = rows.iter().enumerate().map(line).collect();
    std::fs::write(folder.join("t.csv"), format!("file,a,c,text,y,g,id\n{lines}")).unwrap();
}

fn numbers(folder: &Path, more: &Value) -> Arc<dyn Dataset> {
    let options = json!({"path": "t.csv", "numbers": ["a"], "categories": ["c"], "label": "y"});
    built::<VectorTable>(folder, with(options, more))
}

fn texts(folder: &Path, more: &Value) -> Arc<dyn Dataset> {
    built::<TextTable>(folder, with(json!({"path": "t.csv", "text": ["text"], "label": "y"}), more))
}

fn manifest(folder: &Path, rows: &[Content], more: &Value) -> Arc<dyn Dataset> {
    table(folder, rows);
    for (i, content) in rows.iter().enumerate() {
        std::fs::write(folder.join(format!("{i}.pgm")), picture(*content)).unwrap();
    }
    let options = json!({"path": "t.csv", "picture": "file", "label": "y", "height": 1, "width": 2, "channels": 1});
    built::<ImageManifest>(folder, with(options, more))
}

fn with(mut options: Value, more: &Value) -> Value {
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

type Make = fn(&Path, &[Content]) -> Arc<dyn Dataset>;

/// Every kind of data set that may be divided, with the rows of these contents, in this order where it has one of its
/// own.
const KINDS: [(&str, Make); 10] = [
    ("image_folder", |folder, rows| {
        for (i, content) in rows.iter().enumerate() {
            let class = folder.join(format!("{}", content % 2));
            std::fs::create_dir_all(&class).unwrap();
            // Names that stand before and between those that were there.
            std::fs::write(class.join(format!("{:04x}-{i}.pgm", content.wrapping_mul(40_503))), picture(*content))
                .unwrap();
        }
        built::<ImageFolder>(folder, json!({"folder": ".", "height": 1, "width": 2, "channels": 1}))
    }),
    ("image_manifest", |folder, rows| manifest(folder, rows, &json!({}))),
    ("image_manifest, grouped", |folder, rows| manifest(folder, rows, &json!({"group": "g"}))),
    ("table", |folder, rows| {
        table(folder, rows);
        numbers(folder, &json!({}))
    }),
    ("table, named", |folder, rows| {
        table(folder, rows);
        numbers(folder, &json!({"id": "id"}))
    }),
    ("table, grouped", |folder, rows| {
        table(folder, rows);
        numbers(folder, &json!({"group": "g", "id": "id"}))
    }),
    ("text_table", |folder, rows| {
        table(folder, rows);
        texts(folder, &json!({}))
    }),
    ("text_table, named", |folder, rows| {
        table(folder, rows);
        texts(folder, &json!({"id": "id"}))
    }),
    ("text_table, grouped", |folder, rows| {
        table(folder, rows);
        texts(folder, &json!({"group": "g"}))
    }),
    ("images of a program", |_, rows| {
        let layout =
            Layout { name: "toy".into(), shape: [1, 1, 2], highest: 255, classes: vec!["0".into(), "1".into()] };
        let labels = rows.iter().map(|content| Some(u32::from(content % 2))).collect();
        let pixels = rows.iter().flat_map(|content| content.to_le_bytes()).collect();
        let roles = Roles { pool: (0..rows.len() as u64).collect(), ..Roles::default() };
        Arc::new(Images::new(layout, labels, pixels, roles).unwrap())
    }),
];

/// The side of each content: copies have one.
fn sides(make: Make, rows: &[Content]) -> BTreeMap<Vec<u8>, bool> {
    let folder = tempfile::tempdir().unwrap();
    let dataset = make(folder.path(), rows);
    let divided = Division::Hashed(SHARE).of(&dataset, Some("class")).unwrap();
    let mut out = BTreeMap::new();
    for (tested, rows) in [(false, &divided.roles().pool), (true, &divided.roles().test)] {
        for (row, key) in rows.iter().zip(contents(dataset.as_ref(), rows).unwrap()) {
            let before = out.insert(key.to_vec(), tested);
            assert!(before.is_none_or(|side| side == tested), "row {row} and a copy of it stand on two sides");
        }
    }
    out
}

#[test]
fn rows_that_are_added_move_none() {
    let old: Vec<Content> = (0..90).collect();
    let new: Vec<Content> = (400..460).chain([3, 50, 50, 77]).collect();
    for (name, make) in KINDS {
        let before = sides(make, &old);
        assert_eq!(before.len(), 90, "{name}");
        let tested = before.values().filter(|tested| **tested).count();
        assert!((10..=48).contains(&tested), "{name}: {tested} of 90");
        let mut shuffled = [old.as_slice(), &new].concat();
        shuffled.shuffle(&mut Seeds::new(1).stream("test", &[]));
        for rows in [[old.as_slice(), &new].concat(), [new.as_slice(), &old].concat(), shuffled] {
            let after = sides(make, &rows);
            let moved: BTreeSet<_> = before.iter().filter(|(key, side)| after[*key] != **side).collect();
            assert!(moved.is_empty(), "{name}: {} of 90 rows moved", moved.len());
            assert_eq!(after.len(), 150, "{name}");
        }
    }
}

#[test]
fn rows_with_a_name_stay_when_cells_change() {
    for (name, make) in [("table", numbers as fn(&Path, &Value) -> Arc<dyn Dataset>), ("text_table", texts)] {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Content> = (0..90).collect();
        table(folder.path(), &rows);
        let test = |options: Value| {
            Division::Hashed(SHARE).of(&make(folder.path(), &options), Some("class")).unwrap().roles().test.clone()
        };
        let (named, unnamed) = (test(json!({"id": "id"})), test(json!({})));
        let file = folder.path().join("t.csv");
        let mut lines: Vec<String> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        for line in &mut lines[1..] {
            let cells: Vec<&str> = line.split(',').collect();
            *line = format!(
                "{},1{},{},a {},{},{},{}",
                cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]
            );
        }
        std::fs::write(&file, lines.join("\n")).unwrap();
        assert_eq!(test(json!({"id": "id"})), named, "{name}");
        assert_ne!(test(json!({})), unnamed, "{name}: without a name a row is what is in it");
    }
}

#[test]
fn rows_of_a_group_stand_on_one_side() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Content> = (0..90).collect();
    let dataset = manifest(folder.path(), &rows, &json!({"group": "g"}));
    let divided = Division::Hashed(SHARE).of(&dataset, None).unwrap();
    let groups = |rows: &[u64]| rows.iter().map(|row| row / 3).collect::<BTreeSet<_>>();
    assert!(groups(&divided.roles().pool).is_disjoint(&groups(&divided.roles().test)));
    assert_eq!(dataset.row_name(4).as_deref(), Some("4.pgm"));
    assert_eq!(divided.row_name(4), dataset.row_name(4));
}
