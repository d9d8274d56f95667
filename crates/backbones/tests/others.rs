//! Checkpoints as others write them: read right, or refused with the tensor's name and what to do. Those of PyTorch are
//! written by `tests/goldens/generate_checkpoints.py`; the others here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use transplant_backbones::weights::{Fitted, WeightsFile, fit, read};
use transplant_core::Result;

/// The network of all these files.
const NETWORK: [(&str, &[usize]); 5] = [
    ("block1.conv.weight", &[4, 3, 3, 3]),
    ("block1.bn.weight", &[4]),
    ("block1.bn.bias", &[4]),
    ("block1.bn.running_mean", &[4]),
    ("block1.bn.running_var", &[4]),
];

fn ours() -> BTreeMap<String, Vec<usize>> {
    NETWORK.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
}

/// The values of each tensor, as the script makes them.
fn values() -> Vec<(&'static str, Vec<f32>)> {
    let mut k = 0;
    let mut next = |n: usize| {
        k += n;
        (k - n..k).map(|i| i as f32 / 8.0).collect()
    };
    NETWORK.iter().map(|(name, shape)| (*name, next(shape.iter().product()))).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights/others").join(format!("{name}.pth"))
}

fn load(path: &Path, key: Option<&str>) -> Result<Fitted> {
    fit(read(path, key)?, &ours())
}

/// Asserts the values of the network, all but one tensor exactly, plus a number.
fn right(what: &str, fitted: &Fitted, plus: f32) {
    for (name, wanted) in values() {
        let got = fitted.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let wanted: Vec<f32> = wanted.iter().map(|v| v + plus).collect();
        assert!(got == wanted, "{what}: {name} is {got:?}");
    }
}

fn taken(name: &str, key: Option<&str>, plus: f32, notes: &[&str]) {
    let fitted = load(&path(name), key).unwrap_or_else(|e| panic!("{name}: {e}"));
    right(name, &fitted, plus);
    let said = fitted.notes.join("; ");
    assert!(notes.iter().all(|n| said.contains(n)) && notes.is_empty() == said.is_empty(), "{name}: {said}");
}

fn refused(name: &str, says: &[&str]) {
    let e = load(&path(name), None).map(|_| ()).unwrap_err().to_string();
    assert!(says.iter().all(|s| e.contains(s)), "{name}: {e}");
}

#[test]
fn wrappers_are_taken_off_and_told() {
    for (name, notes) in [
        ("module", &["without `module.`"][..]),
        ("orig_mod", &["without `_orig_mod.`"]),
        ("orig_mod_module", &["without `_orig_mod.`", "without `module.`"]),
        ("lightning", &["taken from `state_dict`", "without `model.`"]),
        ("lightning_compiled", &["without `_orig_mod.`", "without `model.module.`"]),
        ("backbone", &["without `backbone.`"]),
        ("module_one_extra", &["without `module.`", "1 tensor beside them left out: `ema_steps`"]),
        ("averaged_model", &["without `module.`", "`n_averaged`"]),
        ("inner_wrappers", &["without `_orig_mod.`, `_fsdp_wrapped_module.`"]),
        ("nested_module", &["taken from `state_dict`", "without `module.`"]),
        ("model_and_model_ema", &["without `model.`", "5 tensors beside them left out: `model_ema."]),
        ("whole_wrapped", &["taken from `model`", "without `module.`"]),
    ] {
        taken(name, None, 0.0, notes);
    }
    taken("model_and_model_ema", Some("model_ema"), 1000.0, &["taken from `model_ema`"]);
    let head = |name: &str| load(&path(name), None).unwrap().head["weight"].dims().to_vec();
    assert_eq!((head("backbone"), head("timm_head")), (vec![10, 4], vec![10, 4]));
}

#[test]
fn the_dictionary_taken_is_told() {
    for (name, key, plus, notes) in [
        ("ema", None, 0.0, &["taken from `state_dict`", "not from `state_dict_ema`", "`key = \"state_dict_ema\"`"][..]),
        ("ema", Some("state_dict_ema"), 1000.0, &["taken from `state_dict_ema`"]),
        ("model_ema", None, 0.0, &["taken from `model` of the file, not from `model_ema`"]),
        ("model_ema", Some("model_ema"), 1000.0, &["taken from `model_ema`"]),
        ("only_ema", None, 1000.0, &["taken from `ema.shadow`"]),
        ("net_key", None, 0.0, &["taken from `net`"]),
        ("deep", None, 0.0, &["taken from `checkpoint.model_state_dict`"]),
        ("tensors_beside", None, 0.0, &["taken from `state_dict`"]),
        ("two_networks", Some("discriminator"), 1000.0, &["taken from `discriminator`"]),
        ("student_teacher", Some("teacher"), 1000.0, &["taken from `teacher`"]),
        ("student_teacher", Some("state_dict.student"), 0.0, &["taken from `state_dict.student`"]),
        ("optimizer", None, 0.0, &["taken from `model`"]),
        ("nan_beside", None, 0.0, &["not from `model_ema`"]),
    ] {
        taken(name, key, plus, notes);
    }
    refused("two_networks", &["holds weights under `generator`, `discriminator`", "`key`"]);
    refused(
        "student_teacher",
        &["two networks whose names fit, under `student.` and `teacher.`", "`key = \"student\"`"],
    );
    let e = read(&path("ema"), Some("state_dict_em")).unwrap_err().to_string();
    assert!(e.contains("`state_dict_em`") && e.contains("the nearest is `state_dict_ema`"), "{e}");
    let e = read(&path("module"), Some("teacher")).unwrap_err().to_string();
    assert!(e.contains("leave the key out"), "{e}");
}

#[test]
fn harmless_objects_are_passed_over() {
    let told: &[&str] = &["taken from `state_dict`"];
    for name in ["namespace", "numpy", "objects_2", "objects_3", "objects_4", "objects_5", "objects_old"] {
        taken(name, None, 0.0, told);
    }
    for name in ["dict_subclass", "whole", "whole_old", "scripted", "parameters"] {
        taken(name, None, 0.0, &[]);
    }
}

#[test]
fn every_layout_gives_the_same_tensors() {
    for name in ["one_storage", "strided", "tied", "half", "bf16", "double"] {
        let notes = load(&path(name), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        right(name, &notes, 0.0);
    }
    let expanded = load(&path("expanded"), None).unwrap();
    assert_eq!(expanded.tensors["block1.bn.weight"].to_vec1::<f32>().unwrap(), [2.0; 4]);
}

#[test]
fn what_nothing_needs_refuses_no_file() {
    taken("empty_beside", None, 0.0, &["left out, as no weights: `queue`"]);
    let others = ["`count`", "`mask`", "`short`", "`sparse`", "`tiny`", "`z`"];
    taken("other_types_beside", None, 0.0, &[&["left out, as no weights: "], &others[..]].concat());
    refused("arcface", &["has `arcface.weight`, which this network has no place for", "`leave_out = [\"arcface\"]`"]);
    let file = read(&path("arcface"), None).unwrap();
    let left = |names: &[&str]| file.clone().leave_out(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    right("arcface", &fit(left(&["arcface"]).unwrap(), &ours()).unwrap(), 0.0);
    assert!(left(&["arcfac"]).unwrap_err().to_string().contains("no tensor `arcfac`"));
}

#[test]
fn values_that_are_no_weights_are_named() {
    refused("int8", &["`block1.bn.bias` holds whole numbers", "quantised"]);
    refused("quantised", &["`block1.conv.weight` is quantised"]);
    refused("float8", &["of a type that is not read, such as `float8`"]);
    refused("meta", &["is a meta tensor, without values"]);
    refused("numpy_weights", &["`block1.bn.bias` is a NumPy array"]);
    refused(
        "nan",
        &["`block1.conv.weight` in the file is not finite: of its 108 values 1 are NaN, 0 infinite", "earlier"],
    );
    refused("infinite", &["`block1.bn.running_var` in the file is not finite", "1 infinite"]);
    refused("negative", &["`block1.bn.running_var` in the file is a variance, and 4 of its 4 values are below 0"]);
    refused("weight_norm", &["no tensor for `block1.conv.weight`", "remove_parametrizations"]);
}

/// A safetensors file of the network, in which `edit` may change type, shape and bytes by name.
fn safetensors(
    edit: impl Fn(&str) -> Option<(&'static str, Vec<u8>)>,
    more: &[(&str, &str, &[usize], &[u8])],
) -> Vec<u8> {
    let (mut header, mut data) = (String::from(r#"{"__metadata__":{"format":"pt"}"#), Vec::new());
    let mut add = |name: &str, kind: &str, shape: &[usize], bytes: &[u8]| {
        let (from, to) = (data.len(), data.len() + bytes.len());
        header += &format!(r#","{name}":{{"dtype":"{kind}","shape":{shape:?},"data_offsets":[{from},{to}]}}"#);
        data.extend_from_slice(bytes);
    };
    for ((name, values), (_, shape)) in values().into_iter().zip(NETWORK) {
        let plain = || ("F32", values.iter().flat_map(|v| v.to_le_bytes()).collect());
        let (kind, bytes) = edit(name).unwrap_or_else(plain);
        add(name, kind, shape, &bytes);
    }
    more.iter().for_each(|(name, kind, shape, bytes)| add(name, kind, shape, bytes));
    header.push('}');
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// What comes of a file of this name and content.
fn written(name: &str, content: &[u8]) -> Result<Fitted> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    load(&path, None)
}

#[test]
fn safetensors_of_other_types_are_judged_by_need() {
    let fitted = written("w.safetensors", &safetensors(|_| None, &[("mask", "BOOL", &[1], &[1])])).unwrap();
    right("mask", &fitted, 0.0);
    assert_eq!(fitted.notes, ["left out, as no weights: `mask`"]);
    let wide = written("w.safetensors", &safetensors(|_| None, &[("count", "I32", &[1], &[1, 0, 0, 0])])).unwrap();
    right("count", &wide, 0.0);
    for (kind, bytes, says) in [
        ("U8", vec![7; 108], "whole numbers"),
        ("I64", vec![0; 8 * 108], "whole numbers"),
        ("I8", vec![7; 108], "numbers of type `I8`"),
        ("F8_E4M3", vec![7; 108], "numbers of type `F8_E4M3`"),
    ] {
        let edit = |name: &str| (name == "block1.conv.weight").then(|| (kind, bytes.clone()));
        let e = written("w.safetensors", &safetensors(edit, &[])).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains("`block1.conv.weight` holds") && e.contains(says), "{e}");
    }
    let nan = |name: &str| name.ends_with("running_mean").then(|| ("F32", f32::NAN.to_le_bytes().repeat(4)));
    let e = written("w.safetensors", &safetensors(nan, &[])).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("`block1.bn.running_mean` in the file is not finite: of its 4 values 4 are NaN"), "{e}");
    let dead = |name: &str| name.ends_with("running_var").then(|| ("F32", vec![0; 16]));
    written("w.safetensors", &safetensors(dead, &[])).unwrap();
}

#[test]
fn files_that_hold_no_weights_are_named() {
    let whole = safetensors(|_| None, &[]);
    let zipped = std::fs::read(path("module")).unwrap();
    for (name, content, says) in [
        (
            "w.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n".to_vec(),
            "git lfs pull",
        ),
        ("w.pth", b"<!DOCTYPE html><html><title>Sign in</title></html>".to_vec(), "is a web page"),
        ("w.h5", b"\x89HDF\r\n\x1a\n0000000000".to_vec(), "HDF5"),
        ("w.gguf", b"GGUF\x03\0\0\0\0\0\0\0".to_vec(), "GGUF"),
        ("w.onnx", b"\x08\x08\x12\x07pytorch".to_vec(), "ONNX"),
        ("w.npz", b"PK\x03\x04000000000000".to_vec(), "NumPy arrays"),
        ("config.json", br#"{"hidden_size": 768}"#.to_vec(), "no index"),
        (
            "w.pkl",
            b"\x80\x04}\x94\x8c\x01a\x94K\x01s.\x80\x02K\x01.\x80\x02K\x01.\x80\x02K\x01.\x80\x02K\x01.".to_vec(),
            "`torch.save`",
        ),
        ("w.safetensors", whole[..whole.len() - 20].to_vec(), "cut off or damaged"),
        ("w.pth", zipped[..zipped.len() - 100].to_vec(), "cut off or damaged"),
        ("w.bin", b"abc".to_vec(), "3 bytes only"),
    ] {
        let e = written(name, &content).map(|_| ()).unwrap_err().to_string();
        assert!(e.contains(says) && e.contains(name), "{name}: {e}");
    }
}

#[test]
fn shards_are_read_through_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, content: &[u8]| std::fs::write(at(name), content).unwrap();
    let file = |keep: fn(&str) -> bool| {
        let all: BTreeMap<_, _> = read(&path("module"), None).unwrap().tensors.into_iter().collect();
        let part = all.into_iter().filter(|(n, _)| keep(n)).map(|(n, t)| (n.replace("module.", ""), t)).collect();
        let path = at("part");
        transplant_core::save_safetensors(&path, &part, &BTreeMap::new()).unwrap();
        std::fs::read(path).unwrap()
    };
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    write(one, &file(|n| n.contains("conv")));
    let of = |name: &str| if name.contains("conv") { one } else { two };
    let map = NETWORK.iter().map(|(n, _)| format!(r#""{n}": "{}""#, of(n))).collect::<Vec<_>>().join(",");
    write("model.safetensors.index.json", format!(r#"{{"metadata": {{}}, "weight_map": {{{map}}}}}"#).as_bytes());
    let index = at("model.safetensors.index.json");
    let e = load(&index, None).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains(&format!("`{two}` is not beside this index: 1 of its 2 files")), "{e}");
    write(two, &file(|n| !n.contains("conv")));
    let fitted = load(&index, None).unwrap();
    right("shards", &fitted, 0.0);
    assert_eq!(fitted.notes, ["read from 2 files that `model.safetensors.index.json` names"]);
    let e = load(&at(one), None).map(|_| ()).unwrap_err().to_string();
    assert!(
        e.contains("4 of the network's 5 are missing")
            && e.contains("file 1 of 2: give `model.safetensors.index.json`"),
        "{e}"
    );
    let e = load(folder.path(), None).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("is a folder") && e.contains("such as `model.safetensors.index.json`"), "{e}");
}

#[test]
fn numbers_of_the_other_byte_order_are_turned() {
    // The archive of a machine with the other order: its entry `byteorder` says so, and each number stands the other
    // way round.
    let folder = tempfile::tempdir().unwrap();
    let turned = folder.path().join("big.pth");
    let mut from = zip::ZipArchive::new(std::fs::File::open(path("module")).unwrap()).unwrap();
    let mut to = zip::ZipWriter::new(std::fs::File::create(&turned).unwrap());
    for i in 0..from.len() {
        let mut entry = from.by_index(i).unwrap();
        let (name, mut content) = (entry.name().unwrap().into_owned(), Vec::new());
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        if name.contains("/data/") {
            content.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        } else if name.ends_with("byteorder") {
            content = b"big".to_vec();
        }
        to.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut to, &content).unwrap();
    }
    to.finish().unwrap();
    right("big-endian", &load(&turned, None).unwrap(), 0.0);
}

#[test]
fn tensors_alone_have_no_notes() {
    let plain: WeightsFile = read(&path("double"), None).unwrap();
    assert!(plain.notes.is_empty() && plain.unread.is_empty() && plain.tensors.len() == 5);
}
