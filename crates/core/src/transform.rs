//! [`Transform`]: a change of inputs between the data set and the network.

use std::sync::Arc;

use crate::{Acts, Result, Schema, Seeds};

/// What a transform may know about the batch.
#[derive(Debug, Clone)]
pub struct TransformCx<'a> {
    /// Global rows, in order: the key of all randomness.
    pub rows: &'a [u64],
    /// The epoch.
    pub epoch: u64,
    /// Streams of random numbers; `seeds.stream("affine", &[row, epoch])`.
    pub seeds: Seeds,
}

/// A file that a transform cannot do without (the rules of a tokenizer): it goes with the model wherever that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The option that then names the file; all others that could name one are left out.
    pub option: &'static str,
    /// Its name beside the model.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// How much of a text a transform uses: its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimit {
    /// The largest length.
    pub length: usize,
    /// What is counted: `tokens`, `words`.
    pub unit: &'static str,
    /// The option that sets the length.
    pub option: &'static str,
}

/// What the numbers of tokens stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// What it is in messages, in backticks where it is a name: `30522 pieces`.
    pub name: String,
    /// SHA-256 of the pieces with their numbers. Where it differs, the rows of an embedding stand for other pieces.
    pub pieces: [u8; 32],
    /// SHA-256 of the rules by which a text becomes pieces.
    pub rules: [u8; 32],
}

/// A change of inputs. A batch's content is a function of its rows and the epoch alone.
pub trait Transform: Send + Sync {
    /// The schema that comes out.
    ///
    /// # Errors
    /// When the transform does not suit the inputs.
    fn schema(&self, inputs: &Schema) -> Result<Schema>;

    /// Whether it draws random numbers; such transforms act in training only. What a row becomes must not depend on the rows
    /// beside it, or its views cannot be kept.
    fn random(&self) -> bool {
        false
    }

    /// Whether it acts after all others, the random ones too, wherever it is listed: bringing values to the scale that a
    /// network knows.
    fn last(&self) -> bool {
        false
    }

    /// The file it cannot do without.
    fn carried(&self) -> Option<Carried> {
        None
    }

    /// Fits it to the rows that a cell learns from; called once a cell, before anything is trained. `learned` gives
    /// their inputs as they come out of the transforms before it, some rows at a time, and reads them only when it is
    /// asked.
    ///
    /// Returns the fitted transform, which carries what it was fitted to ([`carried`](Self::carried)), so that it is
    /// the same wherever the model goes. `None`: there is nothing to fit, or it was fitted before.
    ///
    /// # Errors
    /// When a row cannot be read, or the rows are not enough.
    fn fit(&self, learned: &mut dyn Iterator<Item = Result<Acts>>) -> Result<Option<Arc<dyn Transform>>> {
        let _ = learned;
        Ok(None)
    }

    /// What the numbers of its tokens stand for. The pipeline compares it with that of the network that a step starts
    /// from. `None`: it makes no tokens.
    ///
    /// # Errors
    /// When the rules of a tokenizer cannot be written down.
    fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        Ok(None)
    }

    /// Where it cuts texts off. `None`: it uses all of any text.
    fn limit(&self) -> Option<TextLimit> {
        None
    }

    /// Length of each text of a batch in the unit of its [`limit`](Self::limit), if nothing were cut off. Called before anything
    /// is trained, to count the texts that are cut off; not for transforms without a limit.
    ///
    /// # Errors
    /// When an input is missing or a text cannot be read.
    fn lengths(&self, inputs: &Acts) -> Result<Vec<usize>> {
        let _ = inputs;
        Ok(Vec::new())
    }

    /// Whether the network is given a word that it knows of each text, in what [`apply`](Self::apply) made of a batch:
    /// marks of start and end, filling and the token for unknown words are none. Called for data sets before anything
    /// is trained, and for each input of `predict`. Empty: it makes no words.
    ///
    /// # Errors
    /// When what it made is not there.
    fn has_words(&self, made: &Acts) -> Result<Vec<bool>> {
        let _ = made;
        Ok(Vec::new())
    }

    /// Applies it to the inputs of a batch.
    ///
    /// # Errors
    /// When an input is missing or an operation fails.
    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts>;
}
