//! Classes, groups, parts and names of the rows of small tables.

use super::*;
use std::path::Path;
use transplant_core::FindingKind;

static NO_LABELS: BTreeMap<String, LabelColumn> = BTreeMap::new();

const LABEL: Labelling<'static> =
    Labelling { label: Some("y"), labels: &NO_LABELS, classes: None, group: None, domain: None, split: None, id: None };

/// The classes of the only target, and that of each row.
fn classes(labels: &Labels) -> (Vec<String>, Vec<Option<u32>>) {
    let (names, labels) = labels.targets.only_class().unwrap();
    (names.to_vec(), labels.to_vec())
}

fn tables(contents: &[&str], columns: &[&str]) -> Vec<Table> {
    let folder = tempfile::tempdir().unwrap();
    let read = |(i, content): (usize, &&str)| {
        let path = folder.path().join(format!("{i}.csv"));
        std::fs::write(&path, content).unwrap();
        Table::read(&path, columns, &[String::new()]).unwrap()
    };
    contents.iter().enumerate().map(read).collect()
}

fn finish(labelling: Labelling<'_>, contents: &[&str]) -> Result<Labels> {
    let columns: Vec<_> = labelling.columns().collect();
    labelling.read(&tables(contents, &columns))?.finish()
}

#[test]
fn classes_are_sorted_as_numbers_or_as_texts() -> Result<()> {
    let numbers = finish(LABEL, &["y,z\n10,\n9,\n,\n-1.5,\n9,\n"])?;
    assert_eq!(classes(&numbers).0, ["-1.5", "9", "10"]);
    assert_eq!(classes(&numbers).1, [Some(2), Some(1), None, Some(0), Some(1)]);
    assert_eq!(classes(&finish(LABEL, &["y\n10\n9\nx\n"])?).0, ["10", "9", "x"]);
    let fixed = vec!["x".to_owned(), "10".to_owned(), "9".to_owned(), "unseen".to_owned()];
    let fixed = finish(Labelling { classes: Some(&fixed), ..LABEL }, &["y\n10\n9\n", "y\nx\n"])?;
    let (names, labels) = classes(&fixed);
    assert_eq!((names.len(), labels), (4, vec![Some(1), Some(2), Some(0)]));
    Ok(())
}

#[test]
fn parts_come_from_a_column_or_a_second_file() -> Result<()> {
    let split = Labelling { split: Some("s"), group: Some("g"), ..LABEL };
    let rows = finish(split, &["y,s,g\na,train,q\nb,test,r\na,validation,p\nb,train,q\n"])?;
    let roles = |pool: &[u64], validation: &[u64], test: &[u64]| Roles {
        pool: pool.to_vec(),
        validation: validation.to_vec(),
        test: test.to_vec(),
    };
    assert_eq!(rows.roles, roles(&[0, 3], &[2], &[1]));
    assert_eq!(rows.groups, Some(vec![0, 1, 2, 0]));
    assert_eq!(finish(LABEL, &["y\na\nb\n"])?.roles, roles(&[0, 1], &[], &[]));
    assert_eq!(finish(LABEL, &["y,z\na,\nb,\n", "y,z\nb,\na,\n,\n"])?.roles, roles(&[0, 1], &[], &[2, 3, 4]));
    Ok(())
}

#[test]
fn files_may_lack_classes_of_each_other() -> Result<()> {
    let rows = finish(LABEL, &["y\nb\nc\n", "y\nc\na\n"])?;
    assert_eq!(classes(&rows), (["a", "b", "c"].map(str::to_owned).to_vec(), [1, 2, 2, 0].map(Some).to_vec()));
    let rows = finish(LABEL, &["y\n0.0\n1.0\n", "y\n1\n0\n"])?;
    assert_eq!(classes(&rows), (["0", "1"].map(str::to_owned).to_vec(), [0, 1, 1, 0].map(Some).to_vec()));
    assert_eq!(rows.findings[0].kind, FindingKind::MergedNumbers);
    Ok(())
}

#[test]
fn missing_words_offer_the_option() -> Result<()> {
    let rows = finish(LABEL, &["y,z\nnan,1\na,1\nnan,1\nb,1\nb,1\na,1\n"])?;
    assert_eq!(rows.findings[0].kind, FindingKind::MissingValueAsClass);
    let said = &rows.findings[0].message;
    assert!(said.starts_with("`nan` (2 rows)") && said.ends_with("if so, add \"nan\" to `missing`"), "{said}");
    Ok(())
}

#[test]
fn names_that_are_probably_one_are_told() -> Result<()> {
    let labelling = Labelling { group: Some("g"), id: Some("n"), ..LABEL };
    let rows = finish(labelling, &["y,g,n\na,Ann,1\nb,ann ,2\na,Bob,1\nb,Bob,3\n", "y,g,n\na,Cid,3\nb,Cid,4\n"])?;
    let told: Vec<_> = rows.findings.iter().map(|f| f.kind).collect();
    assert_eq!(told, [FindingKind::SimilarGroupNames, FindingKind::RepeatedIds]);
    let said = &rows.findings[1].message;
    assert!(said.contains("`1` (line 2 of 0.csv, line 4 of 0.csv), `3` (line 5 of 0.csv, line 2 of 1.csv)"), "{said}");
    Ok(())
}

#[test]
fn rows_without_groups_go_by_their_names() -> Result<()> {
    let id = Labelling { id: Some("n"), ..LABEL };
    let key =
        |labelling: Labelling<'_>, row| Ok::<_, Error>(finish(labelling, &["y,g,n\na,G,1\nb,G,2\n"])?.group_key(row));
    assert_eq!(key(LABEL, 0)?, None);
    assert!(key(id, 0)?.is_some() && key(id, 0)? != key(id, 1)?);
    let grouped = Labelling { group: Some("g"), ..id };
    assert_eq!(key(grouped, 0)?, key(grouped, 1)?);
    Ok(())
}

#[test]
fn what_cannot_be_is_named_with_its_row() {
    let classes = vec!["yes".to_owned(), "no".to_owned()];
    let fixed = Labelling { classes: Some(&classes), ..LABEL };
    let split = Labelling { split: Some("s"), ..LABEL };
    let group = Labelling { group: Some("g"), ..LABEL };
    for (labelling, contents, says) in [
        (
            fixed,
            &["y\nyes\nyess\n"][..],
            "0.csv, row 1: line 3: label `yess` is none of `classes` (did you mean `yes`?)",
        ),
        (split, &["y,s\na,train\na,dev\n"], "row 1: line 3: column `s`: `dev` is none of train, validation, test"),
        (split, &["y,s\na,\n"], "row 0: line 2: column `s`: has no value"),
        (group, &["y,g\na,1\na,\n"], "row 1: line 3: column `g`: has no value"),
        (
            group,
            &["y,g\na,1\na,2\n", "y,g\na,3\na,2\n"],
            "1.csv, row 1: line 3: its group `2` also has rows in another",
        ),
        (LABEL, &["y,z\n,1\n,2\n"], "0.csv: column `y`: no row has a label"),
        (LABEL, &["y\n1\n01\n"], "0.csv: column `y`: the labels `1` and `01` are one number"),
    ] {
        let e = finish(labelling, contents).unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
    let check = |l: Labelling<'_>, inputs: &[&str], test: Option<&Path>| {
        let inputs: Vec<_> = inputs.iter().map(|i| (*i).to_owned()).collect();
        l.check(("text", &inputs), test).map_err(|e| e.to_string())
    };
    assert_eq!(check(split, &["a", "b"], None), Ok(()));
    assert!(check(LABEL, &["a", "y"], None).unwrap_err().starts_with("text: names `y`"));
    assert!(check(split, &["s"], None).unwrap_err().starts_with("text: names `s`"));
    assert!(check(LABEL, &["a", "a"], None).unwrap_err().starts_with("text.1: names `a` again"));
    assert!(check(split, &["a"], Some(Path::new("b.csv"))).unwrap_err().starts_with("split: is given beside"));
    let twice = vec!["a".to_owned(), "a".to_owned()];
    assert!(check(Labelling { classes: Some(&twice), ..LABEL }, &["b"], None).unwrap_err().contains("`a` twice"));
    assert!(check(Labelling { classes: Some(&[]), ..LABEL }, &["b"], None).unwrap_err().contains("not be empty"));
}

#[test]
fn targets_say_which_are_known() -> Result<()> {
    let rows = finish(LABEL, &["y,z\na,\nb,\n,\n"])?.targets;
    let target = &rows.of("t", &[2, 1])?[CLASS];
    assert_eq!(target.values.to_vec1::<u32>()?, [0, 1]);
    assert_eq!(target.present.as_ref().unwrap().to_vec1::<f32>()?, [0., 1.]);
    assert!(rows.of("t", &[0])?[CLASS].present.is_none());
    assert!(rows.of("t", &[3]).unwrap_err().to_string().contains("t, row 3: no such row: there are 3"));
    assert!(rows.classes_of("t", "age").unwrap_err().to_string().contains("`age`"));
    Ok(())
}

/// A column of numbers `n` and one of classes `y`.
fn two() -> BTreeMap<String, LabelColumn> {
    let columns = [("kind", LabelColumn::classes("y")), ("size", LabelColumn::numbers("n"))];
    columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect()
}

#[test]
fn numbers_stand_beside_classes() -> Result<()> {
    let labels = two();
    let labelling = Labelling { label: None, labels: &labels, ..LABEL };
    let rows = finish(labelling, &["y,n\na,1.5\n,2\nb,\nb,-3e1\n"])?;
    assert_eq!(rows.targets.classes_of("t", "kind")?, [Some(0), None, Some(1), Some(1)]);
    assert_eq!(rows.targets.numbers_of("t", "size")?, [Some(1.5), Some(2.0), None, Some(-30.0)]);
    let told: Vec<&str> = rows.findings.iter().map(|f| f.message.as_str()).collect();
    assert!(told.iter().any(|t| t.starts_with("target `kind`: 1 of 4 rows has no label")), "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("target `size`: 1 of 4 rows has no label")), "{told:?}");
    Ok(())
}

#[test]
fn wrong_targets_are_named() {
    let (labels, none) = (two(), Labelling { label: None, ..LABEL });
    let several = Labelling { labels: &labels, ..none };
    let said = |content: &str| finish(several, &[content]).unwrap_err().to_string();
    assert!(said("y,n\na,1\nb,two\n").contains("row 1: line 3: column `n`: `two` is no number"));
    let missing = said("y,n\na,1\nb,nan\n");
    assert!(missing.contains("`nan` is no number") && missing.ends_with("add \"nan\" to `missing`"), "{missing}");
    assert!(said("y,n\na,\nb,\n").contains("column `n`: no row has a number"));
    let check = |l: Labelling<'_>| l.check(("text", &["n".to_owned()]), None).unwrap_err().to_string();
    assert!(check(several).starts_with("text: names `n`, which says what is to be found out"));
    assert!(check(none).starts_with("label: is missing"));
    assert!(check(Labelling { label: Some("y"), ..several }).starts_with("labels: is given beside `label`"));
    assert!(check(Labelling { classes: Some(&[]), ..several }).starts_with("classes: belongs to `label`"));
    let number = LabelColumn { classes: Some(vec!["a".to_owned()]), ..LabelColumn::numbers("n") };
    let labels = BTreeMap::from([("size".to_owned(), number)]);
    assert!(check(Labelling { labels: &labels, ..none }).starts_with("labels.size.classes: has no meaning"));
}
