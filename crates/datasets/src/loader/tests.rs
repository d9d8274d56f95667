use super::*;
use crate::samplers::{ClassBalanced, ClassBalancedOptions};
use crate::transforms::{Affine, Flip, Pad, affine, flip, pad};
use crate::{Draw, Optdigits, Parts};
use transplant_core::HIDDEN;

fn parts(k: usize) -> Parts {
    let dataset: Arc<dyn Dataset> = Arc::new(Optdigits::load().unwrap());
    let draw = Draw { labels_per_class: Some(k), ..Draw::default() };
    draw.parts(&dataset, "class", Seeds::new(0)).unwrap()
}

fn augmented(batch_size: usize) -> LoaderOptions {
    let o = affine::Options { rotate_degrees: 20., ..affine::Options::default() };
    let p = pad::Options { height: Some(10), width: Some(12), ..pad::Options::default() };
    let mut options = LoaderOptions::new(batch_size);
    options.transforms = vec![Arc::new(Pad::new(p).unwrap())];
    options.augment = vec![Arc::new(Affine::new(o).unwrap()), Arc::new(Flip::new(flip::Options::default()).unwrap())];
    options
}

fn bits(batch: &Batch) -> Vec<f32> {
    batch.inputs.get(HIDDEN).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn balanced_classes_are_drawn_alike_and_no_row_twice_before_all_of_its_class() -> Result<()> {
    let dataset: Arc<dyn Dataset> = Arc::new(Optdigits::load()?);
    let labels = dataset.classes_of("class")?;
    let of = |class: u32, n: usize| {
        let all = dataset.roles().pool.iter().copied().filter(|r| labels[*r as usize] == Some(class));
        all.take(n).collect::<Vec<_>>()
    };
    let rows = [of(0, 60), of(1, 15), of(2, 5)].concat();
    let train = Train::new(dataset.clone(), rows.clone());
    let counts = |balance: f64, epoch: u64| -> Result<Vec<usize>> {
        let feed = Loader::train(&train, LoaderOptions { sampler: balanced(balance), ..LoaderOptions::new(16) })?;
        let drawn = (0..feed.batches()).map(|i| feed.order(epoch, i)).collect::<Result<Vec<_>>>()?.concat();
        assert_eq!((drawn.len(), feed.batches()), (80, 5));
        let times = |row: &u64| drawn.iter().filter(|r| *r == row).count();
        for class in [&rows[..60], &rows[60..75], &rows[75..]] {
            let times: Vec<usize> = class.iter().map(times).collect();
            assert!(times.iter().max().unwrap() - times.iter().min().unwrap() <= 1, "{times:?}");
        }
        let of_class = |class: &[u64]| class.iter().map(times).sum();
        Ok(vec![of_class(&rows[..60]), of_class(&rows[60..75]), of_class(&rows[75..])])
    };
    assert_eq!(counts(0., 0)?, [60, 15, 5]);
    assert_eq!(counts(1., 0)?, [27, 26, 27]);
    // The roots of 60, 15 and 5 are as 7.75, 3.87 and 2.24.
    assert_eq!(counts(0.5, 0)?, [45, 22, 13]);
    assert_eq!(counts(1., 3)?, [27, 26, 27]);
    Ok(())
}

#[test]
fn a_feed_has_rows_of_its_role_only() -> Result<()> {
    let parts = parts(2);
    let test = Loader::test(&parts.test, LoaderOptions::new(8))?;
    let said = Fed::new(&parts.train, test.shared().clone()).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(said.contains("which is not in the split it was made for"), "{said}");
    let some = Test::new(parts.test.dataset().clone(), parts.test.rows()[3..5].to_vec());
    assert!(Fed::new(&parts.test, Loader::test(&some, LoaderOptions::new(8))?.shared().clone()).is_ok());
    Ok(())
}

#[test]
fn an_epoch_holds_every_row_once_in_batches_of_like_size() -> Result<()> {
    let parts = parts(5);
    for batch_size in [1, 7, 49, 50, 64] {
        let feed = Loader::train(&parts.train, LoaderOptions::new(batch_size))?;
        assert_eq!(feed.batches(), 50u64.div_ceil(batch_size as u64));
        let mut rows = Vec::new();
        for i in 0..feed.batches() {
            let batch = feed.batch(3, i)?;
            let n = batch.rows.len();
            assert!(n <= batch_size && n >= 50 / feed.batches() as usize, "{n} of {batch_size}");
            rows.extend(batch.rows);
        }
        assert_ne!(rows, feed.rows());
        rows.sort_unstable();
        assert_eq!(rows, feed.rows());
        assert!(feed.batch(0, feed.batches()).is_err());
    }
    Ok(())
}

#[test]
fn a_batch_is_a_function_of_seed_epoch_and_index() -> Result<()> {
    let parts = parts(5);
    let feed = Loader::train(&parts.train, augmented(16))?;
    let wanted = feed.batch(4, 2)?;
    for other in 0..4 {
        feed.batch(other, other)?;
    }
    assert_eq!((bits(&feed.batch(4, 2)?), feed.batch(4, 2)?.rows), (bits(&wanted), wanted.rows.clone()));
    let again = Loader::train(&parts.train, augmented(16))?.batch(4, 2)?;
    assert_eq!((bits(&again), again.rows), (bits(&wanted), wanted.rows.clone()));
    let other = Loader::train(&parts.train, LoaderOptions { seeds: Seeds::new(1), ..augmented(16) })?;
    assert_ne!(other.batch(4, 2)?.rows, wanted.rows);
    assert_ne!(feed.batch(5, 2)?.rows, wanted.rows);
    Ok(())
}

#[test]
fn views_come_round_while_the_order_goes_on() -> Result<()> {
    let parts = parts(5);
    let feed = Loader::train(&parts.train, LoaderOptions { views: Some(3), ..augmented(16) })?;
    let rows = feed.order(1, 0)?;
    let view = |epoch| feed.view(&rows, epoch).map(|b| bits(&b));
    assert_eq!((view(1)?, view(2)?), (view(4)?, view(8)?));
    assert!(view(0)? != view(1)? && view(1)? != view(2)? && feed.order(4, 0)? != rows);
    let endless = Loader::train(&parts.train, augmented(16))?;
    assert_eq!(bits(&endless.view(&rows, 2)?), view(2)?);
    assert_ne!(bits(&endless.view(&rows, 4)?), view(4)?);
    assert_eq!((feed.views(), endless.views()), (Some(3), None));
    assert_eq!(Loader::train(&parts.train, LoaderOptions::new(16))?.views(), Some(1));
    assert!(Loader::train(&parts.train, LoaderOptions { views: Some(0), ..augmented(16) }).is_err());
    Ok(())
}

#[test]
fn threads_change_nothing() -> Result<()> {
    let feed = Loader::train(&parts(20).train, augmented(64))?;
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| feed.batch(1, 1)).map(|b| bits(&b))
    };
    assert_eq!(with(1)?, with(3)?);
    Ok(())
}

#[test]
fn plain_rows_are_transformed_but_not_augmented() -> Result<()> {
    let parts = parts(2);
    let feed = Loader::validation(&Validation::new(parts.train.dataset().clone(), vec![8, 3]), augmented(4))?;
    assert_eq!(feed.views(), None);
    let batch = feed.plain(&[3, 8])?;
    assert_eq!((batch.rows.as_slice(), batch.inputs.get(HIDDEN)?.dims()), (&[3, 8][..], &[2, 1, 10, 12][..]));
    let raw = parts.train.dataset().batch(&[3])?;
    assert_eq!(bits(&batch).iter().sum::<f32>() > 0., bits(&raw).iter().sum::<f32>() > 0.);
    let middle = batch.inputs.get(HIDDEN)?.get(0)?.narrow(1, 1, 8)?.narrow(2, 2, 8)?;
    assert_eq!(middle.flatten_all()?.to_vec1::<f32>()?, bits(&raw));
    assert_eq!(batch.target("class")?.values.dims(), [2]);
    Ok(())
}

#[test]
fn what_is_known_of_rows_is_what_reading_them_would_give() -> Result<()> {
    let picture = |row: u8| crate::Picture::bytes(row.to_string(), [b"P5 2 1 255\n".as_slice(), &[row; 2]].concat());
    let set = crate::PictureSet {
        name: "four".into(),
        frame: transplant_core::Frame {
            height: 1,
            width: 2,
            channels: 1,
            fit: transplant_core::Fit::Crop,
            filter: transplant_core::Filter::Bilinear,
            background: [0; 3],
        },
        pictures: [7, 9, 7, 3].map(picture).into(),
        labels: vec![Some(0), Some(1), None, Some(1)],
        classes: vec!["a".into(), "b".into()],
        roles: transplant_core::Roles { pool: vec![0, 1, 2, 3], ..Default::default() },
        groups: None,
        group_names: Vec::new(),
        domain: None,
        licence: None,
        damaged: None,
        memory_mb: 1,
    };
    let split = Train::new(Arc::new(crate::Pictures::open(set)?), vec![0, 1, 2, 3]);
    let feed = |identity: Option<&str>| {
        let identity = identity.map(str::to_owned);
        Loader::train(&split, LoaderOptions { identity, ..LoaderOptions::new(2) })
    };
    assert!(feed(None)?.known(&[0])?.is_none());
    let known = feed(Some("a"))?.known(&[2, 1, 0])?.unwrap();
    let (ours, read) = (&known.targets["class"], feed(None)?.plain(&[2, 1, 0])?);
    let read = read.target("class")?;
    assert_eq!(ours.values.to_vec1::<u32>()?, read.values.to_vec1::<u32>()?);
    let present = |t: &Target| t.present.as_ref().unwrap().to_vec1::<f32>();
    assert_eq!((present(ours)?, present(read)?), (vec![0., 1., 1.], vec![0., 1., 1.]));
    let prints = known.fingerprints;
    assert!(prints[0] == prints[2] && prints[0] != prints[1]);
    assert_ne!(feed(Some("b"))?.known(&[2])?.unwrap().fingerprints[0], prints[0]);
    Ok(())
}

#[test]
fn unlabelled_rows_have_no_targets() -> Result<()> {
    let feed = Loader::unlabelled(&parts(2).unlabelled, LoaderOptions::new(32))?;
    assert!(feed.targets().is_empty());
    for batch in [feed.batch(0, 0)?, feed.plain(&feed.rows()[..3])?] {
        assert!(batch.targets.is_empty() && batch.target("class").is_err());
    }
    Ok(())
}

#[test]
fn nothing_to_load_is_an_error() {
    let parts = parts(2);
    assert!(Loader::test(&parts.test, LoaderOptions::new(0)).is_err());
    let empty = Test::new(parts.test.dataset().clone(), Vec::new());
    assert!(Loader::test(&empty, LoaderOptions::new(4)).err().unwrap().to_string().contains("at least one row"));
}

/// [`Optdigits`] with a second class target: odd or even, under a name that comes first.
struct Parity(crate::Images, Schema);

impl Dataset for Parity {
    fn inputs(&self) -> &Schema {
        self.0.inputs()
    }

    fn targets(&self) -> &Schema {
        &self.1
    }

    fn roles(&self) -> &transplant_core::Roles {
        self.0.roles()
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        let digits = self.0.classes_of("class")?;
        Ok(if target == "class" { digits } else { digits.into_iter().map(|d| d.map(|d| d % 2)).collect() })
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.0.batch(rows)
    }

    fn content_hash(&self) -> String {
        self.0.content_hash()
    }
}

#[test]
fn classes_of_the_target_named_are_balanced() -> Result<()> {
    let digits = Optdigits::load()?;
    let odd = Field::Class { names: vec!["even".to_owned(), "odd".to_owned()] };
    let targets = Schema::from([("a".to_owned(), odd), ("class".to_owned(), digits.targets()["class"].clone())]);
    let labels = digits.classes_of("class")?;
    // Forty zeros, twenty twos, twenty ones: as many even rows as there are, or as many of each digit.
    let of = |digit: u32, n: usize| {
        let all = digits.roles().pool.iter().copied().filter(|r| labels[*r as usize] == Some(digit));
        all.take(n).collect::<Vec<_>>()
    };
    let rows = [of(0, 40), of(2, 20), of(1, 20)].concat();
    let train = Train::new(Arc::new(Parity(digits.clone(), targets)), rows);
    let feed = |by: Option<&str>| {
        let classes_of = by.map(str::to_owned);
        Loader::train(&train, LoaderOptions { sampler: balanced(1.), classes_of, ..LoaderOptions::new(80) })
    };
    let counts = |by: &str| -> Result<Vec<usize>> {
        let drawn = feed(Some(by))?.order(0, 0)?;
        Ok([0, 2, 1].map(|digit| drawn.iter().filter(|r| labels[**r as usize] == Some(digit)).count()).to_vec())
    };
    let mut by_digit = counts("class")?;
    by_digit.sort_unstable();
    assert_eq!(by_digit, [26, 27, 27]);
    let by_parity = counts("a")?;
    assert_eq!((by_parity[0] + by_parity[1], by_parity[2]), (40, 40));
    let said = |by| feed(by).err().unwrap().to_string();
    assert!(said(None).starts_with("classes_of: several targets are classes"), "{}", said(None));
    assert!(said(Some("b")).starts_with("classes_of: `b` is no target that is a class (there are: a, class)"));
    Ok(())
}

fn balanced(balance: f64) -> Option<Arc<dyn Sampler>> {
    Some(Arc::new(ClassBalanced(ClassBalancedOptions { balance })))
}
