//! [`validate`]: the scores of validators, which see no label of the rows that they look at.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use transplant_core::{Feed, HIDDEN, Outputs, Predictions, Result, Seen, join_rows, rows_at_a_time};

use crate::data::{Data, Validators};
use crate::kept::Kept;
use crate::model::Model;

/// Scores of validators by name.
type Scores = BTreeMap<String, f64>;

/// The scores of a model by the validators' names; `source` is what it says of the step's validation part, by task. Scores
/// that are not finite are left out.
///
/// # Errors
/// When a validator looks at a stream that is not there, or the model's outputs do not suit it.
pub fn validate(
    model: &Model,
    data: &Data,
    validators: &Validators,
    source: Option<&BTreeMap<String, Predictions>>,
) -> Result<Scores> {
    scores(model, data, validators, &BTreeMap::new(), source)
}

/// [`validate`], where the output of the first stages may have been kept, by stream.
pub(crate) fn scores(
    model: &Model,
    data: &Data,
    validators: &Validators,
    kept: &BTreeMap<String, Kept>,
    source: Option<&BTreeMap<String, Predictions>>,
) -> Result<Scores> {
    let mut seen = BTreeMap::<&str, Outputs>::new();
    let mut out = Scores::new();
    for v in validators.all() {
        let (name, feed) = data.looked_at(v)?;
        if !seen.contains_key(name) {
            seen.insert(name, outputs(model, &**feed, kept.get(name))?);
        }
        let score = v.validator.score(&Seen { target: &seen[name], source })?;
        out.extend(score.is_finite().then(|| (v.name.clone(), score)));
    }
    Ok(out)
}

/// What the model makes of all rows of a feed.
fn outputs(model: &Model, feed: &dyn Feed, kept: Option<&Kept>) -> Result<Outputs> {
    let info = model.info();
    let (mut features, mut said) = (Vec::new(), BTreeMap::<String, Predictions>::new());
    for rows in feed.rows().chunks(rows_at_a_time(feed.inputs())) {
        let (_, forward) = model.run_kept(kept, feed, rows)?;
        features.push(forward.features.get(HIDDEN)?.clone());
        for (name, task) in model.tasks() {
            let p = task.decode(&forward.outputs[name], &info.tasks[name])?;
            match said.get_mut(name) {
                None => drop(said.insert(name.clone(), p)),
                Some(all) => all.extend(p)?,
            }
        }
    }
    let mut probabilities = BTreeMap::new();
    for (name, p) in said {
        let rows = p.len();
        if let Predictions::Class { names, scores, .. } = p {
            probabilities.insert(name, Tensor::from_vec(scores, (rows, names.len()), &Device::Cpu)?);
        }
    }
    Ok(Outputs { features: join_rows(&features)?, probabilities })
}
