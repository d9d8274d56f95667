//! [`Draw`]: which rows of a data set are trained on, chosen on, used without labels and tested on.
//!
//! The rules (those of the project's protocol): a label budget counts every label used, choosing included; below 5 labels a
//! class nothing is set aside for choosing; the test part is the data set's own and the same for every draw and budget; no
//! group stands on both sides of a split. Rows are drawn class by class, or all alike where there are no classes or the
//! budget is one of all rows, and a smaller budget's training rows are among a larger one's.

use std::sync::Arc;

use transplant_core::{Dataset, Error, Field, Invalid, Result, Seeds, Test, Train, Unlabelled, Validation};

use crate::sides::{Side, Sides};

/// Labels of a class, or in all, from which on some may be set aside for validation.
pub const LEAST_FOR_VALIDATION: usize = 5;

/// How rows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Draw {
    /// Labels used of each class, validation included; `None`: all of the pool.
    pub labels_per_class: Option<usize>,
    /// Rows whose labels are used, validation included, whatever their classes; `None`: all of the pool.
    pub labels_in_all: Option<usize>,
    /// Share of each class's labels that is set aside for validation, 0 to below 1.
    pub validation: f64,
    /// Which draw: 0, 1, 2, … are independent of each other.
    pub draw: u64,
}

/// The parts of a data set.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Rows whose labels are learned from.
    pub train: Train,
    /// Rows whose labels are chosen on. `None` when none was asked for, or there are too few labels.
    pub validation: Option<Validation>,
    /// Rows of the pool that were not drawn, without labels; none of them shares a group with a validation row.
    pub unlabelled: Unlabelled,
    /// The data set's test part.
    pub test: Test,
    /// Why there is no validation part although one was asked for, and how many rows of the pool are not learned from
    /// because they have no label; `None` when there is nothing to tell.
    pub note: Option<String>,
}

impl Parts {
    /// Rows whose labels are chosen on; none where there is no validation part.
    pub fn validation_rows(&self) -> &[u64] {
        self.validation.as_ref().map_or(&[], |v| v.rows())
    }

    /// Rows whose labels are used: to learn from, and to choose on.
    pub fn labelled_rows(&self) -> Vec<u64> {
        [self.train.rows(), self.validation_rows()].concat()
    }

    /// The same rows of a data set that was fitted to them.
    #[must_use]
    pub fn on(&self, dataset: &Arc<dyn Dataset>) -> Self {
        let validation = self.validation.as_ref().map(|v| Validation::new(dataset.clone(), v.rows().to_vec()));
        Self {
            train: Train::new(dataset.clone(), self.train.rows().to_vec()),
            validation,
            unlabelled: Unlabelled::new(dataset.clone(), self.unlabelled.rows().to_vec()),
            test: Test::new(dataset.clone(), self.test.rows().to_vec()),
            note: self.note.clone(),
        }
    }
}

impl Draw {
    /// Checks the numbers by themselves.
    ///
    /// # Errors
    /// Names the key that is out of range.
    pub fn check(&self) -> Result<(), Invalid> {
        for (key, budget) in [("labels_per_class", self.labels_per_class), ("labels_in_all", self.labels_in_all)] {
            if budget == Some(0) {
                return Err(Invalid::key(key, "must be at least 1"));
            }
        }
        if self.labels_per_class.is_some() && self.labels_in_all.is_some() {
            let e = Invalid::key("labels_in_all", "says how many labels are used, and so does `labels_per_class`");
            return Err(e.help("leave one of them out"));
        }
        if !(0. ..1.).contains(&self.validation) {
            let message = format!("must be at least 0 and below 1, not {}", self.validation);
            return Err(Invalid::key("validation", message));
        }
        Ok(())
    }

    /// [`parts_of`](Self::parts_of) one target.
    ///
    /// # Errors
    /// Those of [`parts_of`](Self::parts_of).
    pub fn parts(&self, dataset: &Arc<dyn Dataset>, target: &str, seeds: Seeds) -> Result<Parts> {
        self.parts_of(dataset, &[target], seeds)
    }

    /// Draws the rows where one of these targets has a label, balanced over the classes of the first that has classes; rows
    /// that lack that one are drawn as a class of their own, of at most a class's budget. Without classes, or with
    /// `labels_in_all`, all rows are drawn alike. They are a function of the data set, the draw and `seeds`.
    ///
    /// With a budget, an official validation part stays unused: its labels would exceed the budget. Without one it is the
    /// validation part, and the whole pool is trained on.
    ///
    /// # Errors
    /// [`Error::Invalid`] under `labels_per_class` when a class of the pool has fewer rows than the budget or there are no
    /// classes, under `labels_in_all` when the pool has fewer rows, under
    /// `validation` when its groups cannot be kept apart, or when a share is asked for beside an official validation
    /// part that is used; [`Error::Contract`] when a group of the data set crosses its own roles.
    pub fn parts_of(&self, dataset: &Arc<dyn Dataset>, targets: &[&str], seeds: Seeds) -> Result<Parts> {
        self.check()?;
        let pool = Pool::new(dataset.as_ref(), targets, self.labels_in_all.is_some(), seeds.child("draw"), self.draw)?;
        if self.labels_per_class.is_some() && !pool.has_classes {
            let message = format!("counts labels of classes, and {} has none", pool.targets());
            return Err(Invalid::key("labels_per_class", message).help("`labels_in_all` counts rows").into());
        }
        let mut sides = Sides::new(dataset.as_ref(), pool.all)?;
        let official = &dataset.roles().validation;
        let budget = self.labels_per_class.or(self.labels_in_all);
        let use_official = budget.is_none() && !official.is_empty();
        if use_official && self.validation > 0. {
            let message = format!("the data set has a validation part of its own, of {} rows", official.len());
            return Err(Invalid::key("validation", message).help("leave this key out").into());
        }
        match budget {
            Some(budget) => draw_budget(&pool, &mut sides, budget, self.validation)?,
            None => draw_all(&pool, &mut sides, self.validation)?,
        }
        let [train, drawn] = [Side::Train, Side::Validation].map(|s| sides.rows(s));
        let unlabelled = sides.unused(&dataset.roles().pool);
        let validation = if use_official { official.clone() } else { drawn };
        let each = if pool.has_classes { " a class" } else { "" };
        let note = match budget {
            _ if self.validation == 0. || !validation.is_empty() => None,
            Some(k) if k < LEAST_FOR_VALIDATION => Some(format!(
                "no validation part: with {k} labels{each} (below {LEAST_FOR_VALIDATION}) all are trained on, by a fixed recipe"
            )),
            _ => {
                let own = if dataset.groups().is_some() { " in groups of its own" } else { "" };
                Some(match pool.has_classes {
                    true => format!("no validation part: no class has {LEAST_FOR_VALIDATION} labels{own}"),
                    false => format!("no validation part: there are no {LEAST_FOR_VALIDATION} labels{own}"),
                })
            }
        };
        let missing = dataset.roles().pool.len() - pool.strata.iter().map(|s| s.rows.len()).sum::<usize>();
        let missing = (missing > 0).then(|| {
            let rows = dataset.roles().pool.len();
            format!(
                "{missing} of the {rows} rows that may be learned from have no label {}, and are not learned from",
                pool.targets()
            )
        });
        let unused = (budget.is_some() && !official.is_empty()).then(|| {
            let rows = official.len();
            format!("the data set's own validation part of {rows} rows is not used: its labels would exceed the budget")
        });
        let note = [note, missing, unused].into_iter().flatten().reduce(|a, b| format!("{a}; {b}"));
        Ok(Parts {
            train: Train::new(dataset.clone(), train),
            validation: (!validation.is_empty()).then(|| Validation::new(dataset.clone(), validation)),
            unlabelled: Unlabelled::new(dataset.clone(), unlabelled),
            test: Test::new(dataset.clone(), dataset.roles().test.clone()),
            note,
        })
    }
}

/// The labelled rows of the pool, by class where there are classes.
struct Pool<'a> {
    targets: &'a [&'a str],
    /// Number of rows of the data set.
    all: usize,
    has_classes: bool,
    strata: Vec<Stratum>,
    seeds: Seeds,
    draw: u64,
}

/// Rows that are drawn alike.
struct Stratum {
    /// What they are, in words.
    name: String,
    rows: Vec<u64>,
    /// Whether there may be fewer of them than the budget.
    may_lack: bool,
}

impl<'a> Pool<'a> {
    fn new(dataset: &dyn Dataset, targets: &'a [&'a str], alike: bool, seeds: Seeds, draw: u64) -> Result<Self> {
        let classes = targets.iter().find_map(|target| match dataset.targets().get(*target) {
            Some(Field::Class { names }) if !alike => Some((*target, names)),
            _ => None,
        });
        let mut known = Vec::new();
        for target in targets.iter().filter(|target| classes.is_none_or(|(by, _)| by != **target)) {
            known.push(is_known(dataset, target)?);
        }
        let has_other = |row: &u64| known.iter().any(|known| known.get(*row as usize) == Some(&true));
        let pool = &dataset.roles().pool;
        let Some((target, names)) = classes else {
            let all = known.first().map_or(0, Vec::len);
            let rows = pool.iter().copied().filter(has_other).collect();
            let strata = vec![Stratum { name: "the pool".to_owned(), rows, may_lack: false }];
            return Ok(Self { targets, all, has_classes: false, strata, seeds, draw });
        };
        let labels = dataset.classes_of(target)?;
        let named = |name: &String| Stratum { name: format!("class `{name}`"), rows: Vec::new(), may_lack: false };
        let mut strata: Vec<Stratum> = names.iter().map(named).collect();
        let mut others = Vec::new();
        for row in pool {
            match labels.get(*row as usize).copied().flatten() {
                Some(class) => {
                    let of_class = strata.get_mut(class as usize);
                    let missing = || Error::contract(format!("row {row} has class {class} of {}", names.len()));
                    of_class.ok_or_else(missing)?.rows.push(*row);
                }
                None if has_other(row) => others.push(*row),
                None => {}
            }
        }
        if !others.is_empty() {
            strata.push(Stratum { name: format!("no label `{target}`"), rows: others, may_lack: true });
        }
        Ok(Self { targets, all: labels.len(), has_classes: true, strata, seeds, draw })
    }

    /// The targets in words.
    fn targets(&self) -> String {
        let names: Vec<String> = self.targets.iter().map(|target| format!("`{target}`")).collect();
        names.join(" or ")
    }

    /// Every stratum, and the rows of each of its groups in this draw's order.
    fn shuffled(&self, sides: &Sides<'_>) -> Vec<(&Stratum, Vec<Vec<u64>>)> {
        let one = |(i, stratum): (usize, &'_ Stratum)| {
            let mut stream = self.seeds.stream("class", &[self.draw, i as u64]);
            sides.shuffled(&stratum.rows, &mut stream)
        };
        let shuffled = self.strata.iter().enumerate().map(one).collect::<Vec<_>>();
        self.strata.iter().zip(shuffled).collect()
    }
}

/// Whether each row has a label of a target.
fn is_known(dataset: &dyn Dataset, target: &str) -> Result<Vec<bool>> {
    Ok(match dataset.targets().get(target) {
        Some(Field::Number) => dataset.numbers_of(target)?.iter().map(Option::is_some).collect(),
        _ => dataset.classes_of(target)?.iter().map(Option::is_some).collect(),
    })
}

/// How many of `n` labels are set aside.
fn set_aside(n: usize, share: f64) -> usize {
    if share > 0. && n >= LEAST_FOR_VALIDATION { ((n as f64 * share).round() as usize).clamp(1, n - 1) } else { 0 }
}

/// Takes `budget` labels of each class, or of all rows. Training rows come first, so that those of a smaller budget are
/// among them.
fn draw_budget(pool: &Pool<'_>, sides: &mut Sides<'_>, budget: usize, share: f64) -> Result<()> {
    let key = if pool.has_classes { "labels_per_class" } else { "labels_in_all" };
    let strata = pool.shuffled(sides);
    let none_is_there = strata.iter().all(|(stratum, _)| stratum.rows.is_empty());
    for (Stratum { name, rows, may_lack }, groups) in strata {
        let there = rows.len();
        // A class that is only tested is told by the findings of the split.
        if there == 0 && !none_is_there {
            continue;
        }
        if there < budget && !may_lack {
            let in_pool = if pool.has_classes { " in the pool" } else { "" };
            let message = format!("{name} has {there} labelled rows{in_pool}, and {budget} are asked for");
            let e = Invalid::key(key, message);
            return Err(if there == 0 { e } else { e.help(format!("ask for at most {there}")) }.into());
        }
        let budget = budget.min(there);
        let aside = set_aside(budget, share);
        for (side, wanted) in [(Side::Train, budget - aside), (Side::Validation, aside)] {
            let got = sides.take(side, groups.iter().flatten().copied(), wanted);
            if got < wanted && !may_lack {
                let message = format!(
                    "{name} gives {got} of {wanted} {side} rows: the groups of its other rows stand on the other side"
                );
                return Err(Invalid::key(key, message).into());
            }
        }
    }
    Ok(())
}

/// Takes every label of the pool; whole groups are set aside.
fn draw_all(pool: &Pool<'_>, sides: &mut Sides<'_>, share: f64) -> Result<()> {
    let strata = pool.shuffled(sides);
    for (stratum, groups) in &strata {
        sides.set_groups_aside(groups, set_aside(stratum.rows.len(), share));
    }
    for (Stratum { name, rows, may_lack }, groups) in &strata {
        let in_order = || groups.iter().flatten().copied();
        sides.take(Side::Validation, in_order(), rows.len());
        if sides.take(Side::Train, in_order(), rows.len()) == 0 && !rows.is_empty() && !may_lack {
            let message = format!("leaves {name} no training row: its groups also hold validation rows");
            return Err(Invalid::key("validation", message).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod several;

#[cfg(test)]
mod tests;
