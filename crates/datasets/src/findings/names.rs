//! Names that are probably one: of groups, and those that rows share.

use std::collections::BTreeMap;

use transplant_codecs::text::nfkc;
use transplant_core::{Finding, FindingKind};

use super::{counted, is_unseen, listed, quoted};

/// Names that are equal but for case, white space or Unicode form: places in the list, each set of them together.
pub(super) fn similar(names: &[String]) -> Vec<Vec<usize>> {
    let mut alike: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        alike.entry(folded(name)).or_default().push(place);
    }
    alike.into_values().filter(|places| places.len() > 1).collect()
}

/// Some of these names, each with its number of rows.
pub(super) fn with_rows(places: &[usize], rows: &[usize], name: impl Fn(usize) -> String) -> String {
    let shown = |place: &usize| format!("{} ({})", name(*place), counted(rows[*place], "row"));
    listed(&places.iter().map(shown).collect::<Vec<_>>())
}

/// A name without what is easily written in another way: case, white space, characters without width, Unicode form.
fn folded(name: &str) -> String {
    let seen: String = nfkc(name).to_lowercase().chars().filter(|c| !is_unseen(*c)).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name in quotes; where another one looks the same, with its characters by number.
pub(super) fn visible(name: &str, all: &[String]) -> String {
    let looks_the_same = all.iter().any(|other| other != name && nfkc(other) == nfkc(name));
    match looks_the_same {
        true => format!("`{}`", name.escape_default()),
        false => quoted(name),
    }
}

/// Tells of groups whose names hardly differ. `groups` has the place in `names` of each row's.
pub(crate) fn similar_groups(names: &[String], groups: &[u64]) -> Option<Finding> {
    let alike = similar(names);
    let n: usize = alike.iter().map(Vec::len).sum();
    if n == 0 {
        return None;
    }
    let mut rows = vec![0; names.len()];
    groups.iter().for_each(|group| rows[*group as usize] += 1);
    let set = |places: &Vec<usize>| {
        let group: Vec<String> = places.iter().map(|place| names[*place].clone()).collect();
        with_rows(places, &rows, |place| visible(&names[place], &group))
    };
    let sets: Vec<String> = alike.iter().map(set).collect();
    let message = format!(
        "{n} groups have names that differ in nothing but case, white space or Unicode form: {}; they may stand on two sides of a \
         split; if they are one group, write its name in one way",
        first_sets(&sets)
    );
    Some(Finding::new(FindingKind::SimilarGroupNames, message))
}

/// Some sets of names, a semicolon between.
fn first_sets(sets: &[String]) -> String {
    let shown = sets.len().min(super::NAMED);
    let more = sets.len() - shown;
    sets[..shown].join("; ") + &if more > 0 { format!("; and {more} more such names") } else { String::new() }
}

/// Tells of names that several rows have in the column `column`. `place` says where a row stands.
pub(crate) fn repeated_ids(column: &str, ids: &[String], place: &dyn Fn(usize) -> String) -> Option<Finding> {
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    ids.iter().enumerate().for_each(|(row, id)| rows.entry(id).or_default().push(row));
    let mut repeated: Vec<(&str, Vec<usize>)> = rows.into_iter().filter(|(_, rows)| rows.len() > 1).collect();
    repeated.sort_by_key(|(_, rows)| rows[0]);
    let n: usize = repeated.iter().map(|(_, rows)| rows.len()).sum();
    if n == 0 {
        return None;
    }
    let shown = |(id, rows): &(&str, Vec<usize>)| {
        format!("{} ({})", quoted(id), listed(&rows.iter().map(|row| place(*row)).collect::<Vec<_>>()))
    };
    let message = format!(
        "{n} of {} have a name in column `{column}` that another row has, too: {}; outputs cannot tell them apart by it",
        counted(ids.len(), "row"),
        listed(&repeated.iter().map(shown).collect::<Vec<_>>())
    );
    Some(Finding::new(FindingKind::RepeatedIds, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn similar_groups_are_told() {
        let all = names(&["Ann", "Bob", "ann ", "ANN"]);
        let found = similar_groups(&all, &[0, 0, 1, 2, 3]).unwrap();
        assert_eq!(found.kind, FindingKind::SimilarGroupNames);
        assert_eq!(
            found.message,
            "3 groups have names that differ in nothing but case, white space or Unicode form: `Ann` (2 rows), `ann ` (1 row), \
             `ANN` (1 row); they may stand on two sides of a split; if they are one group, write its name in one way"
        );
        assert_eq!(similar_groups(&names(&["a b", "ab", "a-b"]), &[0, 1, 2]), None);
        let many: Vec<String> = (0..20).flat_map(|i| [format!("g{i}"), format!("G{i}")]).collect();
        let found = similar_groups(&many, &(0..40).collect::<Vec<_>>()).unwrap().message;
        assert!(found.starts_with("40 groups") && found.contains("; and 15 more such names; they may"), "{found}");
    }

    #[test]
    fn repeated_ids_are_counted() {
        let ids = names(&["k", "a", "a", "b", "k", "k"]);
        let found = repeated_ids("id", &ids, &|row| format!("line {}", row + 2)).unwrap();
        assert_eq!(found.kind, FindingKind::RepeatedIds);
        assert_eq!(
            found.message,
            "5 of 6 rows have a name in column `id` that another row has, too: `k` (line 2, line 6, line 7), `a` (line 3, line 4); \
             outputs cannot tell them apart by it"
        );
        assert_eq!(repeated_ids("id", &names(&["a", "b", "A"]), &|_| String::new()), None);
    }
}
