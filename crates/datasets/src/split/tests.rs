//! Draws by one target of classes.

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
    Draw { labels_per_class: k, validation, draw, ..Draw::default() }.parts(&dataset, "class", Seeds::new(3))
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
    for (k, share, train, aside) in [(1, 0.5, 1, 0), (4, 0.5, 4, 0), (5, 0.2, 4, 1), (10, 0.3, 7, 3), (12, 0.99, 1, 11)]
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
    let other = Draw { labels_per_class: Some(5), draw: 1, ..Draw::default() };
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
    let says = "labels_per_class: class `c1` has 3 labelled rows in the pool, and 5 are asked for (ask for at most 3)";
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
