//! [`head_rows`]: the rows of another classifier whose classes we have, too.

use std::collections::BTreeMap;

use candle_core::Tensor;
use transplant_core::{Invalid, Result};

use super::values::checked;

/// Rows of a left-out head for the classes that have the same name.
#[derive(Debug)]
pub struct HeadRows {
    /// `weight [found, width]` and `bias [found]`, those that the head has.
    pub tensors: BTreeMap<String, Tensor>,
    /// Our number of the class of each row.
    pub places: Vec<usize>,
    /// Our name of the class of each row.
    pub names: Vec<String>,
}

/// The rows of `head`, whose classes are called `theirs`, for those of `ours` that have the same name but for case and
/// what stands between words (`_`, `-`, spaces). A name that stands for two classes stands for none. All other rows are
/// for the caller to make.
///
/// # Errors
/// When a tensor of the head has not one row a class, or values that are not finite.
pub fn head_rows(head: &BTreeMap<String, Tensor>, theirs: &[String], ours: &[String]) -> Result<HeadRows> {
    for (name, t) in head {
        if t.dims().first() != Some(&theirs.len()) {
            let message = format!("`{name}` of the head is {:?}, and {} classes are named", t.dims(), theirs.len());
            return Err(Invalid::new(message).into());
        }
        checked(name, name, t)?;
    }
    let (theirs, unique) = (places(theirs), places(ours));
    let found = ours.iter().enumerate().filter_map(|(place, name)| {
        let plain = plain(name);
        unique.get(&plain)?.as_ref()?;
        Some((place, name.clone(), theirs.get(&plain).copied().flatten()? as u32))
    });
    let found: Vec<(usize, String, u32)> = found.collect();
    let rows: Vec<u32> = found.iter().map(|(_, _, row)| *row).collect();
    let take = |(name, t): (&String, &Tensor)| {
        let rows = Tensor::from_vec(rows.clone(), rows.len(), t.device())?;
        Ok::<_, transplant_core::Error>((name.clone(), t.index_select(&rows, 0)?))
    };
    let tensors = if rows.is_empty() { BTreeMap::new() } else { head.iter().map(take).collect::<Result<_>>()? };
    let (places, names) = found.into_iter().map(|(place, name, _)| (place, name)).unzip();
    Ok(HeadRows { tensors, places, names })
}

/// A name without case and in words one space apart.
fn plain(name: &str) -> String {
    let words = name.split(|c: char| c == '_' || c == '-' || c.is_whitespace()).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Where each plain name stands; `None` for one that stands twice.
fn places(names: &[String]) -> BTreeMap<String, Option<usize>> {
    let mut out = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        out.entry(plain(name)).and_modify(|place| *place = None).or_insert(Some(i));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn rows_of_the_same_names_are_found() {
        let weight = Tensor::new(&[[0f32, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0f32, 1.0, 2.0, 3.0], &Device::Cpu).unwrap();
        let head = BTreeMap::from([("weight".to_owned(), weight), ("bias".to_owned(), bias)]);
        let theirs = names(&["tabby_cat", "crane", "Great  Grey-Owl", "crane"]);
        let found = head_rows(&head, &theirs, &names(&["great_grey_owl", "dog", "crane", "Tabby Cat"])).unwrap();
        assert_eq!((found.places, found.names), (vec![0, 3], names(&["great_grey_owl", "Tabby Cat"])));
        assert_eq!(found.tensors["weight"].to_vec2::<f32>().unwrap(), [[4.0, 5.0], [0.0, 1.0]]);
        assert_eq!(found.tensors["bias"].to_vec1::<f32>().unwrap(), [2.0, 0.0]);
        let twice = head_rows(&head, &theirs, &names(&["TABBY CAT", "tabby_cat"])).unwrap();
        assert!(twice.places.is_empty() && twice.tensors.is_empty());
        assert!(head_rows(&head, &theirs[..3], &theirs).unwrap_err().to_string().contains("3 classes are named"));
    }
}
