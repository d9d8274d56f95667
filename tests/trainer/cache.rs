//! What a frozen prefix puts out is computed once for each row, view and content, and whether it was kept, and where, changes
//! no bit of what is trained.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use transplant_core::{
    Acts, Ctx, Event, HIDDEN, KeptIn, Result, Schema, Seeds, Spec, Stage, Strategy, Transform, TransformCx, Validation,
};
use transplant_datasets::{Loader, LoaderOptions};
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe};
use transplant_trainer::{Cache, CacheFiles, Data, Io, clear_cache, fit, list_cache};

const TRAIN: usize = 70;
const VALIDATION: usize = 20;

/// Adds noise of the row and epoch.
struct Noise;

impl Transform for Noise {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        Ok(inputs.clone())
    }
    fn random(&self) -> bool {
        true
    }
    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let of = |row: &u64| {
            let mut rng = cx.seeds.stream("noise", &[*row, cx.epoch]);
            (0..40).map(|_| normal(&mut rng)).collect::<Vec<_>>()
        };
        let noise: Vec<f32> = cx.rows.iter().flat_map(of).collect();
        let noise = Tensor::from_vec(noise, (cx.rows.len(), 40), &Device::Cpu)?;
        Ok(Acts::hidden((inputs.get(HIDDEN)? + noise)?))
    }
}

/// A training of a network of four stages, of which the first ones are frozen.
#[derive(Clone)]
struct Training {
    frozen_until: &'static str,
    epochs: u64,
    noise: bool,
    views: Option<u64>,
    validated: bool,
    cache: Cache,
    checkpoints: Option<PathBuf>,
    /// Added to one weight of the first stage.
    changed: f32,
}

impl Default for Training {
    fn default() -> Self {
        let (noise, views, validated, checkpoints, changed) = (false, None, true, None, 0.0);
        let (frozen_until, cache) = ("third", Cache::default());
        Self { frozen_until, epochs: 3, noise, views, validated, cache, checkpoints, changed }
    }
}

/// What a training did.
#[derive(Debug)]
struct Did {
    weights: String,
    losses: Vec<f64>,
    /// Rows that went through the first stage, filled-up tiles included.
    ran: usize,
    /// By stream: where, computed, reused.
    kept: Vec<(String, KeptIn, usize, usize)>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Did {
    fn computed(&self) -> usize {
        self.kept.iter().map(|(_, _, computed, _)| computed).sum()
    }
}

fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(8).stream("rows", &[]);
    let y: Vec<u32> = (0..100).map(|i| i % 3).collect();
    let x = y.iter().map(|c| (0..40).map(|d| normal(&mut rng) + if *c == d { 1.5 } else { 0.0 }).collect()).collect();
    Arc::new(Memory::vectors(x, &y, 3, TRAIN))
}

impl Training {
    fn run(&self) -> Did {
        self.run_with(&mut |_| {})
    }

    /// Runs it while somebody else looks at the events.
    fn run_with(&self, look: &mut (dyn FnMut(&Event) + Send)) -> Did {
        self.attempt(look, &AtomicBool::new(false)).unwrap()
    }

    fn attempt(&self, look: &mut (dyn FnMut(&Event) + Send), stop: &AtomicBool) -> Result<Did> {
        let (data, ran) = (data(), Arc::new(AtomicUsize::new(0)));
        let layer = |name: &str, i: usize, net: Net| {
            let counted = (name == "first").then(|| ran.clone());
            net.stage(Stage::new(name), move |s| {
                let (layer, counted) = (s.pp("fc").linear(i, 24)?, counted.clone());
                Ok(move |acts: Acts, _: &mut Ctx| {
                    let x = acts.get(HIDDEN)?;
                    if let Some(counted) = &counted {
                        counted.fetch_add(x.dims()[0], Ordering::Relaxed);
                    }
                    Ok(Acts::hidden(relu(&layer.forward(x)?)?))
                })
            })
        };
        let net = layer("fourth", 24, layer("third", 24, layer("second", 24, layer("first", 40, Net::new(24)))));
        let strategy = Spec::<dyn Strategy>::new("parameter").with("freeze_until", self.frozen_until);
        let mut m = model(net, &data, &[("class", classify("class"))], Arc::from(make(strategy)));
        let mut source = m.params().snapshot(|_| true).unwrap();
        let weight = source.get_mut("backbone.first.fc.weight").unwrap();
        let mut values: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
        values[0] += self.changed;
        *weight = Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap();
        m.load_source(&source, "itself", &["class".to_owned()]).unwrap();

        let options = || {
            let augment: Vec<Arc<dyn Transform>> = if self.noise { vec![Arc::new(Noise)] } else { Vec::new() };
            LoaderOptions { augment, views: self.views, ..loader(13) }
        };
        let mut streams = Data::target(Loader::train(&data.train(), options()).unwrap());
        if self.validated {
            let rows = Validation::new(data.clone(), (TRAIN as u64..(TRAIN + VALIDATION) as u64).collect());
            streams = streams.validated_on(Loader::validation(&rows, options()).unwrap());
        }
        let mut events = Vec::new();
        let mut listener = |e: &Event| {
            look(e);
            events.push(e.clone());
        };
        let (cache, checkpoints) = (self.cache.clone(), self.checkpoints.clone());
        let mut io = Io { cache, checkpoints, resume: true, ..Io::new(&mut listener, stop) };
        ran.store(0, Ordering::Relaxed);
        let fitted = fit(&mut m, &recipe(self.epochs, "sgd", 0.05), &streams, &mut io)?;
        let (mut kept, mut notes, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for e in events {
            match e {
                Event::PrefixKept { stream, from, computed, reused, .. } => {
                    kept.push((stream, from, computed, reused));
                }
                Event::Note { text } => notes.push(text),
                Event::Warning { text } => warnings.push(text),
                _ => {}
            }
        }
        let score = |r: &transplant_core::Report| [r.train_loss, r.score.unwrap_or(0.0)];
        let losses = fitted.history.iter().flat_map(score).collect();
        let weights = m.params().hash(|_| true).unwrap();
        Ok(Did { weights, losses, ran: ran.load(Ordering::Relaxed), kept, notes, warnings })
    }

    fn with(&self, cache: Cache) -> Self {
        Self { cache, ..self.clone() }
    }
}

fn off() -> Cache {
    Cache { enabled: false, ..Cache::default() }
}

/// A cache with a file for everything, and no memory beside it unless it is given.
fn filed(folder: &Path, memory_bytes: u64) -> Cache {
    let (network, identity) = ("net".to_owned(), "code and options".to_owned());
    let files = CacheFiles { folder: folder.to_owned(), limit_bytes: 1 << 30, least_work: 0, network, identity };
    Cache { enabled: true, memory_bytes, files: Some(files) }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect()
}

/// The same weights, losses and scores.
fn assert_same(did: &Did, expected: &Did, what: &str) {
    assert_eq!((&did.weights, &did.losses), (&expected.weights, &expected.losses), "{what}");
}

#[test]
fn no_bit_depends_on_where_the_output_is_kept() {
    for (noise, views) in [(false, None), (true, Some(2)), (true, None)] {
        let training = Training { noise, views, epochs: 5, ..Training::default() };
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
            assert!(did.warnings.is_empty() && did.notes.is_empty(), "{did:?}");
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
    // Another length of the prefix, one bit of one weight, other code: each has a file of its own.
    let file = |training: &Training| {
        let before = files(dir.path());
        let did = training.run();
        assert_same(&did, &training.with(off()).run(), "another prefix");
        assert_eq!(did.computed(), TRAIN + VALIDATION);
        assert_eq!(files(dir.path()).len(), before.len() + 1);
    };
    file(&Training { frozen_until: "second", ..training.clone() });
    file(&Training { changed: f32::EPSILON, ..training.clone() });
    let mut other = training.clone();
    other.cache.files.as_mut().unwrap().identity = "other options".to_owned();
    file(&other);
}

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
