//! Every file in `configs/` is valid, and the generated reference is fresh.

use std::path::Path;

use super::{succeeded, transplant};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_shipped_config_is_valid() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        // Those that need files of the user's are run in cifar10.rs, on files of that layout; those that fetch, in pretrained.rs.
        let text = std::fs::read_to_string(&path).unwrap();
        let needs_files = text.contains("folder = \"../data/") || text.contains("asset = ");
        if path.extension().is_some_and(|e| e == "toml") && !needs_files {
            let said = succeeded(&transplant().arg("check").arg(&path).output().unwrap());
            assert!(said.contains("block1") && said.contains("trained"), "{said}");
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[test]
fn the_reference_is_fresh() {
    let dir = tempfile::tempdir().unwrap();
    succeeded(&transplant().arg("reference").arg(dir.path()).output().unwrap());
    let committed = root().join("docs/reference");
    let names = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(dir.path()), names(&committed), "run `cargo xtask docs --write`");
    for name in names(dir.path()) {
        let (fresh, old) =
            (std::fs::read(dir.path().join(&name)).unwrap(), std::fs::read(committed.join(&name)).unwrap());
        assert!(fresh == old, "{name:?} is stale: run `cargo xtask docs --write`");
    }
}
