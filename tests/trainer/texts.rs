//! A classifier of texts without a network: `raw_text` under a head that reads texts itself.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use transplant_backbones::RawText;
use transplant_core::{Acts, Batch, Dataset, Field, Result, Roles, Schema, Spec, Strategy, TEXT};
use transplant_datasets::Loader;
use transplant_tests::{Memory, classes_target, classify, loader, model, recipe, train};
use transplant_trainer::{Data, evaluate, metrics_of};

/// Texts of very different lengths, each batch as wide as its longest.
struct Texts(Memory);

impl Dataset for Texts {
    fn inputs(&self) -> &Schema {
        self.0.inputs()
    }
    fn targets(&self) -> &Schema {
        self.0.targets()
    }
    fn roles(&self) -> &Roles {
        self.0.roles()
    }
    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.0.classes_of(target)
    }
    fn content_hash(&self) -> String {
        "texts".into()
    }
    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let mut batch = self.0.batch(rows)?;
        let texts = batch.inputs.get(TEXT)?.to_vec2::<u8>()?;
        let length = |t: &Vec<u8>| t.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let width = texts.iter().map(length).max().unwrap_or_default();
        batch.inputs = batch.inputs.map(|_, t| Ok(t.narrow(1, 0, width)?.contiguous()?))?;
        Ok(batch)
    }
}

const ROWS: usize = 700;

fn text(row: usize) -> String {
    let word = [["soft", "lovely"], ["thin", "itchy"]][row % 2][row / 2 % 2];
    format!("{} it is {word}", "and so ".repeat(row / 16))
}

fn texts() -> Arc<Texts> {
    let width = (0..ROWS).map(|row| text(row).len()).max().unwrap();
    let mut bytes = vec![0u8; ROWS * width];
    for (row, bytes) in bytes.chunks_exact_mut(width).enumerate() {
        bytes[..text(row).len()].copy_from_slice(text(row).as_bytes());
    }
    let y: Vec<u32> = (0..ROWS as u32).map(|row| row % 2).collect();
    let acts = Acts::new().with(TEXT, Tensor::from_vec(bytes, (ROWS, width), &Device::Cpu).unwrap());
    let roles = Roles { pool: (0..600).collect(), validation: vec![], test: (600..ROWS as u64).collect() };
    let inputs = Schema::from([(TEXT.to_owned(), Field::Text)]);
    Arc::new(Texts(Memory::new(acts, inputs, [("class".into(), classes_target(&y, 2))].into(), roles)))
}

#[test]
fn texts_of_any_length_are_fitted_and_tested_in_batches_of_several_widths() -> Result<()> {
    let data = texts();
    let spec = Spec::<dyn Strategy>::new("feature").with("head", "tfidf_logistic_regression");
    let strategy: Arc<dyn Strategy> = Arc::from(transplant_tests::make(spec));
    let mut m = model(RawText, &data.0, &[("class", classify("class"))], strategy);
    let pool = transplant_core::Train::new(data.clone(), data.roles().pool.clone());
    train(&mut m, &recipe(1, "sgd", 0.1), &Data::target(Loader::train(&pool, loader(8))?));
    let names = ["bias", "idf", "offsets", "vocabulary", "weight"].map(|n| format!("heads.class.{n}"));
    assert_eq!(m.params().names(), names);
    let test = transplant_core::Test::new(data.clone(), data.roles().test.clone());
    let all = evaluate(&m, &Loader::test(&test, loader(8))?)?;
    assert_eq!(metrics_of(&m, &all)?["accuracy"], 1.0);
    // A text alone, without the filling of those beside it, is told alike.
    let logits = |rows: &[u64]| -> Result<Vec<Vec<f32>>> {
        Ok(m.predict(data.batch(rows)?.inputs, rows)?["class"].get("logits")?.to_vec2()?)
    };
    assert_eq!(logits(&[3])?[0], logits(&[699, 3, 40])?[1]);
    Ok(())
}
