//! [`Meaning`]: what the inputs of a network stand for. No shape of a tensor tells it: a network that is given other
//! columns, pieces of text or pixels than it learned from computes something else, and nothing fails.

use std::path::Path;

use serde_json::{Value, json};
use transplant_core::{
    BuildCx, Field, Finding, FindingKind, Frame, HIDDEN, Plugins, Result, Schema, Seeds, Spec, TOKENS, Transform,
    Vocabulary,
};

use super::data::Opened;
use super::description::{Description, Pixels, TOKENISE};
use crate::resolved::DatasetSpec;

/// So many columns are named at most.
const NAMED: usize = 4;
/// Means and deviations of pixels that differ by less are the same, rounded otherwise.
const NEAR: f64 = 0.02;

/// What the inputs of a network stand for, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    /// The scale of pixels.
    pixels: Pixels,
    /// How pictures became rows.
    frame: Option<Frame>,
    /// What each value of a vector is; empty: not known.
    values: Vec<String>,
    /// The transforms that a vector passes through, by tag; `None`: not known.
    transforms: Option<Vec<String>>,
    /// What the numbers of tokens stand for.
    vocabulary: Option<Vocabulary>,
}

impl Meaning {
    /// That of the inputs of a cell.
    ///
    /// # Errors
    /// When the rules of a tokenizer cannot be written down.
    pub(super) fn of_data(spec: &DatasetSpec, open: &Opened) -> Result<Self> {
        let vocabularies = open.transforms.iter().map(|t| t.vocabulary()).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            pixels: Pixels::after(&spec.transforms),
            frame: open.dataset.frame(),
            values: open.dataset.column_names().to_vec(),
            transforms: Some(tags(&spec.transforms)),
            vocabulary: vocabularies.into_iter().flatten().next(),
        })
    }

    /// That of what weights learned from; files that are named lie in `folder`.
    pub(super) fn of_weights(about: &Description, folder: &Path, plugins: &Plugins) -> Self {
        let cx = BuildCx { plugins, base: folder, seeds: Seeds::new(0) };
        let manifest = about.manifest.as_deref();
        let others = manifest.into_iter().flat_map(|m| &m.transforms).filter(|t| t.tag != TOKENISE);
        // What cannot be made (an export alone lacks its tokenizer) is not known.
        let vocabulary = |spec: &Spec<dyn Transform>| cx.make(spec).ok()?.vocabulary().ok()?;
        Self {
            pixels: about.pixels.clone(),
            frame: manifest.and_then(|m| m.frame.clone()),
            values: manifest.and_then(|m| m.columns.as_ref()).map(|c| c.values()).unwrap_or_default(),
            transforms: manifest.map(|m| tags(&m.transforms)),
            vocabulary: about.tokenizer.iter().chain(others).find_map(vocabulary),
        }
    }

    /// How these inputs, of this schema, differ from those that a source learned from, which `source` names: step
    /// `first`, the weights `imagenet`.
    pub(super) fn beside(&self, inputs: &Schema, source: &str, theirs: &Self) -> Vec<Finding> {
        let mut out = Vec::new();
        match inputs.get(HIDDEN) {
            Some(Field::Image { .. }) => {
                out.extend(self.pixels_beside(source, &theirs.pixels));
                out.extend(self.frame_beside(source, theirs.frame.as_ref()));
            }
            Some(Field::Vector { .. }) => {
                out.extend(self.values_beside(source, &theirs.values));
                out.extend(self.transforms_beside(source, theirs.transforms.as_ref()));
            }
            _ => {}
        }
        if inputs.contains_key(TOKENS) {
            out.extend(self.vocabulary_beside(source, theirs.vocabulary.as_ref()));
        }
        out
    }

    fn pixels_beside(&self, source: &str, theirs: &Pixels) -> Option<Finding> {
        let ours = &self.pixels;
        if *theirs == Pixels::Unknown {
            return (*ours == Pixels::Plain).then(|| {
                let message = format!(
                    "its pixels are as they are, 0 to 1, and {source} does not say how pixels were normalised when it was trained: \
                     most weights from ImageNet need `{{ type = \"normalise\", mean = [0.485, 0.456, 0.406], std = [0.229, \
                     0.224, 0.225] }}` among the `transforms`"
                );
                Finding::new(FindingKind::UnknownScale, message)
            });
        }
        let same = match (ours, theirs) {
            (Pixels::Normalised { mean, std }, Pixels::Normalised { mean: their_mean, std: their_std }) => {
                near(mean, their_mean) && near(std, their_std)
            }
            (ours, theirs) => ours == theirs,
        };
        let message = || {
            let (ours, theirs) = (pixels_in_words(ours), pixels_in_words(theirs));
            format!(
                "its pixels are {ours}, and {source} learned from pixels {theirs}: `normalise` brings them to one scale"
            )
        };
        (!same).then(|| Finding::new(FindingKind::OtherScale, message()))
    }

    fn frame_beside(&self, source: &str, theirs: Option<&Frame>) -> Option<Finding> {
        let (ours, theirs) = (frame_in_words(self.frame.as_ref()?), frame_in_words(theirs?));
        let message = || format!("its pictures are {ours}, and {source} learned from pictures of {theirs}");
        (ours != theirs).then(|| Finding::new(FindingKind::OtherFrame, message()))
    }

    fn values_beside(&self, source: &str, theirs: &[String]) -> Option<Finding> {
        let others: Vec<_> = self.values.iter().zip(theirs).filter(|(a, b)| a != b).collect();
        // Vectors of another width do not fit the network.
        if others.is_empty() || self.values.len() != theirs.len() {
            return None;
        }
        let sorted = |values: &[String]| {
            let mut values = values.to_vec();
            values.sort();
            values
        };
        let shown: Vec<_> =
            others.iter().take(NAMED).map(|(a, b)| format!("`{a}` stands where it has `{b}`")).collect();
        let mut shown = shown.join(", ");
        if others.len() > NAMED {
            shown.push_str(&format!(", and {} more", others.len() - NAMED));
        }
        let by_place = "the network knows a column by its place alone";
        Some(match sorted(&self.values) == sorted(theirs) {
            true => Finding::new(
                FindingKind::OtherColumnOrder,
                format!(
                    "its columns are those of {source} in another order: {shown}; {by_place}: list `numbers` and `categories` of \
                     both in one order"
                ),
            ),
            false => Finding::new(
                FindingKind::OtherColumns,
                format!("its columns or levels are not those of {source}: {shown}; {by_place}"),
            ),
        })
    }

    fn transforms_beside(&self, source: &str, theirs: Option<&Vec<String>>) -> Option<Finding> {
        let (ours, theirs) = (self.transforms.as_ref()?, theirs?);
        let message = || {
            let (ours, theirs) = (transforms_in_words(ours), transforms_in_words(theirs));
            format!(
                "its numbers are {ours}, and {source} learned from numbers {theirs}: give both the same `transforms`"
            )
        };
        (ours != theirs).then(|| Finding::new(FindingKind::OtherScale, message()))
    }

    fn vocabulary_beside(&self, source: &str, theirs: Option<&Vocabulary>) -> Option<Finding> {
        let (ours, theirs) = (self.vocabulary.as_ref()?, theirs?);
        let of = format!("its tokens are of {}, and those of {source} of {}", ours.name, theirs.name);
        if ours.pieces != theirs.pieces {
            let message = format!(
                "{of}, in which the numbers stand for other pieces: the embedding of {source} is of no use here; give both one \
                 tokenizer"
            );
            return Some(Finding::new(FindingKind::OtherVocabulary, message));
        }
        (ours.rules != theirs.rules).then(|| {
            let message =
                format!("{of}: the pieces are the same, and other rules make them of a text; give both one tokenizer");
            Finding::new(FindingKind::OtherTokenRules, message)
        })
    }
}

fn tags(transforms: &[Spec<dyn Transform>]) -> Vec<String> {
    transforms.iter().map(|t| t.tag.clone()).collect()
}

/// Whether our numbers, one or one a channel, are theirs. A network whose first layer was adapted to other channels
/// sees the mean of them.
fn near(ours: &[f64], theirs: &[f64]) -> bool {
    let mean = theirs.iter().sum::<f64>() / theirs.len().max(1) as f64;
    let of_channel = |i: usize| if ours.len() == theirs.len() { theirs[i] } else { mean };
    ours.iter().enumerate().all(|(i, v)| (v - of_channel(i)).abs() < NEAR)
}

fn pixels_in_words(pixels: &Pixels) -> String {
    let shown = |v: &[f64]| {
        let all_alike = v.windows(2).all(|w| w[0] == w[1]);
        v[..if all_alike { v.len().min(1) } else { v.len() }].iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
    };
    match pixels {
        Pixels::Unknown => "on an unknown scale".to_owned(),
        Pixels::Plain => "as they are, 0 to 1".to_owned(),
        Pixels::Normalised { mean, std } => format!("less {}, divided by {}", shown(mean), shown(std)),
    }
}

/// How pictures become rows.
fn frame_in_words(frame: &Frame) -> String {
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let (fit, filter) = (word(json!(frame.fit)), word(json!(frame.filter)));
    format!("{} × {} (`{fit}`, `{filter}`)", frame.height, frame.width)
}

fn transforms_in_words(tags: &[String]) -> String {
    let names: Vec<_> = tags.iter().map(|tag| format!("`{tag}`")).collect();
    if names.is_empty() { "as they are".to_owned() } else { format!("after {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Severity;

    fn vector(values: &[&str], transforms: &[&str]) -> Meaning {
        let owned = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect();
        Meaning { values: owned(values), transforms: Some(owned(transforms)), ..Meaning::default() }
    }

    fn found(ours: &Meaning, theirs: &Meaning) -> Vec<(FindingKind, String)> {
        let width = ours.values.len();
        let inputs = Schema::from([(HIDDEN.to_owned(), Field::Vector { width })]);
        ours.beside(&inputs, "step `first`", theirs).into_iter().map(|f| (f.kind, f.message)).collect()
    }

    #[test]
    fn columns_are_known_by_place() {
        let first = vector(&["a", "b", "c = x"], &[]);
        assert!(found(&first, &first).is_empty());
        let [(kind, message)] = &found(&vector(&["b", "a", "c = x"], &[]), &first)[..] else { panic!() };
        assert_eq!((*kind, kind.severity()), (FindingKind::OtherColumnOrder, Severity::Error));
        assert!(message.contains("`b` stands where it has `a`, `a` stands where it has `b`"), "{message}");
        let [(kind, message)] = &found(&vector(&["a", "b", "c = y"], &[]), &first)[..] else { panic!() };
        assert_eq!((*kind, kind.severity()), (FindingKind::OtherColumns, Severity::Warning));
        assert!(message.contains("`c = y` stands where it has `c = x`; "), "{message}");
        assert!(found(&vector(&["a", "b"], &[]), &first).is_empty(), "another width fits no network");
        assert!(found(&first, &Meaning::default()).is_empty(), "what is not known");
    }

    #[test]
    fn scales_of_numbers_are_compared() {
        let (plain, scaled) = (vector(&["a"], &[]), vector(&["a"], &["standardise"]));
        let [(kind, message)] = &found(&plain, &scaled)[..] else { panic!() };
        assert_eq!(*kind, FindingKind::OtherScale);
        let words = "its numbers are as they are, and step `first` learned from numbers after `standardise`";
        assert!(message.contains(words), "{message}");
        assert!(found(&scaled, &scaled).is_empty());
    }

    #[test]
    fn pixels_on_one_scale_are_told_from_others() {
        let normalised =
            |mean: &[f64], std: f64| Pixels::Normalised { mean: mean.to_vec(), std: vec![std; mean.len()] };
        let found = |ours: &Pixels, theirs: &Pixels| {
            let ours = Meaning { pixels: ours.clone(), ..Meaning::default() };
            ours.pixels_beside("`w`", theirs).map(|f| f.kind)
        };
        let imagenet = normalised(&[0.485, 0.456, 0.406], 0.226);
        for same in [imagenet.clone(), normalised(&[0.449], 0.226), normalised(&[0.48, 0.45, 0.41], 0.23)] {
            assert_eq!(found(&same, &imagenet), None, "{same:?}");
        }
        for other in [Pixels::Plain, normalised(&[0.1], 1.0), normalised(&[0.4, 0.456, 0.406], 0.226)] {
            assert_eq!(found(&other, &imagenet), Some(FindingKind::OtherScale), "{other:?}");
        }
        assert_eq!(found(&Pixels::Plain, &Pixels::Unknown), Some(FindingKind::UnknownScale));
        assert_eq!(found(&imagenet, &Pixels::Unknown), None);
    }
}
