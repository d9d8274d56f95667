//! [`Draw`]: which rows of a data set are trained on, chosen on, used without labels and tested on.
//!
//! The rules (those of the project's protocol): a label budget counts every label used, choosing included; below 5 labels a
//! class nothing is set aside for choosing; the test part is the data set's own and the same for every draw and budget; no
//! group stands on both sides of a split. Rows are drawn class by class, and a smaller budget's training rows are among a
//! larger one's.

use std::sync::Arc;

use transplant_core::{Dataset, Error, Field, Invalid, Result, Seeds, Test, Train, Unlabelled, Validation};

use crate::sides::{Side, Sides};

/// Labels a class from which on some may be set aside for validation.
pub const LEAST_FOR_VALIDATION: usize = 5;

/// How rows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Draw {
    /// Labels used of each class, validation included; `None`: all of the pool.
    pub labels_per_class: Option<usize>,
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
        if self.labels_per_class == Some(0) {
            return Err(Invalid::key("labels_per_class", "must be at least 1"));
        }
        if !(0. ..1.).contains(&self.validation) {
            let message = format!("must be at least 0 and below 1, not {}", self.validation);
            return Err(Invalid::key("validation", message));
        }
        Ok(())
    }

    /// Draws the rows, balanced over the classes of `target`. They are a function of the data set, the draw and `seeds`.
    ///
    /// With a budget, an official validation part stays unused: its labels would exceed the budget. Without one it is the
    /// validation part, and the whole pool is trained on.
    ///
    /// # Errors
    /// [`Error::Invalid`] under `labels_per_class` when a class of the pool has fewer rows than the budget, under
    /// `validation` when its groups cannot be kept apart, or when a share is asked for beside an official validation
    /// part that is used; [`Error::Contract`] when a group of the data set crosses its own roles.
    pub fn parts(&self, dataset: &Arc<dyn Dataset>, target: &str, seeds: Seeds) -> Result<Parts> {
        self.check()?;
        let pool = Pool::new(dataset.as_ref(), target, seeds.child("draw"), self.draw)?;
        let mut sides = Sides::new(dataset.as_ref(), pool.labels.len())?;
        let official = &dataset.roles().validation;
        let use_official = self.labels_per_class.is_none() && !official.is_empty();
        if use_official && self.validation > 0. {
            let message = format!("the data set has a validation part of its own, of {} rows", official.len());
            return Err(Invalid::key("validation", message).help("leave this key out").into());
        }
        match self.labels_per_class {
            Some(budget) => draw_budget(&pool, &mut sides, budget, self.validation)?,
            None => draw_all(&pool, &mut sides, self.validation)?,
        }
        let [train, drawn] = [Side::Train, Side::Validation].map(|s| sides.rows(s));
        let unlabelled = sides.unused(&dataset.roles().pool);
        let validation = if use_official { official.clone() } else { drawn };
        let note = match self.labels_per_class {
            _ if self.validation == 0. || !validation.is_empty() => None,
            Some(k) if k < LEAST_FOR_VALIDATION => Some(format!(
                "no validation part: with {k} labels a class (below {LEAST_FOR_VALIDATION}) all are trained on, by a fixed recipe"
            )),
            _ => {
                let own = if dataset.groups().is_some() { " in groups of its own" } else { "" };
                Some(format!("no validation part: no class has {LEAST_FOR_VALIDATION} labels{own}"))
            }
        };
        let missing = dataset.roles().pool.len() - pool.rows.iter().map(Vec::len).sum::<usize>();
        let missing = (missing > 0).then(|| {
            let rows = dataset.roles().pool.len();
            format!("{missing} of the {rows} rows that may be learned from have no label `{target}`, and are not learned from")
        });
        let unused = (self.labels_per_class.is_some() && !official.is_empty()).then(|| {
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

/// The labelled rows of the pool, by class.
struct Pool {
    labels: Vec<Option<u32>>,
    names: Vec<String>,
    rows: Vec<Vec<u64>>,
    seeds: Seeds,
    draw: u64,
}

impl Pool {
    fn new(dataset: &dyn Dataset, target: &str, seeds: Seeds, draw: u64) -> Result<Self> {
        let labels = dataset.classes_of(target)?;
        let Some(Field::Class { names }) = dataset.targets().get(target) else {
            return Err(Error::contract(format!("target `{target}` has classes of rows but is not a class")));
        };
        let mut rows = vec![Vec::new(); names.len()];
        for row in &dataset.roles().pool {
            if let Some(class) = labels.get(*row as usize).copied().flatten() {
                let of_class = rows.get_mut(class as usize);
                of_class
                    .ok_or_else(|| Error::contract(format!("row {row} has class {class} of {}", names.len())))?
                    .push(*row);
            }
        }
        Ok(Self { labels, names: names.clone(), rows, seeds, draw })
    }

    /// Every class: its name, the rows of each of its groups in this draw's order, and their number.
    fn classes<'a>(&'a self, sides: &Sides<'_>) -> Vec<(&'a str, Vec<Vec<u64>>, usize)> {
        let class = |(i, rows): (usize, &Vec<u64>)| {
            let mut stream = self.seeds.stream("class", &[self.draw, i as u64]);
            (self.names[i].as_str(), sides.shuffled(rows, &mut stream), rows.len())
        };
        self.rows.iter().enumerate().map(class).collect()
    }
}

/// How many of `n` labels are set aside.
fn set_aside(n: usize, share: f64) -> usize {
    if share > 0. && n >= LEAST_FOR_VALIDATION { ((n as f64 * share).round() as usize).clamp(1, n - 1) } else { 0 }
}

/// Takes `budget` labels of each class. Training rows come first, so that those of a smaller budget are among them.
fn draw_budget(pool: &Pool, sides: &mut Sides<'_>, budget: usize, share: f64) -> Result<()> {
    let classes = pool.classes(sides);
    let none_is_there = classes.iter().all(|(_, _, there)| *there == 0);
    for (name, groups, there) in classes {
        // A class that is only tested is told by the findings of the split.
        if there == 0 && !none_is_there {
            continue;
        }
        if there < budget {
            let message = format!("class `{name}` has {there} labelled rows in the pool, and {budget} are asked for");
            let e = Invalid::key("labels_per_class", message);
            return Err(if there == 0 { e } else { e.help(format!("ask for at most {there}")) }.into());
        }
        let aside = set_aside(budget, share);
        for (side, wanted) in [(Side::Train, budget - aside), (Side::Validation, aside)] {
            let got = sides.take(side, groups.iter().flatten().copied(), wanted);
            if got < wanted {
                let message = format!(
                    "class `{name}` gives {got} of {wanted} {side} rows: the groups of its other rows stand on the other side"
                );
                return Err(Invalid::key("labels_per_class", message).into());
            }
        }
    }
    Ok(())
}

/// Takes every label of the pool; whole groups are set aside.
fn draw_all(pool: &Pool, sides: &mut Sides<'_>, share: f64) -> Result<()> {
    let classes = pool.classes(sides);
    for (_, groups, there) in &classes {
        sides.set_groups_aside(groups, set_aside(*there, share));
    }
    for (name, groups, there) in &classes {
        let rows = || groups.iter().flatten().copied();
        sides.take(Side::Validation, rows(), *there);
        if sides.take(Side::Train, rows(), *there) == 0 && *there > 0 {
            let message = format!("leaves class `{name}` no training row: its groups also hold validation rows");
            return Err(Invalid::key("validation", message).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Images, Layout};
    use std::collections::BTreeSet;
    use transplant_core::Roles;

    type Rows = BTreeSet<u64>;

    /// `rows[c]` rows of class c in the pool, in turns, then two test rows a class.
    fn images(rows: &[usize]) -> Images {
        let most = rows.iter().max().copied().unwrap_or(0);
        let turns = (0..most).flat_map(|i| (0..rows.len()).filter(move |c| i < rows[*c])).map(|c| Some(c as u32));
        let mut labels: Vec<_> = turns.collect();
        let pool = labels.len() as u64;
        labels.extend((0..rows.len() * 2).map(|i| Some((i / 2) as u32)));
        let all = labels.len() as u64;
        with(rows.len(), labels, Roles { pool: (0..pool).collect(), test: (pool..all).collect(), ..Roles::default() })
    }

    fn with(classes: usize, labels: Vec<Option<u32>>, roles: Roles) -> Images {
        let classes = (0..classes).map(|c| format!("c{c}")).collect();
        let layout = Layout { name: "toy".to_owned(), shape: [1, 1, 1], highest: 1, classes };
        let pixels = vec![0; labels.len()];
        Images::new(layout, labels, pixels, roles).unwrap()
    }

    fn parts(images: &Images, k: Option<usize>, validation: f64, draw: u64) -> Result<Parts> {
        let dataset: Arc<dyn Dataset> = Arc::new(images.clone());
        Draw { labels_per_class: k, validation, draw }.parts(&dataset, "class", Seeds::new(3))
    }

    fn count(images: &Images, rows: &[u64]) -> Vec<usize> {
        let labels = images.classes_of("class").unwrap();
        let mut n = vec![0; 8];
        rows.iter().filter_map(|r| labels[*r as usize]).for_each(|c| n[c as usize] += 1);
        n.truncate(labels.iter().flatten().max().map_or(0, |c| *c as usize + 1));
        n
    }

    /// What holds for every draw: no row in two parts, nothing outside the data set's roles, no group on two sides.
    fn check(images: &Images, p: &Parts) {
        let parts: [Rows; 4] = [p.train.rows(), p.validation_rows(), p.unlabelled.rows(), p.test.rows()]
            .map(|rows| rows.iter().copied().collect());
        assert_eq!(parts.iter().map(Rows::len).sum::<usize>(), parts.iter().flatten().collect::<BTreeSet<_>>().len());
        let pool: Rows = images.roles().pool.iter().copied().collect();
        assert!(parts[0].is_subset(&pool) && parts[2].is_subset(&pool));
        assert_eq!(p.test.rows(), images.roles().test);
        if let Some(groups) = images.groups() {
            let of = |rows: &Rows| rows.iter().map(|r| groups[*r as usize]).collect::<Rows>();
            assert!(of(&parts[1]).is_disjoint(&of(&parts[0])) && of(&parts[1]).is_disjoint(&of(&parts[2])));
        }
    }

    #[test]
    fn a_budget_is_the_same_for_every_class_and_counts_validation() -> Result<()> {
        let images = images(&[30, 20, 12]);
        for (k, share, train, aside) in
            [(1, 0.5, 1, 0), (4, 0.5, 4, 0), (5, 0.2, 4, 1), (10, 0.3, 7, 3), (12, 0.99, 1, 11)]
        {
            let p = parts(&images, Some(k), share, 0)?;
            check(&images, &p);
            assert_eq!(count(&images, p.train.rows()), [train; 3]);
            assert_eq!(count(&images, p.validation_rows()), if aside == 0 { vec![0; 3] } else { vec![aside; 3] });
            assert_eq!(p.unlabelled.rows().len(), 62 - 3 * k);
            assert_eq!(p.note.is_some(), k < LEAST_FOR_VALIDATION);
        }
        assert!(parts(&images, Some(4), 0., 0)?.note.is_none());
        Ok(())
    }

    #[test]
    fn the_whole_pool_keeps_the_shares_of_its_classes() -> Result<()> {
        let images = images(&[30, 20, 4]);
        let p = parts(&images, None, 0.2, 0)?;
        check(&images, &p);
        assert_eq!(count(&images, p.validation_rows()), [6, 4, 0]);
        assert_eq!(count(&images, p.train.rows()), [24, 16, 4]);
        assert!(p.unlabelled.rows().is_empty() && p.note.is_none());
        assert_eq!(parts(&images, None, 0., 0)?.train.rows(), images.roles().pool);
        Ok(())
    }

    #[test]
    fn draws_differ_repeat_and_nest() -> Result<()> {
        let images = images(&[40, 40]);
        let rows = |k, draw| Ok::<_, Error>(parts(&images, Some(k), 0., draw)?.train.rows().to_vec());
        assert_eq!(rows(5, 1)?, rows(5, 1)?);
        assert_ne!(rows(5, 1)?, rows(5, 2)?);
        let (few, many): (Rows, Rows) = (rows(2, 1)?.into_iter().collect(), rows(9, 1)?.into_iter().collect());
        assert!(few.is_subset(&many));
        let dataset: Arc<dyn Dataset> = Arc::new(images.clone());
        let other = Draw { labels_per_class: Some(5), validation: 0., draw: 1 };
        assert_ne!(other.parts(&dataset, "class", Seeds::new(4))?.train.rows(), rows(5, 1)?);
        // Every row is drawn about as often as any other.
        let mut times = vec![0; 80];
        for draw in 0..400 {
            rows(4, draw)?.iter().for_each(|r| times[*r as usize] += 1);
        }
        assert!(times.iter().all(|n| (15..70).contains(n)), "{times:?}");
        Ok(())
    }

    #[test]
    fn no_group_crosses_validation() -> Result<()> {
        // Groups of three neighbours hold rows of several classes.
        let pool = 200u64;
        let grouped = |images: Images| {
            let groups = (0..images.rows()).map(|r| if r < pool { r / 3 } else { 1000 + r }).collect();
            images.grouped(groups)
        };
        let images = grouped(images(&[100, 60, 40]))?;
        for draw in 0..50 {
            let p = parts(&images, Some(10), 0.3, draw)?;
            check(&images, &p);
            assert_eq!((count(&images, p.train.rows()), count(&images, p.validation_rows())), (vec![7; 3], vec![3; 3]));
            let p = parts(&images, None, 0.25, draw)?;
            check(&images, &p);
            assert_eq!(p.train.rows().len() + p.validation_rows().len(), 200);
            let aside = count(&images, p.validation_rows());
            assert!(aside.iter().zip([25, 15, 10]).all(|(n, wanted)| n.abs_diff(wanted) <= 12), "{aside:?}");
        }
        Ok(())
    }

    #[test]
    fn classes_that_are_only_tested_are_not_drawn() -> Result<()> {
        assert_eq!(parts(&images(&[9, 9, 0]), Some(5), 0., 0)?.train.rows().len(), 10);
        assert!(parts(&images(&[0, 0]), Some(5), 0., 0).unwrap_err().to_string().contains("has 0 labelled rows"));
        Ok(())
    }

    #[test]
    fn what_cannot_be_drawn_names_class_count_and_budget() -> Result<()> {
        let images = images(&[9, 3]);
        let e = parts(&images, Some(5), 0., 0).unwrap_err();
        let says =
            "labels_per_class: class `c1` has 3 labelled rows in the pool, and 5 are asked for (ask for at most 3)";
        assert_eq!(e.to_string(), says);
        assert!(parts(&images, Some(0), 0., 0).unwrap_err().to_string().starts_with("labels_per_class"));
        for share in [1., -0.1, f64::NAN] {
            assert!(parts(&images, None, share, 0).unwrap_err().to_string().starts_with("validation"));
        }
        let one_group = images.clone().grouped((0..16).map(|r| u64::from(r >= 12)).collect())?;
        let e = parts(&one_group, Some(3), 0., 0);
        assert!(e.is_ok());
        let dataset: Arc<dyn Dataset> = Arc::new(images);
        assert!(Draw::default().parts(&dataset, "age", Seeds::new(0)).is_err());
        Ok(())
    }

    #[test]
    fn one_group_cannot_serve_both_sides() -> Result<()> {
        let images = images(&[9, 9]).grouped((0..22).map(|r| u64::from(r >= 18)).collect())?;
        let e = parts(&images, Some(5), 0.4, 0).unwrap_err().to_string();
        assert!(e.contains("class `c0` gives 0 of 2 validation rows"), "{e}");
        let p = parts(&images, None, 0.4, 0)?;
        assert!(p.validation.is_none() && p.note.unwrap().contains("groups of its own"));
        Ok(())
    }

    #[test]
    fn rows_without_a_label_are_never_drawn() -> Result<()> {
        let labels = [Some(0), None, Some(1), None, Some(0), Some(1)].to_vec();
        let images = with(2, labels, Roles { pool: (0..6).collect(), ..Roles::default() });
        let all = parts(&images, None, 0., 0)?;
        assert_eq!(all.train.rows(), [0, 2, 4, 5]);
        let told = "2 of the 6 rows that may be learned from have no label `class`, and are not learned from";
        assert_eq!(all.note.as_deref(), Some(told));
        assert_eq!(parts(&images, Some(2), 0., 0)?.unlabelled.rows(), [1, 3]);
        assert!(parts(&images, Some(3), 0., 0).is_err());
        Ok(())
    }

    #[test]
    fn an_official_validation_part_serves_when_there_is_no_budget() -> Result<()> {
        let labels = (0..24).map(|i| Some(i % 2)).collect();
        let roles = Roles { pool: (0..20).collect(), validation: vec![20, 21], test: vec![22, 23] };
        let images = with(2, labels, roles);
        let p = parts(&images, None, 0., 0)?;
        assert_eq!((p.train.rows().len(), p.validation_rows()), (20, &[20, 21][..]));
        let e = parts(&images, None, 0.3, 0).unwrap_err().to_string();
        assert!(e.starts_with("validation: the data set has a validation part of its own, of 2 rows"), "{e}");
        let p = parts(&images, Some(5), 0.4, 0)?;
        assert_eq!(count(&images, p.validation_rows()), [2, 2]);
        assert!(p.validation_rows().iter().all(|r| *r < 20));
        let p = parts(&images, Some(5), 0., 0)?;
        assert!(p.validation.is_none() && p.note.unwrap().contains("own validation part of 2 rows is not used"));
        Ok(())
    }
}
