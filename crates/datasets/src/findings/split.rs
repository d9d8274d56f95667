//! What a split makes of the classes: those that are not trained on, those that are not tested.

use transplant_core::{Field, Finding, FindingKind, Result};

use super::{counted, listed, quoted};
use crate::Parts;

/// Findings about the split of a data set by the classes of `target`: classes without training or test rows, and whether
/// anything can be learned and tested at all. Test rows count where they are `tested`. Those of the data set itself are
/// [`Dataset::findings`](transplant_core::Dataset::findings).
///
/// # Errors
/// When the data set has no such target.
pub fn split_findings(parts: &Parts, target: &str, tested: bool) -> Result<Vec<Finding>> {
    let dataset = parts.train.dataset();
    let Some(Field::Class { names }) = dataset.targets().get(target) else { return Ok(Vec::new()) };
    let labels = dataset.classes_of(target)?;
    let test: &[u64] = if tested { parts.test.rows() } else { &[] };
    let [train, validation, test] =
        [parts.train.rows(), parts.validation_rows(), test].map(|rows| rows_by_class(rows, &labels, names.len()));
    let classes = |which: &dyn Fn(usize) -> bool| (0..names.len()).filter(|c| which(*c)).collect::<Vec<_>>();
    let shown = |classes: &[usize]| listed(&classes.iter().map(|c| quoted(&names[*c])).collect::<Vec<_>>());
    let learned = classes(&|c| train[c] > 0);
    let is_learned = |c: usize| train[c] > 0;
    let tested = classes(&|c| test[c] > 0);
    let mut out = Vec::new();
    if let [only] = learned[..] {
        let other = classes(&|c| c != only && validation[c] + test[c] > 0);
        let elsewhere = match other.is_empty() {
            true => String::new(),
            false => format!("; no row of {} is trained on", shown(&other)),
        };
        let groups = if dataset.groups().is_some() { ", and no group is divided" } else { "" };
        let message = format!(
            "all {} are of one class, {}{elsewhere}{groups}: there is nothing to tell apart",
            counted(train[only], "training row"),
            quoted(&names[only])
        );
        out.push(Finding::new(FindingKind::OneClass, message));
    } else if !learned.is_empty() && !tested.is_empty() && !tested.iter().any(|c| is_learned(*c)) {
        let message = format!(
            "the test rows are of {}, and the training rows of {}: nothing that is learned is tested",
            shown(&tested),
            shown(&learned)
        );
        out.push(Finding::new(FindingKind::NothingLearnedIsTested, message));
    }
    let unlearned = classes(&|c| train[c] == 0 && validation[c] + test[c] > 0);
    if !unlearned.is_empty() && out.is_empty() {
        let rows: usize = unlearned.iter().map(|c| validation[*c] + test[*c]).sum();
        let verb = if unlearned.len() == 1 { "has" } else { "have" };
        let message = format!(
            "{} of {} {verb} no training row: {} ({}); none of these rows can be right",
            unlearned.len(),
            counted(names.len(), "class"),
            shown(&unlearned),
            counted(rows, "test or validation row")
        );
        out.push(Finding::new(FindingKind::ClassWithoutTrainingRows, message));
    }
    let untested = classes(&|c| is_learned(c) && test[c] == 0);
    if !tested.is_empty() && !untested.is_empty() && out.is_empty() {
        let verb = if untested.len() == 1 { "has" } else { "have" };
        let message = format!(
            "{} of {} {verb} no test row: {}; nothing is measured of them",
            untested.len(),
            counted(names.len(), "class"),
            shown(&untested)
        );
        out.push(Finding::new(FindingKind::ClassWithoutTestRows, message));
    }
    Ok(out)
}

/// How many of these rows there are of each class.
fn rows_by_class(rows: &[u64], labels: &[Option<u32>], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for class in rows.iter().filter_map(|row| labels.get(*row as usize).copied().flatten()) {
        if let Some(count) = counts.get_mut(class as usize) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CLASS, Images, Layout};
    use std::sync::Arc;
    use transplant_core::{Dataset, Roles, Seeds};

    /// What is found where these classes are trained on and those tested.
    fn found(train: &[u32], test: &[u32], tested: bool) -> Vec<(FindingKind, String)> {
        let labels: Vec<Option<u32>> = train.iter().chain(test).map(|c| Some(*c)).collect();
        let (pool, rows) = (train.len() as u64, labels.len() as u64);
        let roles = Roles { pool: (0..pool).collect(), test: (pool..rows).collect(), ..Roles::default() };
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let layout = Layout { name: "toy".into(), shape: [1, 1, 1], highest: 1, classes };
        let dataset: Arc<dyn Dataset> = Arc::new(Images::new(layout, labels, vec![0; rows as usize], roles).unwrap());
        let parts = crate::Draw::default().parts(&dataset, CLASS, Seeds::new(0)).unwrap();
        split_findings(&parts, CLASS, tested).unwrap().into_iter().map(|f| (f.kind, f.message)).collect()
    }

    #[test]
    fn classes_without_training_rows_are_told() {
        assert_eq!(found(&[0, 1, 2], &[0, 1, 2], true), []);
        let told = found(&[0, 1, 1], &[0, 1, 2, 2], true);
        let said =
            "1 of 3 classes has no training row: `c` (2 test or validation rows); none of these rows can be right";
        assert_eq!(told, [(FindingKind::ClassWithoutTrainingRows, said.to_owned())]);
        assert_eq!(found(&[0, 1, 1], &[0, 1, 2, 2], false), []);
    }

    #[test]
    fn classes_without_test_rows_are_told() {
        let said = "1 of 3 classes has no test row: `b`; nothing is measured of them";
        assert_eq!(found(&[0, 1, 2], &[0, 2], true), [(FindingKind::ClassWithoutTestRows, said.to_owned())]);
        assert_eq!(found(&[0, 1, 2], &[], true), []);
    }

    #[test]
    fn what_cannot_be_learned_is_an_error() {
        let told = found(&[0, 0], &[0, 1], true);
        let said =
            "all 2 training rows are of one class, `a`; no row of `b` is trained on: there is nothing to tell apart";
        assert_eq!(told, [(FindingKind::OneClass, said.to_owned())]);
        let told = found(&[0, 1], &[2], true);
        let said = "the test rows are of `c`, and the training rows of `a`, `b`: nothing that is learned is tested";
        assert_eq!(told, [(FindingKind::NothingLearnedIsTested, said.to_owned())]);
    }
}
