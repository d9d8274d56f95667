//! What the sources that read a table share: labels, group and part of each row.
//!
//! [`Labelling`] says in which columns they stand, [`Marks`] are their words, which rows may still leave, and [`Labels`]
//! is what becomes of them: targets, roles and groups by number.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use transplant_core::{DOMAIN, Error, Fact, Finding, Fingerprint, Invalid, Result, Roles, nearest};

use super::class_names::ClassNames;
use super::domain_column::DomainColumn;
use super::image_rows::CLASS;
use super::images::hex;
use super::label_columns::{LabelColumn, LabelKind};
use super::new_rows::number_of;
use super::row_targets::RowTargets;
use crate::findings::{Naming, class_findings, help_for_missing, repeated_ids, similar_groups, unlabelled_rows};
use crate::table::{Cell, Table};

/// The columns of labels, group and part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labelling<'a> {
    /// The column of the target [`CLASS`], where that is the only one.
    pub(crate) label: Option<&'a str>,
    /// Otherwise the columns of targets, by their names.
    pub(crate) labels: &'a BTreeMap<String, LabelColumn>,
    /// Names and order of the classes of `label`; none: those that are there, sorted.
    pub(crate) classes: Option<&'a [String]>,
    /// The column of the group.
    pub(crate) group: Option<&'a str>,
    /// The column of the domain.
    pub(crate) domain: Option<&'a DomainColumn>,
    /// The column that says `train`, `validation` or `test`.
    pub(crate) split: Option<&'a str>,
    /// The column of the row's name.
    pub(crate) id: Option<&'a str>,
}

/// A target and its column.
#[derive(Debug, Clone, Copy)]
struct TargetColumn<'a> {
    target: &'a str,
    column: &'a str,
    kind: LabelKind,
    classes: Option<&'a [String]>,
}

/// What a row is for. Of two that are the same, the later part is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

const PARTS: [(&str, Part); 3] = [("train", Part::Train), ("validation", Part::Validation), ("test", Part::Test)];

impl<'a> Labelling<'a> {
    /// Checks the options by themselves; `inputs` are the columns that a network is to see.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn check(&self, inputs: (&str, &[String]), test_path: Option<&std::path::Path>) -> Result<(), Invalid> {
        let (key, inputs) = inputs;
        self.check_targets()?;
        self.domain.map_or(Ok(()), DomainColumn::check)?;
        let is_target = |name: &str| self.targets().any(|t| t.column == name);
        if let Some(name) = inputs.iter().find(|name| is_target(name) || Some(name.as_str()) == self.split) {
            let message = format!("names `{name}`, which says what is to be found out or tested, and is no input");
            return Err(Invalid::key(key, message));
        }
        if let Some((i, name)) = inputs.iter().enumerate().find(|(i, name)| inputs[..*i].contains(name)) {
            return Err(Invalid::key(&format!("{key}.{i}"), format!("names `{name}` again")));
        }
        if self.split.is_some() && test_path.is_some() {
            return Err(Invalid::key("split", "is given beside `test_path`; one of them says what the test part is"));
        }
        Ok(())
    }

    /// One of `label` and `labels` is given, and classes are listed where they belong.
    fn check_targets(&self) -> Result<(), Invalid> {
        match (self.label, self.labels.is_empty()) {
            (Some(_), false) => {
                let e = Invalid::key("labels", "is given beside `label`, which is short for the target `class`");
                return Err(e.help("name that column in `labels`, too: `class = \"…\"`"));
            }
            (None, true) => {
                let e = Invalid::key("label", "is missing: it is the column of the classes that are learned");
                return Err(e.help("`labels` names the columns of several targets, or of numbers"));
            }
            _ => {}
        }
        if self.label.is_none() && self.classes.is_some() {
            let e = Invalid::key("classes", "belongs to `label`");
            return Err(e.help("in `labels`, a target has `classes` of its own"));
        }
        for t in self.targets() {
            let under = |e: Invalid| match self.label {
                Some(_) => e,
                None => e.under(t.target).under("labels"),
            };
            let Some(classes) = t.classes else { continue };
            if t.kind == LabelKind::Number {
                return Err(under(Invalid::key("classes", "has no meaning for numbers")));
            }
            if classes.is_empty() {
                let message = "must not be empty; leave it out to take those that are there";
                return Err(under(Invalid::key("classes", message)));
            }
            if let Some((_, name)) = classes.iter().enumerate().find(|(i, name)| classes[..*i].contains(name)) {
                return Err(under(Invalid::key("classes", format!("names `{name}` twice"))));
            }
        }
        Ok(())
    }

    /// The targets, by name.
    fn targets(&self) -> impl Iterator<Item = TargetColumn<'a>> {
        let (classes, kind) = (self.classes, LabelKind::Class);
        let one = self.label.map(|column| TargetColumn { target: CLASS, column, kind, classes });
        let several = self.labels.iter().map(|(target, l)| TargetColumn {
            target,
            column: &l.column,
            kind: l.kind,
            classes: l.classes.as_deref(),
        });
        one.into_iter().chain(several)
    }

    /// The columns that have to be read.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &'a str> {
        let domain = self.domain.map(|d| d.column.as_str());
        let others = [self.group, domain, self.split, self.id].into_iter().flatten();
        self.targets().map(|t| t.column).chain(others)
    }

    /// Reads them: rows of the first table, then those of the second, which is the test part.
    ///
    /// # Errors
    /// [`Error::Data`] with file and row when a group or part is missing or a part unknown.
    pub(crate) fn read(self, tables: &'a [Table]) -> Result<Marks<'a>> {
        let targets: Vec<TargetColumn<'a>> = self.targets().collect();
        let mut marks = Marks { labelling: self, targets: targets.clone(), tables, rows: Vec::new() };
        for (t, table) in tables.iter().enumerate() {
            let column = |name: Option<&'a str>| name.map(|n| Ok::<_, Error>((n, table.column(n)?))).transpose();
            let (group, split) = (column(self.group)?, column(self.split)?);
            let id = column(self.id)?;
            let domain = self.domain.map(|d| Ok::<_, Error>((d, table.column(&d.column)?))).transpose()?;
            for row in 0..table.rows() {
                let needed = |(name, cells): (&str, &[Option<Cell>])| {
                    let missing = || table.fault(row, format!("column `{name}`: has no value"));
                    word(table, row, name, &cells[row])?.ok_or_else(missing)
                };
                let part = match split {
                    None if t > 0 => Part::Test,
                    None => Part::Train,
                    Some((name, cells)) => {
                        let part = needed((name, cells))?;
                        let known = PARTS.iter().find(|(word, _)| *word == part).map(|(_, part)| *part);
                        let unknown = || format!("column `{name}`: `{part}` is none of train, validation, test");
                        known.ok_or_else(|| table.fault(row, unknown()))?
                    }
                };
                let labels = targets.iter().map(|t| label(table, row, t)).collect::<Result<_>>()?;
                let (group, id) = (group.map(needed).transpose()?, id.map(needed).transpose()?);
                let domain = domain.map(|(d, cells): (&DomainColumn, &[Option<Cell>])| {
                    let fault = |e: String| table.fault(row, format!("column `{}`: {e}", d.column));
                    let cell = cells[row].as_ref().ok_or_else(|| fault("has no value".to_owned()))?;
                    d.of(cell).map_err(fault)
                });
                let domain = domain.transpose()?;
                marks.rows.push(Mark { table: t, row, labels, group, domain, part, id });
            }
        }
        Ok(marks)
    }
}

/// The label of a row; `None`: it is missing.
fn label(table: &Table, row: usize, t: &TargetColumn<'_>) -> Result<Option<Label>> {
    let cell = &table.column(t.column)?[row];
    let fault = |message: String| table.fault(row, format!("column `{}`: {message}", t.column));
    match (t.kind, cell) {
        (_, None) => Ok(None),
        (LabelKind::Number, Some(cell)) => {
            let number = number_of(cell).map_err(|e| fault(e + &help_for_missing(cell, table)));
            Ok(Some(Label::Number(number? as f32)))
        }
        (LabelKind::Class, _) => match word(table, row, t.column, cell)? {
            Some(word) if word.is_empty() => Err(fault("the label is an empty text, and is not missing".to_owned())),
            word => Ok(word.map(Label::Word)),
        },
    }
}

/// A cell in writing.
fn word(table: &Table, row: usize, column: &str, cell: &Option<Cell>) -> Result<Option<String>> {
    let Some(cell) = cell else { return Ok(None) };
    let word = cell.word().ok_or_else(|| {
        table.fault(row, format!("column `{column}`: holds {}, where a text or a number is expected", cell.kind()))
    });
    Ok(Some(word?.into_owned()))
}

/// What the cell of a label holds.
enum Label {
    Word(String),
    Number(f32),
}

impl Label {
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Number(_) => None,
        }
    }

    fn number(&self) -> Option<f32> {
        match self {
            Self::Word(_) => None,
            Self::Number(number) => Some(*number),
        }
    }
}

/// A target of classes: which there are, and that of every row.
pub(super) struct ClassTarget<'a> {
    target: &'a str,
    pub(super) classes: ClassNames,
    pub(super) labels: Vec<Option<u32>>,
}

/// What is said of one row.
pub(crate) struct Mark {
    table: usize,
    row: usize,
    /// Of each target, in their order.
    labels: Vec<Option<Label>>,
    group: Option<String>,
    domain: Option<String>,
    part: Part,
    id: Option<String>,
}

/// What the columns say, row by row.
pub(crate) struct Marks<'a> {
    labelling: Labelling<'a>,
    targets: Vec<TargetColumn<'a>>,
    tables: &'a [Table],
    rows: Vec<Mark>,
}

impl<'a> Marks<'a> {
    /// How many rows are left.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The table and row of every row that is left.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&Table, usize)> {
        self.rows.iter().map(|mark| (&self.tables[mark.table], mark.row))
    }

    /// The number of the table and that of the row in it, of every row that is left.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rows.iter().map(|mark| (mark.table, mark.row))
    }

    /// How much a row is worth keeping among equals: rows of the test part first, then labelled ones.
    pub(crate) fn worth(&self, row: usize) -> (Part, bool) {
        (self.rows[row].part, self.rows[row].labels.iter().any(Option::is_some))
    }

    /// Drops the rows where `kept` is false.
    pub(crate) fn retain(&mut self, kept: &[bool]) {
        let mut kept = kept.iter();
        self.rows.retain(|_| kept.next().copied().unwrap_or(true));
    }

    /// Targets, roles and groups by number.
    ///
    /// # Errors
    /// Those of [`classes`](Self::classes), and [`Error::Data`] with file and row when a group stands in two parts.
    pub(crate) fn finish(self) -> Result<Labels> {
        let classes = self.classes()?;
        let numbers = self.number_targets()?;
        let (mut groups, mut roles) = (Vec::new(), Roles::default());
        let mut seen: BTreeMap<&str, (u64, Part)> = BTreeMap::new();
        for (i, mark) in (0..).zip(&self.rows) {
            let fault = |message: String| self.tables[mark.table].fault(mark.row, message);
            if let Some(group) = &mark.group {
                let next = seen.len() as u64;
                let (number, part) = *seen.entry(group).or_insert((next, mark.part));
                if part != mark.part {
                    return Err(fault(format!(
                        "its group `{group}` also has rows in another part, and no group may stand in two"
                    )));
                }
                groups.push(number);
            }
            match mark.part {
                Part::Train => roles.pool.push(i),
                Part::Validation => roles.validation.push(i),
                Part::Test => roles.test.push(i),
            }
        }
        let groups = self.labelling.group.map(|_| groups);
        let mut group_names = vec![String::new(); seen.len()];
        seen.iter().for_each(|(name, (number, _))| group_names[*number as usize] = (*name).to_owned());
        let domain = self.labelling.domain.map(|_| Fact::of_words(self.rows.iter().map(|m| m.domain.as_deref())));
        let ids: Option<Vec<String>> = self.rows.iter().map(|mark| mark.id.clone()).collect();
        let naming = match self.tables.iter().all(Table::has_words) {
            true => Naming::Words,
            false => Naming::Values,
        };
        let mut findings: Vec<Finding> = self.tables.iter().filter_map(Table::rows_in_quotes).collect();
        let mut targets = RowTargets::new(self.rows.len());
        for t in classes {
            let of_names = t.classes.finding().into_iter();
            let found = of_names.chain(class_findings(&t.classes.names, &t.labels, naming));
            findings.extend(found.map(|f| self.about(t.target, f)));
            targets.add_classes(t.target, t.classes.names, t.labels);
        }
        for (target, numbers) in numbers {
            findings.extend(unlabelled_rows(&numbers).map(|f| self.about(target, f)));
            targets.add_numbers(target, numbers);
        }
        findings.extend(groups.as_ref().and_then(|groups| similar_groups(&group_names, groups)));
        if let (Some(column), Some(ids)) = (self.labelling.id, &ids) {
            findings.extend(repeated_ids(column, ids, &|row| self.place(row)));
        }
        Ok(Labels { targets, groups, group_names, domain, ids, roles, findings })
    }

    /// A finding about one target, which says so where there may be others.
    pub(super) fn about(&self, target: &str, mut finding: Finding) -> Finding {
        if self.labelling.label.is_none() {
            finding.message = format!("target `{target}`: {}", finding.message);
        }
        finding
    }

    /// Where a row stands: its line, and of two files which.
    fn place(&self, row: usize) -> String {
        let Mark { table, row, .. } = self.rows[row];
        let table = &self.tables[table];
        match (self.tables.len() > 1).then(|| table.file().file_name()).flatten() {
            Some(file) => format!("{} of {}", table.row_name(row), file.display()),
            None => table.row_name(row),
        }
    }

    /// The targets of classes, and the class of every row that is left.
    ///
    /// # Errors
    /// [`Error::Data`] when a label is none of the classes, no row has one, or two are one number without being sure to be one
    /// class.
    pub(super) fn classes(&self) -> Result<Vec<ClassTarget<'a>>> {
        let classes = self.targets.iter().enumerate().filter(|(_, t)| t.kind == LabelKind::Class);
        classes.map(|(i, t)| self.classes_of(i, t)).collect()
    }

    /// Findings about each target of classes.
    ///
    /// # Errors
    /// Those of [`classes`](Self::classes).
    pub(super) fn find(&self, find: impl Fn(&[Option<u32>], &[String]) -> Option<Finding>) -> Result<Vec<Finding>> {
        let all = self.classes()?.into_iter();
        Ok(all.filter_map(|t| Some(self.about(t.target, find(&t.labels, &t.classes.names)?))).collect())
    }

    fn fault(&self, t: &TargetColumn<'_>, message: &str) -> Error {
        let file = self.tables.first().map(Table::file).unwrap_or_else(|| "".as_ref());
        Error::data(file, None, format!("column `{}`: {message}", t.column))
    }

    fn classes_of(&self, i: usize, t: &TargetColumn<'a>) -> Result<ClassTarget<'a>> {
        let label = |mark: &'_ Mark| mark.labels[i].as_ref().and_then(Label::word).map(str::to_owned);
        let words: Vec<Option<String>> = self.rows.iter().map(label).collect();
        let labels: BTreeSet<&str> = words.iter().flatten().map(String::as_str).collect();
        let classes = match t.classes {
            Some(classes) => ClassNames::fixed(classes, &labels),
            None if labels.is_empty() => {
                let message = "no row has a label; where none is learned or tested, `classes` says which there are";
                return Err(self.fault(t, message));
            }
            None => ClassNames::of_labels(&labels).map_err(|e| self.fault(t, &e))?,
        };
        let class = |(mark, label): (&Mark, &Option<String>)| {
            let Some(label) = label else { return Ok(None) };
            classes.class(label).map(Some).ok_or_else(|| {
                let near = nearest(label, classes.names.iter().map(String::as_str));
                let help = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
                self.tables[mark.table].fault(mark.row, format!("label `{label}` is none of `classes`{help}"))
            })
        };
        let labels = self.rows.iter().zip(&words).map(class).collect::<Result<_>>()?;
        Ok(ClassTarget { target: t.target, classes, labels })
    }

    /// The targets of numbers, and the number of every row that is left.
    fn number_targets(&self) -> Result<Vec<NumberTarget<'a>>> {
        let numbers = self.targets.iter().enumerate().filter(|(_, t)| t.kind == LabelKind::Number);
        let one = |(i, t): (usize, &TargetColumn<'a>)| {
            let of_row = |mark: &Mark| mark.labels[i].as_ref().and_then(Label::number);
            let numbers: Vec<Option<f32>> = self.rows.iter().map(of_row).collect();
            match numbers.iter().any(Option::is_some) {
                true => Ok((t.target, numbers)),
                false => Err(self.fault(t, "no row has a number")),
            }
        };
        numbers.map(one).collect()
    }
}

/// A target's name, and the number of every row that has one.
type NumberTarget<'a> = (&'a str, Vec<Option<f32>>);

/// Targets, roles and groups of a data set's rows.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    /// The targets.
    pub(crate) targets: RowTargets,
    /// The group of every row.
    pub(crate) groups: Option<Vec<u64>>,
    /// The names of the groups, by their numbers.
    pub(crate) group_names: Vec<String>,
    /// The domain of every row, where a column says so.
    pub(crate) domain: Option<Fact>,
    /// The name of every row, where a column has them.
    pub(crate) ids: Option<Vec<String>>,
    /// Rows by role.
    pub(crate) roles: Roles,
    /// What there is to tell of classes, groups and names.
    pub(crate) findings: Vec<Finding>,
}

impl Labels {
    /// Makes a hash cover them.
    pub(crate) fn add_to(&self, hash: &mut Sha256) {
        hash.update(match self.targets.only_class() {
            Some((names, labels)) => format!("{:?}", (names, labels, &self.groups, &self.roles)),
            None => format!("{:?}", (self.targets.written(), &self.groups, &self.roles)),
        });
        self.domain.iter().for_each(|fact| hash.update(format!("{fact:?}")));
    }

    /// The facts that columns give.
    pub(crate) fn fact(&self, name: &str) -> Option<&Fact> {
        self.domain.as_ref().filter(|_| name == DOMAIN)
    }

    /// A hash of the name of a row's group, without groups one of its own name where a column has it.
    pub(crate) fn group_key(&self, row: u64) -> Option<Fingerprint> {
        let name = match &self.groups {
            Some(groups) => self.group_names.get(*groups.get(row as usize)? as usize)?,
            None => self.ids.as_ref()?.get(row as usize)?,
        };
        Some(Sha256::digest(name).into())
    }

    /// The name of a row: the word in the column of names, otherwise the beginning of the hash of what it was read
    /// from.
    pub(crate) fn row_name(&self, row: u64, hash: Option<Fingerprint>) -> Option<String> {
        match &self.ids {
            Some(ids) => ids.get(row as usize).cloned(),
            None => hash.map(|hash| hex(&hash[..8])),
        }
    }
}

#[cfg(test)]
mod tests;
