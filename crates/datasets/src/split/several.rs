//! Draws by numbers, and by several targets.

use std::collections::BTreeSet;

use super::*;
use crate::{LabelColumn, VectorTable, VectorTableOptions};
use transplant_core::{BuildCx, Plugins};

/// Forty rows: `n` is a number in all but the last four, `y` a class in every second of the first twenty; groups of two.
fn table(grouped: bool) -> Arc<dyn Dataset> {
    let row = |i: usize| {
        let n = if i < 36 { i.to_string() } else { String::new() };
        let y = if i < 20 && i.is_multiple_of(2) { ["a", "b"][i / 2 % 2] } else { "" };
        format!("{i},{n},{y},{}\n", i / 2)
    };
    let content = format!("x,n,y,g\n{}", (0..40).map(row).collect::<String>());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), content).unwrap();
    let mut o = VectorTableOptions::new("t.csv", "");
    (o.label, o.numbers) = (None, vec!["x".to_owned()]);
    o.labels.insert("size".to_owned(), LabelColumn::numbers("n"));
    o.labels.insert("kind".to_owned(), LabelColumn::classes("y"));
    o.group = grouped.then(|| "g".to_owned());
    let plugins = Plugins::new();
    let cx = BuildCx { plugins: &plugins, base: folder.path(), seeds: Seeds::new(0) };
    Arc::new(VectorTable::open(&o, &cx).unwrap())
}

fn draw(grouped: bool, targets: &[&str], draw: Draw) -> Result<Parts> {
    draw.parts_of(&table(grouped), targets, Seeds::new(3))
}

const ALL: Draw = Draw { labels_per_class: None, labels_in_all: None, validation: 0., draw: 0 };

#[test]
fn numbers_are_drawn_alike() -> Result<()> {
    let p = draw(false, &["size"], ALL)?;
    assert_eq!(p.train.rows(), (0..36).collect::<Vec<_>>());
    let told = "4 of the 40 rows that may be learned from have no label `size`, and are not learned from";
    assert_eq!(p.note.as_deref(), Some(told));
    let p = draw(false, &["size"], Draw { labels_in_all: Some(20), validation: 0.25, ..ALL })?;
    assert_eq!((p.train.rows().len(), p.validation_rows().len(), p.unlabelled.rows().len()), (15, 5, 20));
    let few = draw(false, &["size"], Draw { labels_in_all: Some(10), ..ALL })?;
    let many = draw(false, &["size"], Draw { labels_in_all: Some(30), ..ALL })?;
    assert!(few.train.rows().iter().all(|row| many.train.rows().contains(row)), "budgets nest");
    let other = draw(false, &["size"], Draw { labels_in_all: Some(10), draw: 1, ..ALL })?;
    assert_ne!(few.train.rows(), other.train.rows());
    Ok(())
}

#[test]
fn no_group_of_numbers_crosses_validation() -> Result<()> {
    for number in 0..20 {
        for labels_in_all in [None, Some(20)] {
            let p = draw(true, &["size"], Draw { labels_in_all, validation: 0.3, draw: number, ..ALL })?;
            let of = |rows: &[u64]| rows.iter().map(|row| row / 2).collect::<BTreeSet<_>>();
            assert!(!p.validation_rows().is_empty());
            assert!(of(p.train.rows()).is_disjoint(&of(p.validation_rows())));
        }
    }
    Ok(())
}

#[test]
fn rows_with_any_label_are_drawn() -> Result<()> {
    let p = draw(false, &["kind", "size"], ALL)?;
    let told = "4 of the 40 rows that may be learned from have no label `kind` or `size`, and are not learned from";
    assert_eq!((p.train.rows().len(), p.note.as_deref()), (36, Some(told)));
    let one = draw(false, &["kind"], ALL)?;
    assert_eq!(one.train.rows(), (0..10).map(|i| i * 2).collect::<Vec<_>>());
    // Four of each class, as one task draws them, and four that have a number alone.
    let four = Draw { labels_per_class: Some(4), ..ALL };
    let (several, one) = (draw(false, &["size", "kind"], four)?, draw(false, &["kind"], four)?);
    let classes = table(false).classes_of("kind")?;
    let (with, without): (Vec<u64>, Vec<u64>) =
        several.train.rows().iter().partition(|row| classes[**row as usize].is_some());
    assert_eq!((with.as_slice(), without.len()), (one.train.rows(), 4));
    let in_all = draw(false, &["kind", "size"], Draw { labels_in_all: Some(30), ..ALL })?;
    assert_eq!(in_all.train.rows().len(), 30);
    Ok(())
}

#[test]
fn wrong_budgets_are_named() {
    let said = |targets: &[&str], draw_: Draw| draw(false, targets, draw_).unwrap_err().to_string();
    let per_class = Draw { labels_per_class: Some(2), ..ALL };
    let e = said(&["size"], per_class);
    assert!(e.starts_with("labels_per_class: counts labels of classes, and `size` has none"), "{e}");
    let e = said(&["size"], Draw { labels_in_all: Some(37), ..ALL });
    assert_eq!(e, "labels_in_all: the pool has 36 labelled rows, and 37 are asked for (ask for at most 36)");
    assert!(said(&["size"], Draw { labels_in_all: Some(0), ..ALL }).starts_with("labels_in_all: must be at least 1"));
    assert!(said(&["kind"], Draw { labels_in_all: Some(5), ..per_class }).starts_with("labels_in_all: says how many"));
}
