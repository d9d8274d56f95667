//! Files of the cache that are damaged, cannot be written, are too many, or have two users.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use transplant_core::Event;
use transplant_trainer::{clear_cache, list_cache};

use super::{Did, TRAIN, Training, VALIDATION, assert_same, filed, files, off};

/// Damages the file of a cache, and trains from it.
fn damaged(damage: &dyn Fn(&Path, Vec<u8>), says: &str, computed: std::ops::RangeInclusive<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let training = Training::default().with(filed(dir.path(), 0));
    let expected = training.run();
    let [file] = files(dir.path()).try_into().unwrap();
    damage(&file, fs::read(&file).unwrap());
    let did = training.run();
    assert_same(&did, &expected, says);
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(did.warnings.iter().any(|w| w.contains(says) && w.contains(&name)), "{says}: {:?}", did.warnings);
    assert!(computed.contains(&did.computed()), "{says}: {}", did.computed());
    let again = training.run();
    assert_eq!((again.computed(), again.warnings.len()), (0, 0), "{says}: it was mended");
    assert_same(&again, &expected, says);
}

#[test]
fn damage_is_noticed_and_mended() {
    let write = |file: &Path, bytes: Vec<u8>| fs::write(file, bytes).unwrap();
    // A record is 32 bytes of sums and 24 values.
    let record = 32 + 4 * 24;
    for (from_end, bits) in [(1, 1), (50, 0x80), (4 * 24 + 1, 2), (4 * 24 + 9, 4), (record, 1), (record * 5 + 3, 0xff)]
    {
        let flip = move |file: &Path, mut bytes: Vec<u8>| {
            let at = bytes.len() - from_end;
            bytes[at] ^= bits;
            write(file, bytes);
        };
        damaged(&flip, "1 damaged rows", 1..=1);
    }
    let zero = |file: &Path, mut bytes: Vec<u8>| {
        let start = bytes.len() - 3 * record;
        bytes[start..].fill(0);
        write(file, bytes);
    };
    damaged(&zero, "3 damaged rows", 3..=3);
    damaged(&|file, bytes| write(file, bytes[..bytes.len() - 7].to_vec()), "ends within a row", 1..=1);
    let all = TRAIN + VALIDATION;
    for keep in [5, 30] {
        damaged(&move |file, bytes| write(file, bytes[..keep].to_vec()), "damaged at its beginning", all..=all);
    }
    for at in [0, 9, 13, 40] {
        let flip = move |file: &Path, mut bytes: Vec<u8>| {
            bytes[at] ^= 1;
            write(file, bytes);
        };
        damaged(&flip, "damaged at its beginning", all..=all);
    }
    damaged(
        &|file, _| write(file, b"somebody else's notes, which are long enough".to_vec()),
        "of this program",
        all..=all,
    );
}

#[test]
fn damage_during_training_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let training = Training::default().with(filed(dir.path(), 0));
    let expected = training.run();
    let did = training.run_with(&mut |e| {
        if let Event::Stepped { step: 2, .. } = e {
            let file = files(dir.path()).remove(0);
            let mut bytes = fs::read(&file).unwrap();
            let half = bytes.len() / 2;
            bytes[half..].fill(7);
            fs::write(&file, bytes).unwrap();
        }
    });
    assert_same(&did, &expected, "damaged meanwhile");
    assert!(did.warnings.iter().any(|w| w.contains("damaged rows")), "{did:?}");
    assert!(did.ran > 0 && training.run().warnings.len() == 1 && training.run().warnings.is_empty());
}

#[test]
fn who_is_stopped_while_rows_are_computed_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Some(dir.path().join("checkpoints"));
    let training = Training { checkpoints, ..Training::default() }.with(filed(&dir.path().join("cache"), 0));
    let stop = AtomicBool::new(false);
    let stopped = training.attempt(
        &mut |e| {
            if let Event::PrefixKept { .. } = e {
                stop.store(true, Ordering::Relaxed);
            }
        },
        &stop,
    );
    assert!(matches!(stopped, Err(transplant_core::Error::Interrupted)), "{stopped:?}");
    let did = training.run();
    assert!(did.notes.iter().any(|n| n.contains("resumed after step 0")), "{did:?}");
    assert_eq!((&did.kept[0].2, &did.kept[1].2), (&0, &VALIDATION), "the first stream is in the file");
    assert_same(&did, &Training::default().with(off()).run(), "stopped and resumed");

    // In the fourth of five epochs, which shows the first of three views; the last one shows the second.
    let (stop, checkpoints) = (AtomicBool::new(false), Some(dir.path().join("views")));
    let training = Training { noise: true, views: Some(3), epochs: 5, checkpoints, ..Training::default() };
    let stopped =
        training.attempt(&mut |e| stop.store(matches!(e, Event::Stepped { step: 20, .. }), Ordering::Relaxed), &stop);
    assert!(matches!(stopped, Err(transplant_core::Error::Interrupted)), "{stopped:?}");
    let did = training.run();
    assert_eq!(did.kept[0].2, 2 * TRAIN, "views that are still shown");
    assert_same(&did, &Training { checkpoints: None, ..training.with(off()) }.run(), "stopped and resumed with views");
}

#[test]
fn what_cannot_be_written_is_done_without() {
    let expected = Training::default().with(off()).run();
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    fs::write(&taken, "a file").unwrap();
    let did = Training::default().with(filed(&taken, 1 << 30)).run();
    assert_same(&did, &expected, "no folder");
    assert!(did.notes.iter().any(|n| n.contains("cannot be used") && n.contains("taken")), "{did:?}");
    assert_eq!(Training::default().with(filed(&taken, 0)).run().kept, []);

    // A folder that may be read only still serves what is in it. (For the superuser it may be written all the same.)
    let folder = dir.path().join("read_only");
    let training = Training::default().with(filed(&folder, 0));
    training.run();
    let set = |readonly| {
        for path in files(&folder).into_iter().chain([folder.clone()]) {
            let mut p = fs::metadata(&path).unwrap().permissions();
            p.set_readonly(readonly);
            fs::set_permissions(&path, p).unwrap();
        }
    };
    set(true);
    let free = tempfile::tempfile_in(&folder).is_ok();
    let did = training.run();
    let other = Training { changed: 1.0, ..training.clone() }.run();
    #[allow(clippy::permissions_set_readonly_false, reason = "the folder is removed right after")]
    set(false);
    assert_same(&did, &expected, "read only");
    assert_eq!(did.computed(), 0);
    assert!(free || did.notes.iter().any(|n| n.contains("cannot be written")), "{did:?}");
    assert!(free || other.kept.is_empty() && other.notes.iter().any(|n| n.contains("cannot be used")), "{other:?}");
}

#[test]
fn a_limit_holds_and_the_oldest_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let limited = |limit: u64, memory: u64| {
        let mut cache = filed(dir.path(), memory);
        cache.files.as_mut().unwrap().limit_bytes = limit;
        Training::default().with(cache)
    };
    let expected = Training::default().with(off()).run();
    let small = limited(4000, 0).run();
    assert_same(&small, &expected, "no room at all");
    assert!(small.kept.iter().all(|(stream, ..)| stream == "validation"), "{:?}", small.kept);
    let room = |limit: u64| list_cache(dir.path()).unwrap().iter().map(|e| e.bytes).sum::<u64>() <= limit;
    assert!(room(4000));
    let full = limited(4000, 1 << 30).run();
    assert_same(&full, &expected, "some rows are in the file");
    assert!(full.notes.iter().any(|n| n.contains("is full")), "{:?}", full.notes);
    assert!(room(4000));

    // Two prefixes fit, a third one takes the place of the first.
    let limit = 26_000;
    for (changed, there) in [(0.0, 1), (1.0, 2), (2.0, 2)] {
        Training { changed, ..limited(limit, 0) }.run();
        assert_eq!(list_cache(dir.path()).unwrap().len(), there);
        assert!(room(limit));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(Training { changed: 1.0, ..limited(limit, 0) }.run().computed(), 0);
    assert_eq!(Training { changed: 0.0, ..limited(limit, 0) }.run().computed(), TRAIN + VALIDATION);
}

#[test]
fn two_at_once_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let expected = Training::default().with(off()).run();
    for memory in [0, 1 << 30] {
        let training = Training::default().with(filed(dir.path(), memory));
        let both: Vec<Did> = std::thread::scope(|s| {
            let started: Vec<_> = (0..3).map(|_| s.spawn(|| training.run())).collect();
            started.into_iter().map(|t| t.join().unwrap()).collect()
        });
        both.iter().for_each(|did| assert_same(did, &expected, "beside another"));
        let after = training.run();
        assert_eq!((after.computed(), after.warnings.len()), (0, 0), "{after:?}");
        clear_cache(dir.path(), None).unwrap();
    }

    // Who does not get the file goes without it, and says so; and what is in use is not cleared away.
    let training = Training::default().with(filed(dir.path(), 1 << 30));
    training.run();
    let [file] = files(dir.path()).try_into().unwrap();
    let size = fs::metadata(&file).unwrap().len();
    let held = fs::File::open(&file).unwrap();
    held.lock().unwrap();
    let did = Training { noise: true, views: Some(1), ..training.clone() }.run();
    assert!(did.notes.iter().any(|n| n.contains("in use by another process")), "{did:?}");
    assert_eq!((did.computed(), fs::metadata(&file).unwrap().len()), (TRAIN, size));
    let cleared = clear_cache(dir.path(), None).unwrap();
    assert_eq!((cleared.entries, cleared.in_use), (0, 1));
    drop(held);
    let entries = list_cache(dir.path()).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].rows, entries[0].network.as_deref()), (90, Some("net: first, second, third")));
    assert!(clear_cache(dir.path(), Some("nothing")).is_err());
    assert_eq!(clear_cache(dir.path(), Some(&entries[0].key[..8])).unwrap().entries, 1);
    assert!(list_cache(dir.path()).unwrap().is_empty());
}
