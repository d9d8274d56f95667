//! [`Selection`]: the rows of a data set that one stream or one test has, by facts of rows.

use std::sync::Arc;

use transplant_core::{DOMAIN, Dataset, Invalid, Result, Roles, nearest};

use crate::division::{Divided, PART, TEST_PART};

/// Which rows of a data set a stream or a test has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The part of the division `parts` whose rows are learned from; `None`: all but the one that is tested.
    pub part: Option<String>,
    /// Rows of these domains alone; `None`: of all.
    pub domains: Option<Vec<String>>,
    /// Rows of this domain alone are tested, and none of them is learned from.
    pub held_out: Option<String>,
}

impl Selection {
    /// The data set with these rows in its roles. A domain that is held out becomes the test part where there is none,
    /// and is all that is left of one that there is.
    ///
    /// # Errors
    /// [`Error::Invalid`](transplant_core::Error::Invalid) under `part`, `domain` or `held_out` when the data set has no
    /// such part or domain, or no row is left.
    pub fn of(&self, dataset: &Arc<dyn Dataset>) -> Result<Arc<dyn Dataset>> {
        if *self == Self::default() {
            return Ok(dataset.clone());
        }
        let named = |key: &str, fact: &str, help: &str, names: &[&String]| {
            let Some(fact) = dataset.fact(fact) else {
                let message = format!("the data set does not say which {fact} a row is of");
                return Err(Invalid::key(key, message).help(help));
            };
            match names.iter().find(|name| !fact.names.contains(name)) {
                None => Ok(()),
                Some(unknown) => {
                    let near = nearest(unknown, fact.names.iter().map(String::as_str));
                    let there: Vec<_> = fact.names.iter().map(|n| format!("`{n}`")).collect();
                    let help = near
                        .map_or_else(|| format!("there are {}", there.join(", ")), |n| format!("did you mean `{n}`?"));
                    Err(Invalid::key(key, format!("the data set has no {} `{unknown}`", singular(key))).help(help))
                }
            }
        };
        if let Some(part) = &self.part {
            named("part", PART, "`parts = { learn = 0.5, adapt = 0.25, test = 0.25 }` divides it", &[part])?;
            if part == TEST_PART {
                return Err(Invalid::key("part", "the part that is tested is not learned from").into());
            }
        }
        let no_domains = "an option `domain` of the data set names the column that says so";
        if let Some(domains) = &self.domains {
            named("domain", DOMAIN, no_domains, &domains.iter().collect::<Vec<_>>())?;
        }
        if let Some(domain) = &self.held_out {
            named("held_out", DOMAIN, no_domains, &[domain])?;
        }
        let is = |fact: &str, row: u64, word: &String| {
            dataset.fact(fact).and_then(|f| f.word(row)).is_some_and(|found| found == word)
        };
        let in_domains = |row: u64| self.domains.as_ref().is_none_or(|all| all.iter().any(|d| is(DOMAIN, row, d)));
        let held_out = |row: u64| self.held_out.as_ref().is_some_and(|d| is(DOMAIN, row, d));
        let learned = |rows: &[u64]| {
            let in_part = |row: u64| self.part.as_ref().is_none_or(|part| is(PART, row, part));
            rows.iter().copied().filter(|r| in_domains(*r) && in_part(*r) && !held_out(*r)).collect::<Vec<_>>()
        };
        let all = dataset.roles();
        let tested = match (&self.held_out, all.test.is_empty()) {
            (None, _) => all.test.iter().copied().filter(|r| in_domains(*r)).collect(),
            (Some(_), true) => all.pool.iter().copied().filter(|r| held_out(*r)).collect(),
            (Some(_), false) => all.test.iter().copied().filter(|r| held_out(*r)).collect(),
        };
        let roles = Roles { pool: learned(&all.pool), validation: learned(&all.validation), test: tested };
        if roles.pool.is_empty() && !all.pool.is_empty() {
            let key = if self.domains.is_some() { "domain" } else { "part" };
            return Err(Invalid::key(key, "no row that may be learned from is left").into());
        }
        Ok(Arc::new(Divided { dataset: dataset.clone(), roles, part: None }))
    }
}

/// What a key names.
fn singular(key: &str) -> &str {
    if key == "part" { "part" } else { "domain" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CLASS, Division};
    use std::collections::{BTreeMap, BTreeSet};
    use transplant_core::{Batch, Error, Fact, Schema};

    /// Sixty rows in groups of three, one of each of three domains.
    struct Three {
        roles: Roles,
        groups: Vec<u64>,
        domain: Fact,
        none: Schema,
    }

    impl Dataset for Three {
        fn inputs(&self) -> &Schema {
            &self.none
        }
        fn targets(&self) -> &Schema {
            &self.none
        }
        fn roles(&self) -> &Roles {
            &self.roles
        }
        fn classes_of(&self, _: &str) -> Result<Vec<Option<u32>>> {
            Err(Error::contract("not in this test"))
        }
        fn groups(&self) -> Option<&[u64]> {
            Some(&self.groups)
        }
        fn fact(&self, name: &str) -> Option<&Fact> {
            (name == DOMAIN).then_some(&self.domain)
        }
        fn batch(&self, _: &[u64]) -> Result<Batch> {
            Err(Error::contract("not in this test"))
        }
        fn content_hash(&self) -> String {
            "three".into()
        }
    }

    fn three() -> Arc<dyn Dataset> {
        let words = ["a", "b", "c"];
        Arc::new(Three {
            roles: Roles { pool: (0..60).collect(), ..Roles::default() },
            groups: (0..60).map(|row| row / 3).collect(),
            domain: Fact::of_words((0..60).map(|row| Some(words[row % 3]))),
            none: Schema::new(),
        })
    }

    fn divided(shares: &[(&str, f64)]) -> Result<Arc<dyn Dataset>> {
        let shares: BTreeMap<String, f64> = shares.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
        Division::Parts(shares).of(&three(), None)
    }

    fn words(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|n| (*n).to_owned()).collect())
    }

    #[test]
    fn parts_and_domains_are_disjoint_and_groups_whole() -> Result<()> {
        let all = divided(&[("learn", 0.5), ("adapt", 0.25), ("test", 0.25)])?;
        let of = |part: &str, domain: &str| {
            Selection { part: Some(part.into()), domains: words(&[domain]), held_out: None }.of(&all)
        };
        let (source, target) = (of("learn", "a")?, of("adapt", "b")?);
        let groups = |rows: &[u64]| rows.iter().map(|r| r / 3).collect::<BTreeSet<_>>();
        let [learn, adapt] = [&source, &target].map(|d| groups(&d.roles().pool));
        assert!(!learn.is_empty() && !adapt.is_empty() && learn.is_disjoint(&adapt));
        assert!(source.roles().pool.iter().all(|r| r % 3 == 0) && target.roles().pool.iter().all(|r| r % 3 == 1));
        assert!(target.roles().test.iter().all(|r| r % 3 == 1) && !target.roles().test.is_empty());
        assert!(groups(&target.roles().test).is_disjoint(&learn) && groups(&all.roles().test).is_disjoint(&adapt));
        Ok(())
    }

    #[test]
    fn a_held_out_domain_is_tested_and_not_learned_from() -> Result<()> {
        let held = Selection { held_out: Some("b".into()), ..Selection::default() };
        let whole = held.of(&three())?;
        assert!(whole.roles().pool.iter().all(|r| r % 3 != 1) && whole.roles().pool.len() == 40);
        assert!(whole.roles().test.iter().all(|r| r % 3 == 1) && whole.roles().test.len() == 20);
        let parts = held.of(&divided(&[("learn", 0.7), ("test", 0.3)])?)?;
        assert!(parts.roles().test.iter().all(|r| r % 3 == 1) && parts.roles().test.len() < 20);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_named() {
        let says = |s: Selection| s.of(&three()).err().unwrap().to_string();
        let part = |p: &str| Selection { part: Some(p.into()), ..Selection::default() };
        assert!(says(part("learn")).starts_with("part: the data set does not say"), "{}", says(part("learn")));
        let domain = |d: &str| Selection { domains: words(&[d]), ..Selection::default() };
        assert_eq!(says(domain("x")), "domain: the data set has no domain `x` (there are `a`, `b`, `c`)");
        let e = |shares: &[(&str, f64)]| divided(shares).err().unwrap().to_string();
        assert!(e(&[("learn", 0.5), ("test", 0.2)]).starts_with("parts: shares must sum up to 1, and learn 0.5"));
        assert!(e(&[("learn", 1.0), ("test", 0.0)]).starts_with("parts.test: must be above 0"));
        assert!(Division::Share(0.5).of(&three(), Some(CLASS)).is_err());
    }
}
