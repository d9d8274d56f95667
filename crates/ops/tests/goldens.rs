//! Every operation against PyTorch: outputs and gradients of `goldens/ops.json` (see `tests/goldens/generate_ops.py`).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use serde_json::Value;
use transplant_core::{Gradients, Origin, Params, Role, backward};
use transplant_ops::testing::{max_difference, values};
use transplant_ops::{
    Activation, Conv1dGeometry, Conv2dGeometry, Pool2d, activate, adaptive_avg_pool2d, attention, avg_pool2d,
    batch_norm, batch_norm_frozen, bce_with_logits, conv_transpose1d, conv_transpose2d, conv1d, conv2d, cosine,
    cross_entropy_rows, embedding, focal, group_norm, huber, kl_div, layer_norm, layer_norm_channels, linear,
    log_softmax, max_pool2d, relu, resize_bilinear, resize_nearest, rms_norm, soft_cross_entropy, softmax,
};

type Named = BTreeMap<String, Tensor>;

fn tensor(v: &Value) -> Tensor {
    let list = |key: &str| v[key].as_array().unwrap().iter();
    let shape: Vec<usize> = list("shape").map(|n| n.as_u64().unwrap() as usize).collect();
    Tensor::from_vec(list("data").map(|n| n.as_f64().unwrap()).collect(), shape, &Device::Cpu).unwrap()
}

fn tensors(v: &Value) -> Named {
    v.as_object().unwrap().iter().map(|(k, v)| (k.clone(), tensor(v))).collect()
}

fn pair(v: &Value) -> (usize, usize) {
    (v[0].as_u64().unwrap() as usize, v[1].as_u64().unwrap() as usize)
}

fn geometry(a: &Value) -> Conv2dGeometry {
    let two = |key: &str| <[usize; 2]>::from(pair(&a[key]));
    let groups = a["groups"].as_u64().unwrap() as usize;
    let padding = two("padding").map(|p| [p; 2]);
    Conv2dGeometry { stride: two("stride"), padding, dilation: two("dilation"), groups }
}

/// Of one direction, as one number each.
fn geometry1(a: &Value) -> Conv1dGeometry {
    let one = |key: &str| a[key].as_u64().unwrap() as usize;
    Conv1dGeometry {
        stride: one("stride"),
        padding: [one("padding"); 2],
        dilation: one("dilation"),
        groups: one("groups"),
    }
}

fn run_batch_norm(t: &Named, a: &Value) -> Result<Named> {
    let (momentum, eps) = (a["momentum"].as_f64().unwrap(), a["eps"].as_f64().unwrap());
    let (x, w, b, mean, var) = (&t["x"], &t["weight"], &t["bias"], &t["running_mean"], &t["running_var"]);
    if !a["training"].as_bool().unwrap() {
        return Ok(BTreeMap::from([(
            "out".to_owned(),
            batch_norm_frozen(x, w, b, mean, var, eps, Activation::Identity)?,
        )]));
    }
    let (out, s) = batch_norm(x, w, b, eps, Activation::Identity)?;
    let moved = |old: &Tensor, new: &Tensor| (old.detach() * (1.0 - momentum))? + (new * momentum)?;
    let (mean, var) = (moved(mean, &s.mean)?, moved(var, &s.var)?);
    Ok([("out", out), ("running_mean", mean), ("running_var", var)].map(|(k, v)| (k.to_owned(), v)).into())
}

fn run_cross_entropy(t: &Named, a: &Value) -> Result<Tensor> {
    let labels = t["labels"].to_dtype(DType::U32)?;
    let ignore = a["ignore_index"].as_u64().map(|i| i as u32);
    let weights = t.get("weights");
    let rows = cross_entropy_rows(&t["logits"], &labels, a["label_smoothing"].as_f64().unwrap(), weights, ignore)?;
    if a["reduction"] == "none" {
        return Ok(rows);
    }
    let weight = |l: u32| if Some(l) == ignore { 0.0 } else { weights.map_or(1.0, |w| values(w)[l as usize]) };
    rows.sum_all()? / labels.to_vec1::<u32>()?.into_iter().map(weight).sum::<f64>()
}

/// The outputs of a case.
fn run(op: &str, t: &Named, a: &Value) -> Result<Named> {
    let pool = || Pool2d {
        kernel: pair(&a["kernel_size"]),
        stride: pair(&a["stride"]),
        padding: pair(&a["padding"]),
        ceil: a["ceil_mode"].as_bool().unwrap_or(false),
    };
    let count_padding = a["count_include_pad"].as_bool().unwrap_or(true);
    let number = |key: &str| a[key].as_f64().unwrap();
    let out = match op {
        "conv2d" => conv2d(&t["x"], &t["weight"], t.get("bias"), geometry(a))?,
        "conv1d" => conv1d(&t["x"], &t["weight"], t.get("bias"), geometry1(a))?,
        "conv_transpose1d" => {
            let more = a["output_padding"].as_u64().unwrap() as usize;
            conv_transpose1d(&t["x"], &t["weight"], t.get("bias"), geometry1(a), more)?
        }
        "conv_transpose2d" => {
            let more = <[usize; 2]>::from(pair(&a["output_padding"]));
            conv_transpose2d(&t["x"], &t["weight"], t.get("bias"), geometry(a), more)?
        }
        "attention" => attention(&t["qkv"], a["heads"].as_u64().unwrap() as usize, t.get("mask"))?,
        "linear" => linear(&t["x"], &t["weight"], t.get("bias"))?,
        "max_pool2d" => max_pool2d(&t["x"], pool())?,
        "avg_pool2d" => avg_pool2d(&t["x"], pool(), count_padding)?,
        "adaptive_avg_pool2d" => adaptive_avg_pool2d(&t["x"], pair(&a["output_size"]))?,
        "relu" => relu(&t["x"])?,
        "gelu" if a["approximate"] == "tanh" => activate(&t["x"], Activation::GeluTanh)?,
        "gelu" => activate(&t["x"], Activation::Gelu)?,
        "silu" => activate(&t["x"], Activation::Silu)?,
        "relu6" => activate(&t["x"], Activation::Relu6)?,
        "hardswish" => activate(&t["x"], Activation::HardSwish)?,
        "softmax" => softmax(&t["x"])?,
        "log_softmax" => log_softmax(&t["x"])?,
        "layer_norm" => layer_norm(&t["x"], &t["weight"], &t["bias"], number("eps"))?,
        "layer_norm_channels" => layer_norm_channels(&t["x"], &t["weight"], &t["bias"], number("eps"))?,
        "rms_norm" => rms_norm(&t["x"], &t["weight"], number("eps"))?,
        "group_norm" => {
            let groups = a["groups"].as_u64().unwrap() as usize;
            group_norm(&t["x"], groups, t.get("weight"), t.get("bias"), number("eps"))?
        }
        "resize" if a["mode"] == "nearest" => resize_nearest(&t["x"], pair(&a["size"]))?,
        "resize" => resize_bilinear(&t["x"], pair(&a["size"]), a["align_corners"].as_bool().unwrap())?,
        "embedding" => embedding(&t["indices"].to_dtype(DType::U32)?, &t["weight"])?,
        "bce_with_logits" => bce_with_logits(&t["logits"], &t["targets"], t.get("weights"))?,
        "focal" => focal(&t["logits"], &t["labels"].to_dtype(DType::U32)?, number("gamma"), t.get("weights"))?,
        "huber" => huber(&t["a"], &t["b"], number("delta"))?,
        "soft_cross_entropy" => soft_cross_entropy(&t["logits"], &t["targets"])?,
        "kl_div" => kl_div(&t["logits"], &t["targets"])?,
        "cosine" => cosine(&t["a"], &t["b"])?,
        "batch_norm" => return run_batch_norm(t, a),
        "cross_entropy" => run_cross_entropy(t, a)?,
        other => panic!("the golden file has an operation `{other}` that this test does not know"),
    };
    Ok(BTreeMap::from([("out".to_owned(), out)]))
}

fn close(case: &str, what: &str, got: &Tensor, want: &Tensor) {
    let scale = values(want).iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    let off = max_difference(got, want);
    assert!(off <= 1e-6 * scale, "{case}: {what} is off by {off}");
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() -> transplant_core::Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../goldens/ops.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (inputs, outputs, grads) = (tensors(&case["inputs"]), tensors(&case["outputs"]), tensors(&case["grads"]));
        let params = Params::new(&Device::Cpu);
        let mut given = inputs.clone();
        for input in grads.keys() {
            params.insert(input, &inputs[input], Role::Weight, Origin::Fresh)?;
            given.insert(input.clone(), params.get(input)?.var().as_tensor().clone());
        }
        let found = run(case["op"].as_str().unwrap(), &given, &case["attrs"])?;
        found.iter().for_each(|(what, got)| close(name, what, got, &outputs[what]));
        let mut g = Gradients::new(&params, |_| true);
        backward(&(&found["out"] * tensor(&case["upstream"]))?.sum_all()?, &mut g)?;
        for (input, want) in &grads {
            close(name, &format!("the gradient of {input}"), g.get(input).unwrap(), want);
        }
    }
    Ok(())
}
