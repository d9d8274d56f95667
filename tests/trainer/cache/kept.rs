//! What is trained is the same with and without the cache, and nothing is computed twice.

use transplant_core::KeptIn;
use transplant_trainer::{Cache, Precision};

use super::{TRAIN, Training, VALIDATION, assert_same, filed, files, off};

#[test]
fn no_bit_depends_on_where_the_output_is_kept() {
    for (noise, views, precision) in [
        (false, None, Precision::F32),
        (true, Some(2), Precision::F32),
        (true, None, Precision::F32),
        (true, Some(2), Precision::Bf16),
    ] {
        let training = Training { noise, views, precision, epochs: 5, ..Training::default() };
        let expected = training.with(off()).run();
        assert!(expected.kept.is_empty() && expected.ran > 5 * TRAIN);
        let dir = tempfile::tempdir().unwrap();
        let memory = Cache::default();
        for (cache, from, reused) in [
            (memory, KeptIn::Memory, false),
            (filed(dir.path(), 0), KeptIn::File, false),
            (filed(dir.path(), 0), KeptIn::File, true),
            (filed(dir.path(), 1 << 30), KeptIn::Memory, true),
        ] {
            let did = training.with(cache).run();
            assert_same(&did, &expected, &format!("views {views:?}, {from:?}, reused {reused}"));
            assert!(did.warnings.is_empty() && did.notes.iter().all(|n| n.contains("matrix unit")), "{did:?}");
            let of = |stream: &str, n: usize| {
                (stream.to_owned(), from, if reused { 0 } else { n }, if reused { n } else { 0 })
            };
            let mut all = vec![of("target", TRAIN * views.unwrap_or(1) as usize), of("validation", VALIDATION)];
            if noise && views.is_none() {
                all.remove(0);
            }
            assert_eq!(did.kept, all);
        }
    }
}

#[test]
fn views_are_what_is_trained_on() {
    let training = |views| Training { noise: true, views, epochs: 4, ..Training::default() }.run().weights;
    let (one, two, endless) = (training(Some(1)), training(Some(2)), training(None));
    assert!(one != two && two != endless && one != endless);
    assert_eq!(training(Some(4)), endless, "as many views as epochs");
}

#[test]
fn the_prefix_runs_on_each_row_once() {
    // 70 rows are three tiles, 20 are one.
    let pass = 3 * 32 + 32;
    for frozen_until in ["third", "fourth"] {
        let training = Training { frozen_until, epochs: 20, ..Training::default() };
        let did = training.run();
        assert_eq!((did.ran, did.computed()), (pass, TRAIN + VALIDATION), "{frozen_until}");
        let unvalidated = Training { validated: false, ..training.clone() }.run();
        assert_eq!(unvalidated.ran, 3 * 32);
        let views = Training { noise: true, views: Some(3), ..training.clone() }.run();
        assert_eq!((views.ran, views.computed()), (3 * 3 * 32 + 32, 3 * TRAIN + VALIDATION));
        let many = Training { noise: true, views: Some(u64::MAX), epochs: 2, ..training.clone() };
        assert_eq!(many.run().computed(), 2 * TRAIN + VALIDATION, "only views that are shown");
        assert_same(&many.run(), &many.with(off()).run(), "only views that are shown");
        let dir = tempfile::tempdir().unwrap();
        let filed = training.with(filed(dir.path(), 0));
        assert_eq!((filed.run().ran, filed.run().ran), (pass, 0), "a second run finds everything");
    }
}

#[test]
fn rows_are_shared_and_only_new_ones_are_computed() {
    let dir = tempfile::tempdir().unwrap();
    let training = Training { noise: true, views: Some(1), ..Training::default() }.with(filed(dir.path(), 0));
    assert_eq!(training.run().computed(), TRAIN + VALIDATION);
    let more = Training { views: Some(3), ..training.clone() };
    let did = more.run();
    assert_eq!(did.kept[0], ("target".to_owned(), KeptIn::File, 2 * TRAIN, TRAIN));
    assert_same(&did, &more.with(off()).run(), "partly reused");
    // Another length of the prefix, one bit of one weight, another precision, other code: each has a file of its own.
    let file = |training: &Training| {
        let before = files(dir.path());
        let did = training.run();
        assert_same(&did, &training.with(off()).run(), "another prefix");
        assert_eq!(did.computed(), TRAIN + VALIDATION);
        assert_eq!(files(dir.path()).len(), before.len() + 1);
    };
    file(&Training { frozen_until: "second", ..training.clone() });
    file(&Training { changed: f32::EPSILON, ..training.clone() });
    file(&Training { precision: Precision::Bf16, ..training.clone() });
    let mut other = training.clone();
    other.cache.files.as_mut().unwrap().identity = "other options".to_owned();
    file(&other);
}
