//! Classes that nobody meant: what their names, and the numbers of their rows, say.

use transplant_core::{Finding, FindingKind};

use super::names::{similar, visible, with_rows};
use super::{counted, listed, quoted};
use crate::table::{Cell, Table};

/// Where the names of classes come from, which decides what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// A column of CSV or TSV, whose missing values are the words in `missing`.
    Words,
    /// A column of JSONL or Parquet, whose missing values are null.
    Values,
    /// The names of folders.
    Folders,
}

/// Words that usually mean that a value is missing, in lower case: those that pandas reads as such, and what people write.
const MISSING: [&str; 26] = [
    "",
    "nan",
    "-nan",
    "na",
    "n/a",
    "#n/a",
    "#na",
    "<na>",
    "#n/a n/a",
    "none",
    "null",
    "nil",
    "nat",
    "1.#ind",
    "-1.#ind",
    "1.#qnan",
    "-1.#qnan",
    "-",
    "--",
    "—",
    ".",
    "?",
    "missing",
    "undefined",
    "not available",
    "(blank)",
];

/// Names of the splits of a data set, in lower case.
const SPLITS: [&str; 9] = ["train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval"];

/// From so many classes on, numbers may be measurements.
const MANY_NUMBERS: usize = 10;

/// Whether a word usually means that a value is missing.
pub(crate) fn means_missing(word: &str) -> bool {
    MISSING.contains(&word.trim().to_lowercase().as_str())
}

/// Whether a name is one of the splits of data sets.
fn is_split_name(name: &str) -> bool {
    SPLITS.contains(&name.trim().to_lowercase().as_str())
}

/// Findings about the classes of a data set, whose rows have these `labels`.
pub(crate) fn class_findings(names: &[String], labels: &[Option<u32>], naming: Naming) -> Vec<Finding> {
    let mut rows = vec![0usize; names.len()];
    for class in labels.iter().flatten() {
        rows[*class as usize] += 1;
    }
    let classes = Classes { names, rows, naming };
    let numbers = classes.numbers();
    let single = if numbers.is_none() { classes.single_rows() } else { None };
    let names = [classes.similar(), classes.missing(), classes.splits()];
    let all = names.into_iter().chain([numbers, single, classes.without_rows(), unlabelled_rows(labels)]);
    all.flatten().collect()
}

struct Classes<'a> {
    names: &'a [String],
    /// Rows of each class.
    rows: Vec<usize>,
    naming: Naming,
}

impl Classes<'_> {
    /// Names of these classes, each with its number of rows.
    fn with_rows(&self, classes: &[usize], name: impl Fn(&str) -> String) -> String {
        with_rows(classes, &self.rows, |class| name(&self.names[class]))
    }

    /// Classes with this property.
    fn that(&self, is: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.names.len()).filter(|c| is(*c)).collect()
    }

    fn similar(&self) -> Option<Finding> {
        let alike = similar(self.names);
        let n: usize = alike.iter().map(Vec::len).sum();
        if n == 0 {
            return None;
        }
        let shown: Vec<String> =
            alike.iter().map(|classes| self.with_rows(classes, |name| visible(name, self.names))).collect();
        let help = match self.naming {
            Naming::Folders => "if they are one class, put their files into one folder",
            _ => "if they are one class, write its name in one way",
        };
        let message = format!(
            "{n} classes have names that differ in nothing but case, white space or Unicode form: {}; {help}",
            shown.join("; ")
        );
        Some(Finding::new(FindingKind::SimilarClassNames, message))
    }

    fn missing(&self) -> Option<Finding> {
        // Where there is a plus, a minus is its opposite.
        let is_minus = |name: &str| name == "-" && self.names.iter().any(|n| n == "+");
        let found = self.that(|c| {
            let name = &self.names[c];
            self.rows[c] > 0 && means_missing(name) && !is_minus(name.trim())
        });
        if found.is_empty() {
            return None;
        }
        let all: Vec<String> = found.iter().map(|c| format!("{:?}", self.names[*c])).collect();
        let help = match self.naming {
            Naming::Words => format!("add {} to `missing`", all.join(", ")),
            Naming::Values => "write null instead".to_owned(),
            Naming::Folders => "leave them out with `classes`".to_owned(),
        };
        let (verb, mean) =
            if found.len() == 1 { ("is a class whose name", "means") } else { ("are classes whose names", "mean") };
        let message = format!(
            "{} {verb} usually {mean} that the label is missing; if so, {help}",
            self.with_rows(&found, quoted)
        );
        Some(Finding::new(FindingKind::MissingValueAsClass, message))
    }

    fn splits(&self) -> Option<Finding> {
        let found = self.that(|c| is_split_name(&self.names[c]));
        if found.len() < 2 {
            return None;
        }
        let help = match self.naming {
            Naming::Folders => "folders of splits hold the same folders of classes",
            _ => "if they are, `split` names their column",
        };
        let message =
            format!("the classes {} are named like splits of a data set; {help}", self.with_rows(&found, quoted));
        Some(Finding::new(FindingKind::SplitAsClass, message))
    }

    fn numbers(&self) -> Option<Finding> {
        let values: Option<Vec<f64>> = self.names.iter().map(|name| name.trim().parse().ok()).collect();
        let (values, labelled) = (values?, self.rows.iter().sum::<usize>());
        let classes = self.rows.iter().filter(|n| **n > 0).count();
        let fractional = values.iter().filter(|v| v.fract() != 0.0).count();
        let many = classes > MANY_NUMBERS && (2 * classes > labelled || 2 * fractional > classes);
        if self.naming == Naming::Folders || !many {
            return None;
        }
        let different =
            if classes == labelled { "all different".to_owned() } else { format!("{classes} different ones") };
        let message = format!(
            "the labels of {} are numbers, {different}, and each is taken for a class: predicting numbers is regression; \
             `labels` says so of a column with `as = \"number\"`",
            counted(labelled, "row")
        );
        Some(Finding::new(FindingKind::NumbersAsClasses, message))
    }

    fn single_rows(&self) -> Option<Finding> {
        let single = self.that(|c| self.rows[c] == 1);
        if single.is_empty() {
            return None;
        }
        let classes = self.rows.iter().filter(|n| **n > 0).count();
        let verb = if single.len() == 1 { "has" } else { "have" };
        let names: Vec<String> = single.iter().map(|c| quoted(&self.names[*c])).collect();
        let message = format!(
            "{} of {} {verb} one row, which cannot be trained and tested on: {}",
            single.len(),
            counted(classes, "class"),
            listed(&names)
        );
        Some(Finding::new(FindingKind::SingleRowClass, message))
    }

    fn without_rows(&self) -> Option<Finding> {
        let none = self.that(|c| self.rows[c] == 0);
        let names: Vec<String> = none.iter().map(|c| quoted(&self.names[*c])).collect();
        let verb = if none.len() == 1 { "has" } else { "have" };
        let of = counted(self.names.len(), "class");
        let message = format!("{} of {of}, listed in `classes`, {verb} no row at all: {}", none.len(), listed(&names));
        (!none.is_empty()).then(|| Finding::new(FindingKind::ClassWithoutRows, message))
    }
}

/// Tells of rows without a label.
pub(crate) fn unlabelled_rows<T>(labels: &[Option<T>]) -> Option<Finding> {
    let missing = labels.iter().filter(|label| label.is_none()).count();
    let verb = if missing == 1 { "has" } else { "have" };
    let message = format!(
        "{missing} of {} {verb} no label: nothing is learned from them or measured on them",
        counted(labels.len(), "row")
    );
    (missing > 0).then(|| Finding::new(FindingKind::UnlabelledRows, message))
}

/// What helps when a cell where a number belongs holds a word for one that is missing; empty where it does not.
pub(crate) fn help_for_missing(cell: &Cell, table: &Table) -> String {
    let Some(word) = cell.word().filter(|word| means_missing(word)) else { return String::new() };
    let say = match table.has_words() {
        true => format!("add {word:?} to `missing`"),
        false => "write null instead".to_owned(),
    };
    format!("; if it means that the number is missing, {say}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found about classes of these names and numbers of rows.
    fn found(classes: &[(&str, usize)], naming: Naming) -> Vec<Finding> {
        let names: Vec<String> = classes.iter().map(|(name, _)| (*name).to_owned()).collect();
        let labels = (0..).zip(classes).flat_map(|(c, (_, n))| vec![Some(c); *n]).collect::<Vec<_>>();
        class_findings(&names, &labels, naming)
    }

    fn one(classes: &[(&str, usize)], naming: Naming, kind: FindingKind) -> String {
        let mut all = found(classes, naming);
        assert_eq!(all.iter().map(|f| f.kind).collect::<Vec<_>>(), [kind], "{all:?}");
        all.remove(0).message
    }

    #[test]
    fn names_alike_but_for_case_or_form() {
        let said = one(
            &[("Across", 6), ("across", 7), ("across ", 8), ("upright", 9)],
            Naming::Folders,
            FindingKind::SimilarClassNames,
        );
        assert_eq!(
            said,
            "3 classes have names that differ in nothing but case, white space or Unicode form: `Across` (6 rows), `across` (7 rows), \
             `across ` (8 rows); if they are one class, put their files into one folder"
        );
        let said =
            one(&[("caf\u{e9}", 2), ("cafe\u{301}", 2), ("tea", 2)], Naming::Words, FindingKind::SimilarClassNames);
        assert!(said.contains(r"`caf\u{e9}` (2 rows), `cafe\u{301}` (2 rows); if"), "{said}");
        let said =
            one(&[("a\u{a0}b", 2), ("a  b", 2), ("A b\u{200b}", 2)], Naming::Words, FindingKind::SimilarClassNames);
        assert!(said.starts_with("3 classes"), "{said}");
        assert!(found(&[("a b", 2), ("ab", 2), ("a-b", 2)], Naming::Words).is_empty());
    }

    #[test]
    fn words_for_missing_offer_the_option() {
        let said = one(&[("NaN", 9), ("a", 2), ("n/a", 2)], Naming::Folders, FindingKind::MissingValueAsClass);
        assert!(said.contains("`NaN` (9 rows), `n/a` (2 rows) are classes"), "{said}");
    }

    #[test]
    fn numbers_are_told_as_regression() {
        let decimals: Vec<String> = (0..60).map(|i| format!("{}.{i}", i % 7)).collect();
        let classes: Vec<(&str, usize)> = decimals.iter().map(|d| (d.as_str(), 1)).collect();
        let said = one(&classes, Naming::Words, FindingKind::NumbersAsClasses);
        assert!(
            said.starts_with("the labels of 60 rows are numbers, all different, and each is taken for a class"),
            "{said}"
        );
        let stars: Vec<String> = (1..=10).map(|i| (f64::from(i) / 2.).to_string()).collect();
        assert!(found(&stars.iter().map(|s| (s.as_str(), 9)).collect::<Vec<_>>(), Naming::Words).is_empty());
    }

    #[test]
    fn classes_of_one_row_are_counted() {
        let ids: Vec<String> = (0..30).map(|i| format!("id{i}")).collect();
        let classes: Vec<(&str, usize)> = ids.iter().map(|id| (id.as_str(), 1)).collect();
        let said = one(&classes, Naming::Words, FindingKind::SingleRowClass);
        assert_eq!(
            said,
            "30 of 30 classes have one row, which cannot be trained and tested on: `id0`, `id1`, `id2`, `id3`, `id4` and 25 more"
        );
    }

    #[test]
    fn classes_without_rows_are_told() {
        let said = one(&[("a", 3), ("b", 3), ("aa", 0)], Naming::Words, FindingKind::ClassWithoutRows);
        assert_eq!(said, "1 of 3 classes, listed in `classes`, has no row at all: `aa`");
    }

    #[test]
    fn splits_as_classes_are_told() {
        let said = one(&[("Train", 3), ("TEST", 2), ("x", 4)], Naming::Words, FindingKind::SplitAsClass);
        assert!(said.starts_with("the classes `Train` (3 rows), `TEST` (2 rows) are named like splits"), "{said}");
    }

    #[test]
    fn rare_words_are_classes() {
        assert!(found(&[("+", 3), ("-", 3)], Naming::Words).is_empty(), "a minus beside a plus");
        assert!(found(&[("train", 3), ("car", 3)], Naming::Words).is_empty(), "a vehicle");
        assert!(found(&[("0", 3), ("1", 3)], Naming::Words).is_empty());
    }
}
