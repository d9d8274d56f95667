//! What the sources that read a table share: label, group and part of each row.
//!
//! [`Labelling`] says in which columns they stand, [`Marks`] are their words, which rows may still leave, and [`Labels`]
//! is what becomes of them: classes, roles and groups by number.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use transplant_core::{
    DOMAIN, Error, Fact, Field, Finding, Fingerprint, Invalid, Result, Roles, Schema, Target, Targets, nearest,
};

use super::class_names::ClassNames;
use super::image_rows::CLASS;
use super::images::hex;
use crate::findings::{Naming, class_findings, repeated_ids, similar_groups};
use crate::table::{Cell, Table};

/// The columns of label, group and part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labelling<'a> {
    /// The column of the label.
    pub(crate) label: &'a str,
    /// Names and order of the classes; none: those that are there, sorted.
    pub(crate) classes: Option<&'a [String]>,
    /// The column of the group.
    pub(crate) group: Option<&'a str>,
    /// The column of the domain.
    pub(crate) domain: Option<&'a str>,
    /// The column that says `train`, `validation` or `test`.
    pub(crate) split: Option<&'a str>,
    /// The column of the row's name.
    pub(crate) id: Option<&'a str>,
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
        if let Some(name) = inputs.iter().find(|name| *name == self.label || Some(name.as_str()) == self.split) {
            let message = format!("names `{name}`, which says what is to be found out or tested, and is no input");
            return Err(Invalid::key(key, message));
        }
        if let Some((i, name)) = inputs.iter().enumerate().find(|(i, name)| inputs[..*i].contains(name)) {
            return Err(Invalid::key(&format!("{key}.{i}"), format!("names `{name}` again")));
        }
        if self.split.is_some() && test_path.is_some() {
            return Err(Invalid::key("split", "is given beside `test_path`; one of them says what the test part is"));
        }
        let Some(classes) = self.classes else { return Ok(()) };
        if classes.is_empty() {
            return Err(Invalid::key("classes", "must not be empty; leave it out to take those that are there"));
        }
        match classes.iter().enumerate().find(|(i, name)| classes[..*i].contains(name)) {
            Some((_, name)) => Err(Invalid::key("classes", format!("names `{name}` twice"))),
            None => Ok(()),
        }
    }

    /// The columns that have to be read.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &'a str> {
        [Some(self.label), self.group, self.domain, self.split, self.id].into_iter().flatten()
    }

    /// Reads them: rows of the first table, then those of the second, which is the test part.
    ///
    /// # Errors
    /// [`Error::Data`] with file and row when a group or part is missing or a part unknown.
    pub(crate) fn read(self, tables: &'a [Table]) -> Result<Marks<'a>> {
        let mut marks = Marks { labelling: self, tables, rows: Vec::new() };
        for (t, table) in tables.iter().enumerate() {
            let column = |name: Option<&'a str>| name.map(|n| Ok::<_, Error>((n, table.column(n)?))).transpose();
            let (label, group, split) = (table.column(self.label)?, column(self.group)?, column(self.split)?);
            let (domain, id) = (column(self.domain)?, column(self.id)?);
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
                let label = word(table, row, self.label, &label[row])?;
                if label.as_deref() == Some("") {
                    let message = format!("column `{}`: the label is an empty text, and is not missing", self.label);
                    return Err(table.fault(row, message));
                }
                let (group, id) = (group.map(needed).transpose()?, id.map(needed).transpose()?);
                let domain = domain.map(needed).transpose()?;
                marks.rows.push(Mark { table: t, row, label, group, domain, part, id });
            }
        }
        Ok(marks)
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

/// What is said of one row.
pub(crate) struct Mark {
    table: usize,
    row: usize,
    label: Option<String>,
    group: Option<String>,
    domain: Option<String>,
    part: Part,
    id: Option<String>,
}

/// What the columns say, row by row.
pub(crate) struct Marks<'a> {
    labelling: Labelling<'a>,
    tables: &'a [Table],
    rows: Vec<Mark>,
}

impl Marks<'_> {
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
        (self.rows[row].part, self.rows[row].label.is_some())
    }

    /// Drops the rows where `kept` is false.
    pub(crate) fn retain(&mut self, kept: &[bool]) {
        let mut kept = kept.iter();
        self.rows.retain(|_| kept.next().copied().unwrap_or(true));
    }

    /// Classes, roles and groups by number.
    ///
    /// # Errors
    /// Those of [`classes`](Self::classes), and [`Error::Data`] with file and row when a group stands in two parts.
    pub(crate) fn finish(self) -> Result<Labels> {
        let (classes, labels) = self.classes()?;
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
        findings.extend(classes.finding());
        findings.extend(class_findings(&classes.names, &labels, naming));
        findings.extend(groups.as_ref().and_then(|groups| similar_groups(&group_names, groups)));
        if let (Some(column), Some(ids)) = (self.labelling.id, &ids) {
            findings.extend(repeated_ids(column, ids, &|row| self.place(row)));
        }
        let classes = classes.names;
        let targets = BTreeMap::from([(CLASS.to_owned(), Field::Class { names: classes.clone() })]);
        Ok(Labels { classes, labels, groups, group_names, domain, ids, roles, targets, findings })
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

    /// The classes, and that of every row that is left.
    ///
    /// # Errors
    /// [`Error::Data`] when a label is none of the classes, no row has one, or two are one number without being sure to be one
    /// class.
    pub(super) fn classes(&self) -> Result<(ClassNames, Vec<Option<u32>>)> {
        let labels: BTreeSet<&str> = self.rows.iter().filter_map(|mark| mark.label.as_deref()).collect();
        let column = |message: String| {
            let file = self.tables.first().map(Table::file).unwrap_or_else(|| "".as_ref());
            Error::data(file, None, format!("column `{}`: {message}", self.labelling.label))
        };
        let classes = match self.labelling.classes {
            Some(classes) => ClassNames::fixed(classes, &labels),
            None if labels.is_empty() => return Err(column("no row has a label".to_owned())),
            None => ClassNames::of_labels(&labels).map_err(column)?,
        };
        let class = |mark: &Mark| {
            let Some(label) = &mark.label else { return Ok(None) };
            classes.class(label).map(Some).ok_or_else(|| {
                let near = nearest(label, classes.names.iter().map(String::as_str));
                let help = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
                self.tables[mark.table].fault(mark.row, format!("label `{label}` is none of `classes`{help}"))
            })
        };
        let labels = self.rows.iter().map(class).collect::<Result<_>>()?;
        Ok((classes, labels))
    }
}

/// Classes, roles and groups of a data set's rows.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    /// Their names.
    pub(crate) classes: Vec<String>,
    /// The class of every row.
    pub(crate) labels: Vec<Option<u32>>,
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
    /// The target [`CLASS`].
    pub(crate) targets: Schema,
    /// What there is to tell of classes, groups and names.
    pub(crate) findings: Vec<Finding>,
}

impl Labels {
    /// Makes a hash cover them.
    pub(crate) fn add_to(&self, hash: &mut Sha256) {
        hash.update(format!("{:?}", (&self.classes, &self.labels, &self.groups, &self.roles)));
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

    /// The class of every row.
    pub(crate) fn classes_of(&self, dataset: &str, target: &str) -> Result<Vec<Option<u32>>> {
        if target == CLASS {
            return Ok(self.labels.clone());
        }
        Err(Invalid::key("target", format!("data set `{dataset}` has no target `{target}`, only `{CLASS}`")).into())
    }

    /// The targets of these rows, which must be there.
    pub(crate) fn targets_of(&self, dataset: &str, rows: &[u64]) -> Result<Targets> {
        let there = self.labels.len();
        let label = |row: &u64| {
            let label = usize::try_from(*row).ok().and_then(|row| self.labels.get(row));
            label.copied().ok_or_else(|| Error::data(dataset, Some(*row), format!("no such row: there are {there}")))
        };
        let labels = rows.iter().map(label).collect::<Result<Vec<_>>>()?;
        Ok(BTreeMap::from([(CLASS.to_owned(), Target::classes(&labels)?)]))
    }
}

#[cfg(test)]
mod tests;
