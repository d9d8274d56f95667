//! Files that PyTorch wrote (`tests/goldens/generate_weights.py`), and what damage does to them.

use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::Value;
use transplant_backbones::weights::read;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights").join(name)
}

fn refused(name: &str) -> String {
    read(&path(name), None).unwrap_err().to_string()
}

#[test]
fn tensors_of_every_layout_are_those_of_pytorch() {
    let expected: Value = serde_json::from_slice(&std::fs::read(path("expected.json")).unwrap()).unwrap();
    let expected = expected["tensors"].as_object().unwrap();
    for file in ["plain.pth", "plain_old.pth", "checkpoint.pth", "checkpoint_old.pth"] {
        let tensors = read(&path(file), None).unwrap().tensors;
        assert_eq!(tensors.len(), expected.len(), "{file}");
        for (name, want) in expected {
            let t = &tensors[name];
            let shape: Vec<usize> = serde_json::from_value(want["shape"].clone()).unwrap();
            let values: Vec<f64> = serde_json::from_value(want["values"].clone()).unwrap();
            assert_eq!(t.dims(), shape, "{file} {name}");
            assert_eq!(
                t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap(),
                values,
                "{file} {name}"
            );
        }
    }
}

#[test]
fn code_in_a_file_is_refused_and_named() {
    for file in ["evil.pth", "evil_old.pth"] {
        let e = refused(file);
        assert!(e.contains(file) && e.contains(".system`") && e.contains("refused"), "{e}");
    }
    assert!(!Path::new("/tmp/this-was-run").exists());
}

#[test]
fn what_holds_no_weights_says_so() {
    assert!(refused("no_tensors.pth").contains("no dictionary of tensors"));
    assert!(refused("expected.json").contains("expected.json"));
    assert!(refused("missing.pth").contains("missing.pth"));
}

#[test]
fn no_cut_and_no_flipped_byte_makes_it_panic_or_read_beyond_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.pth");
    for file in ["plain.pth", "plain_old.pth"] {
        let whole = std::fs::read(path(file)).unwrap();
        for end in (0..whole.len()).step_by(7) {
            std::fs::write(&copy, &whole[..end]).unwrap();
            assert!(read(&copy, None).is_err(), "{file} cut at {end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&copy, bytes).unwrap();
            drop(read(&copy, None));
        }
    }
}
