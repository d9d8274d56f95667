//! Networks for text against transformers: hidden states, features and gradients of `goldens/texts.json` (see
//! `tests/goldens/generate_texts.py`, which says what the entries are).

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use serde_json::Value;
use transplant_backbones::{Bert, BertOptions, DistilBert, DistilBertOptions, TextPooling};
use transplant_core::{
    Acts, Architecture, Ctx, Field, Gradients, HIDDEN, MASK, Mode, Params, Schema, Scope, Seeds, TOKENS, backward,
};

use crate::common::{deviation, digest, filling, wave};

const WIDTH: usize = 32;

fn network(name: &str, pooling: TextPooling) -> Box<dyn Architecture> {
    let (layers, heads, intermediate, positions, dropout) = (3, 4, 48, 30, 0.0);
    match name {
        "bert" => Box::new(
            Bert::new(BertOptions {
                layers,
                width: WIDTH,
                heads,
                intermediate,
                positions,
                pooling,
                dropout,
                attention_dropout: dropout,
                ..Default::default()
            })
            .unwrap(),
        ),
        "distilbert" => Box::new(
            DistilBert::new(DistilBertOptions {
                layers,
                width: WIDTH,
                heads,
                intermediate,
                positions,
                pooling,
                dropout,
                attention_dropout: dropout,
                ..Default::default()
            })
            .unwrap(),
        ),
        other => panic!("say here how `{other}` is made"),
    }
}

fn number(v: &Value) -> usize {
    v.as_u64().unwrap() as usize
}

/// Tokens and mask of a golden entry.
fn inputs(golden: &Value) -> Acts {
    let rows: Vec<Vec<u32>> = serde_json::from_value(golden["tokens"].clone()).unwrap();
    let lengths: Vec<usize> = serde_json::from_value(golden["lengths"].clone()).unwrap();
    let length = rows[0].len();
    let mask: Vec<f32> = lengths.iter().flat_map(|n| (0..length).map(move |i| f32::from(u8::from(i < *n)))).collect();
    let mask = Tensor::from_vec(mask, (rows.len(), length), &Device::Cpu).unwrap();
    Acts::new().with(TOKENS, Tensor::new(rows, &Device::Cpu).unwrap()).with(MASK, mask)
}

/// How far hidden states, features and gradients are off, by name.
fn run(golden: &Value, kind: &str, dtype: DType) -> Vec<(String, f64)> {
    let name = golden["name"].as_str().unwrap();
    let pooling: TextPooling = serde_json::from_value(kind.into()).unwrap();
    let architecture = network(name, pooling);
    let (length, vocabulary) = (number(&golden["length"]), number(&golden["vocabulary"]));
    let schema = Schema::from([(TOKENS.to_owned(), Field::Tokens { length, vocabulary })]);
    assert_eq!(architecture.features(&schema).unwrap()[HIDDEN], Field::Vector { width: WIDTH });
    let params = Params::new(&Device::Cpu);
    let scope = Scope::new(&params, Arc::default(), Seeds::new(1), dtype).pp("backbone");
    architecture.build(&schema, &scope).unwrap();
    let own = |n: &str| ["backbone.pooler.", "backbone.pooling."].iter().any(|p| n.starts_with(p));
    let held = params.all();
    assert_eq!(held.iter().filter(|(n, _)| !own(n)).count(), number(&golden["tensors"]), "{name}: tensors");
    for (full, p) in held {
        let plain = full.strip_prefix("backbone.").unwrap();
        let filling = Tensor::from_vec(filling(plain, p.var().dims()), p.var().shape(), &Device::Cpu).unwrap();
        params.set(&full, &filling).unwrap();
    }
    let net = architecture.build(&schema, &scope).unwrap();
    let mut cx = Ctx::new(Mode::Train, "target", 0, &[0, 1, 2], Seeds::new(1));
    let off = |what: String, got: &Tensor, want: &Value| (what, deviation(&digest(got), want, got.elem_count()));
    let mut acts = inputs(golden);
    let mask = acts.get(MASK).unwrap().to_dtype(dtype).unwrap().unsqueeze(D::Minus1).unwrap();
    let mut out = Vec::new();
    for (i, want) in golden["layers"].as_array().unwrap().iter().enumerate() {
        acts = net.stage(i, acts, &mut cx).unwrap();
        let hidden = acts.get(HIDDEN).unwrap();
        assert_eq!(hidden.dims(), [3, length, WIDTH]);
        out.push(off(format!("state {i}"), &hidden.broadcast_mul(&mask).unwrap(), want));
    }
    acts = net.stage(net.stages().len() - 1, acts, &mut cx).unwrap();
    let features = acts.get(HIDDEN).unwrap();
    let golden = &golden["poolings"][kind];
    out.push(off("features".into(), features, &golden["features"]));
    let upstream = Tensor::from_vec(wave("upstream", features.elem_count()), features.shape(), &Device::Cpu).unwrap();
    let loss = (features * upstream.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
    let mut gradients = Gradients::new(&params, |_| true);
    backward(&loss, &mut gradients).unwrap();
    for (weight, want) in golden["grads"].as_object().unwrap() {
        let got = gradients.get(&format!("backbone.{weight}"));
        let got = got.unwrap_or_else(|| panic!("{name}: `{weight}` got no gradient"));
        out.push(off(format!("gradient of {weight}"), got, want));
    }
    out
}

fn check(dtype: DType, tolerance: f64) {
    let goldens: Vec<Value> = serde_json::from_str(include_str!("../goldens/texts.json")).unwrap();
    for golden in &goldens {
        for kind in golden["poolings"].as_object().unwrap().keys() {
            let (name, off) = (&golden["name"], run(golden, kind, dtype));
            let (worst, most) = off.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            println!("{name} with {kind} in {dtype:?}: at most {most:.1e} off, for {worst}");
            for (what, off) in &off {
                assert!(*off < tolerance, "{name} with {kind} in {dtype:?}: {what} is {off:.1e} off");
            }
        }
    }
}

#[test]
fn networks_for_text_are_those_of_transformers() {
    check(DType::F64, 1e-9);
}

#[test]
fn single_precision_is_close() {
    check(DType::F32, 1e-4);
}
