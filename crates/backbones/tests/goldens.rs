//! Every network against PyTorch: features and gradients of `goldens/networks.json` (see
//! `tests/goldens/generate_networks.py`, which says what the entries are).

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use transplant_backbones::{
    ConvNeXt, ConvNeXtOptions, EfficientNetLite, EfficientNetLiteOptions, EfficientNetLitePadding,
    EfficientNetLiteVariant, MobileNetV2, MobileNetV2Options, ResNet, ResNetDepth, ResNetOptions, ViT, ViTOptions,
    ViTSize,
};
use transplant_core::{
    Acts, Architecture, Backbone, Ctx, Field, Gradients, HIDDEN, Mode, Origin, Params, Plan, Role, Schema, Scope,
    Seeds, backward,
};

use crate::common::{deviation, digest, filling, wave};

/// Makes the network of a golden entry.
type Make = fn() -> Box<dyn Architecture>;

const NETWORKS: &[(&str, Make)] = &[
    ("resnet18", || resnet(ResNetDepth::D18)),
    ("resnet34", || resnet(ResNetDepth::D34)),
    ("resnet50", || resnet(ResNetDepth::D50)),
    ("efficientnet_lite0", || efficientnet(EfficientNetLiteVariant::V0, EfficientNetLitePadding::Symmetric)),
    ("tf_efficientnet_lite0", || efficientnet(EfficientNetLiteVariant::V0, EfficientNetLitePadding::Same)),
    ("tf_efficientnet_lite1", || efficientnet(EfficientNetLiteVariant::V1, EfficientNetLitePadding::Same)),
    ("tf_efficientnet_lite2", || efficientnet(EfficientNetLiteVariant::V2, EfficientNetLitePadding::Same)),
    ("convnext_tiny", || Box::new(ConvNeXt::new(ConvNeXtOptions {}))),
    ("mobilenet_v2", || Box::new(MobileNetV2::new(MobileNetV2Options {}))),
];

const TRANSFORMERS: &[(&str, Make)] = &[
    ("vit_tiny_patch16_224", || vit(ViTSize::Tiny)),
    ("vit_small_patch16_224", || vit(ViTSize::Small)),
    ("deit_tiny_patch16_224", || vit(ViTSize::Tiny)),
];

fn vit(size: ViTSize) -> Box<dyn Architecture> {
    Box::new(ViT::new(ViTOptions { size, ..Default::default() }).unwrap())
}

fn resnet(depth: ResNetDepth) -> Box<dyn Architecture> {
    Box::new(ResNet::new(ResNetOptions { depth, ..Default::default() }))
}

fn efficientnet(variant: EfficientNetLiteVariant, padding: EfficientNetLitePadding) -> Box<dyn Architecture> {
    Box::new(EfficientNetLite::new(EfficientNetLiteOptions { variant, padding }))
}

struct Case<'a> {
    golden: &'a Value,
    params: Params,
    architecture: Box<dyn Architecture>,
    dtype: DType,
}

impl<'a> Case<'a> {
    /// The network of a golden entry, filled; and the input, as a parameter of its own.
    fn new(golden: &'a Value, make: Make, dtype: DType) -> Self {
        let case = Self { golden, params: Params::new(&Device::Cpu), architecture: make(), dtype };
        case.build(Plan::default());
        let held = case.params.all();
        let elements: usize = held.iter().map(|(_, p)| p.var().elem_count()).sum();
        let counts = [&golden["tensors"], &golden["elements"]].map(|v| v.as_u64().unwrap() as usize);
        assert_eq!([held.len(), elements], counts, "{}: tensors and elements", golden["name"]);
        for (name, p) in held {
            let plain = name.strip_prefix("backbone.").unwrap();
            let filling = Tensor::from_vec(filling(plain, p.var().dims()), p.var().shape(), &Device::Cpu).unwrap();
            case.params.set(&name, &filling).unwrap();
        }
        let shape = [0, 1, 2, 3].map(|i| case.size(i));
        let input = Tensor::from_vec(wave("input", shape.iter().product()), &shape, &Device::Cpu).unwrap();
        case.params.insert("input", &input.to_dtype(dtype).unwrap(), Role::Weight, Origin::Fresh).unwrap();
        case
    }

    /// The input's size in one dimension.
    fn size(&self, i: usize) -> usize {
        self.golden["input"][i].as_u64().unwrap() as usize
    }

    fn build(&self, plan: Plan) -> Box<dyn Backbone> {
        let image = Field::Image { channels: self.size(1), height: self.size(2), width: self.size(3) };
        let scope = Scope::new(&self.params, Arc::new(plan), Seeds::new(1), self.dtype).pp("backbone");
        let schema = Schema::from([(HIDDEN.to_owned(), image)]);
        let width = self.golden["features"][1].as_u64().unwrap() as usize;
        assert_eq!(self.architecture.features(&schema).unwrap()[HIDDEN], Field::Vector { width });
        self.architecture.build(&schema, &scope).unwrap()
    }

    fn features(&self, plan: Plan, input: &Tensor, mode: Mode) -> Tensor {
        let net = self.build(plan);
        let mut cx = Ctx::new(mode, "target", 0, &[0, 1], Seeds::new(1));
        let y = net.forward(Acts::hidden(input.clone()), 0..net.stages().len(), &mut cx).unwrap();
        y.get(HIDDEN).unwrap().clone()
    }

    /// How far every output and gradient is off, by name.
    fn run(&self) -> Vec<(String, f64)> {
        let golden = self.golden;
        let off =
            |what: &str, got: &Tensor, want: &Value| (what.to_owned(), deviation(&digest(got), want, got.elem_count()));
        let input = self.params.get("input").unwrap();
        let eval = self.features(Plan::default(), input.var().as_tensor(), Mode::Eval);
        // Where nothing learns, convolution and normalisation are one operation.
        let names = self.params.names();
        let fused = self.features(Plan::frozen(names.iter().map(String::as_str)), &input.view(), Mode::Eval);
        let train = self.features(Plan::default(), input.var().as_tensor(), Mode::Train);
        let mut out = vec![
            off("eval", &eval, &golden["eval"]),
            off("fused eval", &fused, &golden["eval"]),
            off("train", &train, &golden["train"]),
        ];
        let upstream = Tensor::from_vec(wave("upstream", train.elem_count()), train.shape(), &Device::Cpu).unwrap();
        let loss = (&train * upstream.to_dtype(self.dtype).unwrap()).unwrap().sum_all().unwrap();
        let mut gradients = Gradients::new(&self.params, |_| true);
        backward(&loss, &mut gradients).unwrap();
        for (name, want) in golden["grads"].as_object().unwrap() {
            let full = if name == "input" { name.clone() } else { format!("backbone.{name}") };
            let got = gradients.get(&full).unwrap_or_else(|| panic!("{}: `{name}` got no gradient", golden["name"]));
            out.push(off(&format!("gradient of {name}"), got, want));
        }
        for (name, want) in golden["buffers"].as_object().unwrap() {
            out.push(off(name, &self.params.get(&format!("backbone.{name}")).unwrap().view(), want));
        }
        out
    }
}

/// Compares every entry of a golden file with the network that `list` makes for it.
fn check(json: &str, list: &[(&str, Make)], dtype: DType, tolerance: f64) {
    let goldens: Vec<Value> = serde_json::from_str(json).unwrap();
    let named: Vec<&str> = goldens.iter().map(|g| g["name"].as_str().unwrap()).collect();
    for (name, _) in list {
        assert!(named.contains(name), "`{name}` has no golden entry");
    }
    for (name, golden) in named.iter().zip(&goldens) {
        let found = list.iter().find(|(n, _)| n == name);
        let (_, make) = found.unwrap_or_else(|| panic!("say here how `{name}` is made"));
        let off = Case::new(golden, *make, dtype).run();
        let (worst, most) = off.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        println!("{name} in {dtype:?}: at most {most:.1e} off, for {worst}");
        for (what, off) in &off {
            assert!(*off < tolerance, "{name} in {dtype:?}: {what} is {off:.1e} off");
        }
    }
}

#[test]
fn networks_are_those_of_torchvision_and_timm() {
    check(include_str!("../goldens/networks.json"), NETWORKS, DType::F64, 1e-10);
}

#[test]
fn transformers_are_those_of_timm() {
    check(include_str!("../goldens/transformers.json"), TRANSFORMERS, DType::F64, 1e-8);
}

#[test]
fn single_precision_is_close() {
    let goldens: Vec<Value> = serde_json::from_str(include_str!("../goldens/networks.json")).unwrap();
    let one: Vec<&Value> = goldens.iter().filter(|g| g["name"] == "resnet18").collect();
    check(&serde_json::to_string(&one).unwrap(), &NETWORKS[..1], DType::F32, 1e-4);
}
