//! Rows whose fingerprints are known are not read where the file has what was made of them.

use std::collections::BTreeMap;

use transplant_core::{Batch, Dataset, Fingerprint, Predictions, Roles, Test};
use transplant_trainer::evaluate_in;

use super::*;

/// A data set that knows fingerprints, and counts the rows that are read of it.
struct Counted {
    rows: Arc<Memory>,
    read: AtomicUsize,
}

impl Dataset for Counted {
    fn inputs(&self) -> &Schema {
        self.rows.inputs()
    }
    fn targets(&self) -> &Schema {
        self.rows.targets()
    }
    fn roles(&self) -> &Roles {
        self.rows.roles()
    }
    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.rows.classes_of(target)
    }
    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.read.fetch_add(rows.len(), Ordering::Relaxed);
        self.rows.batch(rows)
    }
    fn content_hash(&self) -> String {
        self.rows.content_hash()
    }
    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        let mut print = Fingerprint::default();
        print[..8].copy_from_slice(&row.to_le_bytes());
        Some(print)
    }
}

/// What a frozen network says of the rows, and how many of them were read.
fn evaluated(
    cache: Cache,
    identity: Option<&str>,
    rows: std::ops::Range<u64>,
) -> (BTreeMap<String, Predictions>, usize) {
    let data = Arc::new(Counted { rows: data(), read: AtomicUsize::new(0) });
    let net = Net::new(24).stage(Stage::new("only"), |s| {
        let layer = s.pp("fc").linear(40, 24)?;
        Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
    });
    let strategy = Spec::<dyn Strategy>::new("feature").with("head", "linear");
    let mut m = model(net, &data.rows, &[("class", classify("class"))], Arc::from(make(strategy)));
    let source = m.params().snapshot(|_| true).unwrap();
    m.load_source(&source, "itself", &["class".to_owned()]).unwrap();
    let options = LoaderOptions { identity: identity.map(str::to_owned), ..loader(13) };
    let feed = Loader::test(&Test::new(data.clone(), rows.collect()), options).unwrap();
    let (mut listener, stop) = (|_: &Event| {}, AtomicBool::new(false));
    let mut io = Io { cache, ..Io::new(&mut listener, &stop) };
    let said = evaluate_in(&mut io, "test", &m, &feed, 0).unwrap();
    (said.predictions, data.read.load(Ordering::Relaxed))
}

#[test]
fn what_is_known_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = || filed(dir.path(), 1 << 20);
    let (plain, _) = evaluated(off(), None, 0..70);
    assert_eq!(evaluated(cache(), Some("as they are"), 0..50).1, 50);
    // Rows are read together where one of them is new: all but those of the first tile.
    assert_eq!(evaluated(cache(), Some("as they are"), 0..70), (plain.clone(), 38));
    assert_eq!(evaluated(cache(), Some("as they are"), 0..70), (plain.clone(), 0));
    assert_eq!(evaluated(cache(), Some("otherwise"), 0..70), (plain.clone(), 70), "other transforms");
    assert_eq!(evaluated(cache(), None, 0..70), (plain.clone(), 70), "transforms that nobody names");

    let file = files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    for identity in ["as they are", "otherwise"] {
        assert_eq!(evaluated(cache(), Some(identity), 0..70).0, plain, "a damaged row is computed again");
    }
}
