//! [`Chain`]: transforms one after the other, for training and for everything else.

use std::sync::Arc;

use transplant_core::{
    Acts, Carried, Dataset, Error, Finding, FindingKind, Invalid, MASK, Result, Schema, Seeds, TextLimit, Transform,
    TransformCx, rows_at_a_time,
};

use crate::findings::{counted, listed};

/// Transforms in the order in which they act: `transforms` as listed, then `augment`, and after both those that act
/// [`last`](Transform::last), whatever stands after them in the list. The random ones act in training only; what a network
/// sees in an evaluation or a prediction is what [`plain`](Self::plain) makes.
#[derive(Clone, Default)]
pub struct Chain(Vec<Link>);

#[derive(Clone)]
struct Link {
    transform: Arc<dyn Transform>,
    /// Where it stands in the file, for errors.
    key: String,
}

impl Chain {
    /// `transforms` first, then `augment`, then those of `transforms` that act last. A random transform may stand among
    /// `transforms` too, where another has to follow it (resizing, say).
    ///
    /// # Errors
    /// When one of `augment` is not random: acting in training only, it would show the network something else there than
    /// in use.
    pub fn new(transforms: Vec<Arc<dyn Transform>>, augment: Vec<Arc<dyn Transform>>) -> Result<Self, Invalid> {
        if let Some(i) = augment.iter().position(|t| !t.random()) {
            let e =
                Invalid::key(&format!("augment.{i}"), "draws no random numbers, so it must act in use as in training");
            return Err(e.help("put it under `transforms`"));
        }
        let links = |key: &'static str, list: Vec<Arc<dyn Transform>>| {
            (0..).zip(list).map(move |(i, transform): (usize, _)| Link { transform, key: format!("{key}.{i}") })
        };
        let all = links("transforms", transforms).chain(links("augment", augment));
        let (last, mut order): (Vec<_>, Vec<_>) = all.partition(|l| l.transform.last());
        order.extend(last);
        Ok(Self(order))
    }

    /// The schema that comes out.
    ///
    /// # Errors
    /// When a transform does not suit what it is given, or something else comes out in training than in use; the error
    /// stands at the transform's key.
    pub fn schema(&self, inputs: &Schema) -> Result<Schema, Invalid> {
        let trained = schema_of(self.0.iter(), inputs)?;
        if !self.random() || schema_of(self.0.iter().filter(|l| !l.transform.random()), inputs)? == trained {
            return Ok(trained);
        }
        let mut before = inputs.clone();
        for link in &self.0 {
            let after = schema_of(std::iter::once(link), &before)?;
            if link.transform.random() && after != before {
                let e = Invalid::key(&link.key, "changes the shape of the inputs, and acts in training only");
                return Err(
                    e.help("list it under `transforms`, and after it one that always brings them to that shape")
                );
            }
            before = after;
        }
        Ok(trained)
    }

    /// What a data set's rows lose: how many of its texts are cut off, and where; and of which of them the network is
    /// given no word. Reads all rows when a transform has a [`limit`](Transform::limit).
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn findings(&self, dataset: &dyn Dataset) -> Result<Vec<Finding>> {
        let roles = dataset.roles();
        let rows: Vec<u64> = [&roles.pool, &roles.validation, &roles.test].into_iter().flatten().copied().collect();
        let mut out = Vec::new();
        for (i, link) in self.0.iter().enumerate() {
            let Some(limit) = link.transform.limit() else { continue };
            let before = Self(self.0[..i].to_vec());
            let (mut cut, mut longest, mut wordless) = (0, 0, Vec::new());
            for rows in rows.chunks(rows_at_a_time(dataset.inputs())) {
                let texts = before.plain(dataset.batch(rows)?.inputs, rows)?;
                let made = link.apply(texts.clone(), rows)?;
                let of_rows = rows.iter().zip(link.transform.has_words(&made)?);
                wordless.extend(of_rows.filter(|(_, has)| !has).map(|(row, _)| *row));
                if is_filled(&made)? {
                    let lengths = link.transform.lengths(&texts)?;
                    cut += lengths.iter().filter(|n| **n > limit.length).count();
                    longest = lengths.into_iter().max().unwrap_or_default().max(longest);
                }
            }
            out.extend(truncated(cut, longest, rows.len(), limit));
            out.extend(without_words(dataset, &wordless, rows.len()));
        }
        Ok(out)
    }

    /// Of which rows a network is given a word that it knows, in what [`plain`](Self::plain) made of them; empty where
    /// it is given no texts.
    ///
    /// # Errors
    /// When what a transform made is not there.
    pub fn has_words(&self, made: &Acts) -> Result<Vec<bool>> {
        for link in &self.0 {
            let has_words = link.transform.has_words(made)?;
            if !has_words.is_empty() {
                return Ok(has_words);
            }
        }
        Ok(Vec::new())
    }

    /// Whether any transform is random.
    pub fn random(&self) -> bool {
        self.0.iter().any(|l| l.transform.random())
    }

    /// The keys of those that act in use, such as `transforms.0`.
    pub fn in_use(&self) -> Vec<&str> {
        self.0.iter().filter(|l| !l.transform.random()).map(|l| l.key.as_str()).collect()
    }

    /// The files that they cannot do without.
    pub fn carried(&self) -> Vec<Carried> {
        self.0.iter().filter_map(|l| l.transform.carried()).collect()
    }

    /// The inputs of these rows for training in this epoch.
    ///
    /// # Errors
    /// The first error of a transform.
    pub fn train(&self, inputs: Acts, rows: &[u64], epoch: u64, seeds: Seeds) -> Result<Acts> {
        self.0.iter().try_fold(inputs, |inputs, link| {
            // By key, so that two transforms of a type draw different numbers.
            let seeds = seeds.child(&link.key);
            link.transform.apply(inputs, &TransformCx { rows, epoch, seeds })
        })
    }

    /// The inputs of these rows without randomness.
    ///
    /// # Errors
    /// The first error of a transform.
    pub fn plain(&self, inputs: Acts, rows: &[u64]) -> Result<Acts> {
        self.0.iter().filter(|l| !l.transform.random()).try_fold(inputs, |inputs, link| link.apply(inputs, rows))
    }
}

impl Link {
    /// Applies it without randomness.
    fn apply(&self, inputs: Acts, rows: &[u64]) -> Result<Acts> {
        self.transform.apply(inputs, &TransformCx { rows, epoch: 0, seeds: Seeds::new(0) })
    }
}

/// Whether some row of tokens is filled to its end, so that its text may have been cut off; rows without a mask may.
fn is_filled(made: &Acts) -> Result<bool> {
    let Some(mask) = made.find(MASK) else { return Ok(true) };
    Ok(mask.to_vec2::<f32>()?.iter().any(|row| row.last().is_none_or(|last| *last > 0.0)))
}

/// Tells of texts that are cut off.
fn truncated(cut: usize, longest: usize, all: usize, limit: TextLimit) -> Option<Finding> {
    let (TextLimit { length, unit, option }, verb) = (limit, if cut == 1 { "is" } else { "are" });
    let message = format!(
        "{cut} of {all} texts {verb} cut off after {length} {unit} (the longest has {longest}); `{option}` sets the limit"
    );
    (cut > 0).then(|| Finding::new(FindingKind::TruncatedTexts, message))
}

/// Tells of texts of which the network is given no word.
fn without_words(dataset: &dyn Dataset, rows: &[u64], all: usize) -> Option<Finding> {
    let called = |row: &u64| dataset.row_name(*row).map_or_else(|| row.to_string(), |name| format!("{row} ({name})"));
    let (verb, noun) = if rows.len() == 1 { ("has", "row") } else { ("have", "rows") };
    let message = format!(
        "{} of {} {verb} no word that the network knows, and such texts are all the same to it: {noun} {}",
        rows.len(),
        counted(all, "text"),
        listed(&rows.iter().map(called).collect::<Vec<_>>())
    );
    (!rows.is_empty()).then(|| Finding::new(FindingKind::TextsWithoutWords, message))
}

fn schema_of<'a>(mut links: impl Iterator<Item = &'a Link>, inputs: &Schema) -> Result<Schema, Invalid> {
    links.try_fold(inputs.clone(), |schema, link| {
        link.transform.schema(&schema).map_err(|e| match e {
            Error::Invalid(e) => e.under(&link.key),
            e => Invalid::key(&link.key, e.to_string()),
        })
    })
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|l| &l.key)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transforms::{
        Affine, Flip, Normalise, Pad, RandomResizedCrop, Resize, affine, flip, normalise, pad, random_resized_crop,
        resize,
    };
    use candle_core::{Device, Tensor};
    use transplant_core::{Field, HIDDEN};

    fn flip() -> Arc<dyn Transform> {
        Arc::new(Flip::new(flip::Options::default()).unwrap())
    }

    fn normalise() -> Arc<dyn Transform> {
        Arc::new(Normalise::new(normalise::Options { mean: vec![1.], std: vec![1.] }).unwrap())
    }

    fn image(width: usize) -> Acts {
        let values: Vec<f32> = (0..width).map(|i| i as f32).collect();
        Acts::hidden(Tensor::from_vec(values, (1, 1, 1, width), &Device::Cpu).unwrap())
    }

    fn values(a: &Acts) -> Vec<f32> {
        a.get(HIDDEN).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn random_ones_act_in_training_only_wherever_they_stand() -> Result<()> {
        let chain = Chain::new(vec![flip(), normalise()], vec![flip()])?;
        assert!(chain.random());
        assert_eq!(values(&chain.plain(image(3), &[0])?), [-1., 0., 1.]);
        let seen: Vec<_> = (0..40)
            .map(|epoch| chain.train(image(3), &[0], epoch, Seeds::new(0)).map(|a| values(&a)[0] as i32))
            .collect::<Result<_>>()?;
        assert!(seen.contains(&-1) && seen.contains(&1), "{seen:?}");
        // Two flips that drew the same numbers would cancel out.
        let twice = Chain::new(vec![], vec![flip(), flip()])?;
        let kept =
            (0..64).filter(|e| values(&twice.train(image(3), &[0], *e, Seeds::new(0)).unwrap())[0] == 0.).count();
        assert!((16..48).contains(&kept), "{kept}");
        Ok(())
    }

    #[test]
    fn schemas_follow_each_other_and_errors_name_the_place() -> Result<()> {
        let resize: Arc<dyn Transform> = Arc::new(Resize::new(resize::Options::new(4, 4))?);
        let o = pad::Options { height: Some(2), width: Some(6), ..pad::Options::default() };
        let pad: Arc<dyn Transform> = Arc::new(Pad::new(o)?);
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 1, height: 1, width: 3 })]);
        let out = Chain::new(vec![pad.clone(), resize.clone()], vec![flip()])?.schema(&schema)?;
        assert_eq!(out[HIDDEN], Field::Image { channels: 1, height: 4, width: 4 });
        let e = Chain::new(vec![resize, pad], vec![])?.schema(&schema).unwrap_err().to_string();
        assert_eq!(e, "transforms.1.height: 2 is less than the image's 4");
        let e = Chain::new(vec![], vec![flip(), normalise()]).unwrap_err().to_string();
        assert!(e.starts_with("augment.1: draws no random numbers"), "{e}");
        Ok(())
    }
    #[test]
    fn normalising_acts_after_all_others_wherever_it_is_listed() -> Result<()> {
        let border = pad::Options { left: 1, fill: 3., ..pad::Options::default() };
        let border: Arc<dyn Transform> = Arc::new(Pad::new(border)?);
        // Everything is shifted out of the picture, so that only its filling is left.
        let away = Affine::new(affine::Options { scale: [1e-6, 1e-6], fill: 5., ..affine::Options::default() })?;
        let twice = Normalise::new(normalise::Options { mean: vec![0.], std: vec![0.5] })?;
        let twice: Arc<dyn Transform> = Arc::new(twice);
        let chain = Chain::new(vec![normalise(), twice.clone(), border.clone()], vec![Arc::new(away)])?;
        assert_eq!(format!("{chain:?}"), r#"["transforms.2", "augment.0", "transforms.0", "transforms.1"]"#);
        assert_eq!(values(&chain.plain(image(3), &[0])?), [4., -2., 0., 2.]);
        assert_eq!(values(&chain.train(image(3), &[0], 0, Seeds::new(0))?), [8.; 4]);
        let other = Chain::new(vec![twice, border, normalise()], vec![])?;
        assert_eq!(values(&other.plain(image(3), &[0])?), [5., -1., 1., 3.], "the order among them is kept");
        // What is wrong with it stands at its place in the file.
        let two = Normalise::new(normalise::Options { mean: vec![0.; 2], std: vec![1.; 2] })?;
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 1, height: 1, width: 3 })]);
        let e = Chain::new(vec![Arc::new(two), normalise()], vec![flip()])?.schema(&schema).unwrap_err().to_string();
        assert!(e.starts_with("transforms.0.mean: has 2 numbers"), "{e}");
        Ok(())
    }

    #[test]
    fn a_shape_that_only_training_sees_is_named() -> Result<()> {
        let o = random_resized_crop::Options { height: Some(4), width: Some(4), ..Default::default() };
        let crop: Arc<dyn Transform> = Arc::new(RandomResizedCrop::new(o)?);
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 1, height: 6, width: 6 })]);
        let e = Chain::new(vec![normalise(), crop.clone()], vec![])?.schema(&schema).unwrap_err().to_string();
        assert!(e.starts_with("transforms.1: changes the shape of the inputs, and acts in training only"), "{e}");
        let resize: Arc<dyn Transform> = Arc::new(Resize::new(resize::Options::new(4, 4))?);
        let out = Chain::new(vec![crop, resize], vec![])?.schema(&schema)?;
        assert_eq!(out[HIDDEN], Field::Image { channels: 1, height: 4, width: 4 });
        Ok(())
    }
}
