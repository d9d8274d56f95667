//! A strategy of one's own, run as a user would run it.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use transplant_core::Event;
use transplant_pipeline::{builtin, file, run};

#[test]
fn bitfit_trains_few_weights() {
    let plugins = builtin().with(own_parts::plugin);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("own_parts.toml");
    let pipeline = file::open(&path, &file::Overrides::default(), &plugins).unwrap();
    let out = tempfile::tempdir().unwrap();
    let prepared = run::prepare(&pipeline, &plugins, Some(&out.path().join("run"))).unwrap();
    let mut listener = |_: &Event| {};
    let outcome = run::run(&prepared, false, &mut listener, &AtomicBool::new(false)).unwrap();
    let transfer = outcome.summary.steps.iter().find(|s| s.strategy == "bitfit").unwrap();
    assert!(transfer.trainable_parameters < transfer.parameters / 2);
    assert!(transfer.metrics["test"]["accuracy"] > 0.8);
}
