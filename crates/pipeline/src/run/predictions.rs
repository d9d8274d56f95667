//! What each cell predicted: kept exactly beside the cell, and written for everyone in `predictions.csv`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use transplant_core::{Dataset, Error, Predictions, Result, load_safetensors, save_safetensors, write_atomically};

/// Version of these files' form, in their metadata.
const SCHEMA: &str = "1";

/// The predictions of one split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SplitPredictions {
    /// Global rows of the data set.
    pub rows: Vec<u64>,
    /// Their groups; empty when every row stands alone.
    pub groups: Vec<u64>,
    /// By task.
    pub tasks: BTreeMap<String, Predictions>,
}

/// Data sets by split.
pub(crate) type Datasets = BTreeMap<String, Arc<dyn Dataset>>;

/// Predictions by split.
pub(crate) type CellPredictions = BTreeMap<String, SplitPredictions>;

/// Saves a cell's predictions; the bytes depend on the values alone.
pub(crate) fn save(path: &Path, cell: &CellPredictions) -> Result<()> {
    let mut tensors = BTreeMap::new();
    let mut meta = BTreeMap::from([("schema".to_owned(), SCHEMA.to_owned())]);
    for (split, p) in cell {
        tensors.insert(format!("{split}/rows"), integers(p.rows.iter().map(|r| *r as i64))?);
        if !p.groups.is_empty() {
            tensors.insert(format!("{split}/groups"), integers(p.groups.iter().map(|g| *g as i64))?);
        }
        for (task, predictions) in &p.tasks {
            let at = |what: &str| format!("{split}/{task}/{what}");
            match predictions {
                Predictions::Class { names, labels, scores } => {
                    let text = serde_json::to_string(names).map_err(|e| Error::contract(e.to_string()))?;
                    meta.insert(format!("{split}/{task}"), text);
                    tensors.insert(at("labels"), integers(labels.iter().map(|l| l.map_or(-1, i64::from)))?);
                    tensors.insert(at("scores"), Tensor::new(scores.as_slice(), &Device::Cpu)?);
                }
                Predictions::Number { labels, values } => {
                    meta.insert(format!("{split}/{task}"), "number".into());
                    let labels: Vec<f32> = labels.iter().map(|l| l.unwrap_or(f32::NAN)).collect();
                    tensors.insert(at("labels"), Tensor::new(labels.as_slice(), &Device::Cpu)?);
                    tensors.insert(at("scores"), Tensor::new(values.as_slice(), &Device::Cpu)?);
                }
                _ => {
                    return Err(Error::contract(format!(
                        "predictions of task `{task}` are of a kind that is not kept"
                    )));
                }
            }
        }
    }
    save_safetensors(path, &tensors, &meta)
}

/// Loads what [`save`] wrote.
pub(crate) fn load(path: &Path) -> Result<CellPredictions> {
    let (tensors, meta) = load_safetensors(path, &Device::Cpu)?;
    let get = |name: &str| {
        tensors.get(name).ok_or_else(|| Error::data(path, None, format!("there are no predictions `{name}`")))
    };
    let mut out = CellPredictions::new();
    for name in tensors.keys() {
        let Some(split) = name.strip_suffix("/rows").filter(|s| !s.contains('/')) else { continue };
        let groups = tensors.get(&format!("{split}/groups")).map(unsigned).transpose()?.unwrap_or_default();
        let mut p = SplitPredictions { rows: unsigned(get(name)?)?, groups, tasks: BTreeMap::new() };
        for (key, kind) in &meta {
            let Some(task) = key.strip_prefix(split).and_then(|k| k.strip_prefix('/')) else { continue };
            let (labels, scores) = (get(&format!("{key}/labels"))?, get(&format!("{key}/scores"))?);
            p.tasks.insert(task.to_owned(), read(path, kind, labels, scores)?);
        }
        out.insert(split.to_owned(), p);
    }
    Ok(out)
}

fn read(path: &Path, kind: &str, labels: &Tensor, scores: &Tensor) -> Result<Predictions> {
    let scores = scores.to_vec1::<f32>()?;
    if kind == "number" {
        let labels = labels.to_vec1::<f32>()?.into_iter().map(|l| (!l.is_nan()).then_some(l)).collect();
        return Ok(Predictions::Number { labels, values: scores });
    }
    let names = serde_json::from_str(kind).map_err(|e| Error::data(path, None, e.to_string()))?;
    let labels = labels.to_vec1::<i64>()?.into_iter().map(|l| u32::try_from(l).ok()).collect();
    Ok(Predictions::Class { names, labels, scores })
}

fn integers(values: impl Iterator<Item = i64>) -> Result<Tensor> {
    let values: Vec<i64> = values.collect();
    Ok(Tensor::new(values.as_slice(), &Device::Cpu)?)
}

fn unsigned(t: &Tensor) -> Result<Vec<u64>> {
    Ok(t.to_dtype(DType::I64)?.to_vec1::<i64>()?.into_iter().map(|v| v as u64).collect())
}

/// Writes `predictions.csv`: one line a cell, row and task, with the row's name beside its number and a column for the
/// score of every class. The data set of each cell knows the names.
pub(crate) fn write_csv(path: &Path, cells: &[(&str, &CellPredictions, Datasets)]) -> Result<()> {
    let columns = columns(cells);
    let bad = |e: csv::Error| Error::data(path, None, e.to_string());
    let mut csv = csv::Writer::from_writer(Vec::new());
    let header = ["cell", "row", "name", "split", "group", "task", "label"].map(str::to_owned);
    csv.write_record(header.into_iter().chain(columns.iter().map(|c| format!("score_{c}")))).map_err(bad)?;
    for (cell, splits, datasets) in cells {
        for (split, p) in splits.iter() {
            for (task, predictions) in &p.tasks {
                for (i, row) in p.rows.iter().enumerate() {
                    let group = p.groups.get(i).copied().unwrap_or(*row);
                    let (label, scores) = cells_of(predictions, i, &columns);
                    let name = datasets.get(split).and_then(|d| d.row_name(*row)).unwrap_or_default();
                    let (row, group) = (row.to_string(), group.to_string());
                    let fixed = [(*cell).to_owned(), row, name, split.clone(), group, task.clone(), label];
                    csv.write_record(fixed.into_iter().chain(scores)).map_err(bad)?;
                }
            }
        }
    }
    let bytes = csv.into_inner().map_err(|e| Error::data(path, None, e.to_string()))?;
    write_atomically(path, &bytes)
}

/// Names of all classes, in the order in which cells name them; `value` for numbers.
fn columns(cells: &[(&str, &CellPredictions, Datasets)]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let all = cells.iter().flat_map(|(_, c, _)| c.values()).flat_map(|p| p.tasks.values());
    for predictions in all {
        let names = match predictions {
            Predictions::Class { names, .. } => names.clone(),
            _ => vec!["value".to_owned()],
        };
        for name in names {
            if !out.contains(&name) {
                out.push(name);
            }
        }
    }
    out
}

/// The label of a row and its scores in the order of `columns`; empty where there is none.
fn cells_of(predictions: &Predictions, i: usize, columns: &[String]) -> (String, Vec<String>) {
    match predictions {
        Predictions::Class { names, labels, scores } => {
            let label = labels[i].and_then(|l| names.get(l as usize)).cloned().unwrap_or_default();
            let row = &scores[i * names.len()..(i + 1) * names.len()];
            let score = |c: &String| names.iter().position(|n| n == c).map(|k| row[k].to_string()).unwrap_or_default();
            (label, columns.iter().map(score).collect())
        }
        Predictions::Number { labels, values } => {
            let value = |c: &String| if c == "value" { values[i].to_string() } else { String::new() };
            (labels[i].map(|l| l.to_string()).unwrap_or_default(), columns.iter().map(value).collect())
        }
        _ => Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_datasets::ImageFolder;

    fn example() -> CellPredictions {
        let names = vec!["cat".to_owned(), "a, dog".to_owned()];
        let class =
            Predictions::Class { names, labels: vec![Some(1), None], scores: vec![0.1, 0.9, 1.0 / 3.0, 2.0 / 3.0] };
        let number = Predictions::Number { labels: vec![None, Some(2.5)], values: vec![0.0, 1e-7] };
        let tasks = BTreeMap::from([("animal".to_owned(), class), ("weight".to_owned(), number)]);
        BTreeMap::from([("test".to_owned(), SplitPredictions { rows: vec![7, 9], groups: vec![], tasks })])
    }

    #[test]
    fn predictions_are_kept_exactly() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("predictions.safetensors");
        save(&path, &example())?;
        assert_eq!(load(&path)?, example());
        Ok(())
    }

    #[test]
    fn the_table_has_a_column_for_every_class() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("predictions.csv");
        // A folder of ten pictures of one pixel; the ninth row is the picture of that number.
        let folder = dir.path().join("pictures");
        std::fs::create_dir_all(folder.join("x")).unwrap();
        for i in 0..10 {
            std::fs::write(folder.join(format!("x/{i}.pgm")), [b"P5 1 1 255\n".as_slice(), &[i]].concat()).unwrap();
        }
        let options = serde_json::json!({"folder": folder, "height": 1, "width": 1, "channels": 1});
        let pictures = ImageFolder::load(serde_json::from_value(options).unwrap())?;
        let pictures: Arc<dyn Dataset> = Arc::new(pictures);
        let datasets = BTreeMap::from([("test".to_owned(), pictures)]);
        write_csv(&path, &[("transfer-seed0", &example(), datasets)])?;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "cell,row,name,split,group,task,label,score_cat,\"score_a, dog\",score_value");
        assert_eq!(lines[1], "transfer-seed0,7,x/7.pgm,test,7,animal,\"a, dog\",0.1,0.9,");
        assert_eq!(lines[4], "transfer-seed0,9,x/9.pgm,test,9,weight,2.5,,,0.0000001");
        Ok(())
    }
}
