//! [`Prints`]: fingerprints of rows, by which those that are there twice are found: the same to the last bit, texts of
//! which the network is given the same words, or pictures that look alike.
//!
//! What looks alike is told by the difference hash (Krawetz, *Kind of Like That*, 2013): a picture is averaged down to 9 x 8 grey
//! values, and each of its 64 bits says whether a value is darker than its right neighbour.

use std::collections::{BTreeMap, HashMap, HashSet};

use candle_core::{DType, Tensor};
use sha2::{Digest, Sha256};
use transplant_core::{Acts, Dataset, Error, Field, Fingerprint, HIDDEN, Result, TEXT, rows_at_a_time, words};
use transplant_kernels::parallel;

use crate::{Chain, averaged};

/// Columns and rows of the picture that is hashed.
const GRID: [usize; 2] = [9, 8];
/// So many of the 64 bits may differ in pictures that look alike.
const ALIKE: u32 = 2;
/// A picture with fewer bits set, or unset, has hardly anything on it by which it could be told from another.
const FEWEST_BITS: u32 = 6;

/// Fingerprints of some rows of a data set.
#[derive(Debug, Clone, Default)]
pub struct Prints {
    exact: HashMap<u64, Print>,
    files: HashMap<u64, Print>,
    records: HashMap<u64, Print>,
    /// What a network is given of each text after the transforms that always act; `None`: no word.
    words: HashMap<u64, Option<Print>>,
    looks: HashMap<u64, u64>,
}

/// The first half of a SHA-256.
type Print = [u8; 16];

/// Two rows with the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twins {
    /// A row.
    pub row: u64,
    /// The first row that is like it.
    pub like: u64,
}

/// A row and all rows elsewhere that have its inputs, bit by bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equal {
    /// A row.
    pub row: u64,
    /// The rows that are equal, in order.
    pub like: Vec<u64>,
}

/// Rows that are known again elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownAgain {
    /// They were read from one record or one file.
    pub records: Vec<Twins>,
    /// Of the others, those whose inputs are the same.
    pub inputs: Vec<Equal>,
    /// Of the others, texts of which the network is given the same words or tokens.
    pub words: Vec<Equal>,
}

impl Prints {
    /// Reads these rows, texts also as `chain` gives them to a network.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn of(dataset: &dyn Dataset, rows: &[u64], chain: &Chain) -> Result<Self> {
        let mut out = Self::default();
        out.read(dataset, rows, matches!(dataset.inputs().get(HIDDEN), Some(Field::Image { .. })))?;
        out.read_words(dataset, rows, chain)?;
        Ok(out)
    }

    /// Adds those of these rows whose fingerprints are not known yet, by which [`same`](Self::same) and
    /// [`known_again`](Self::known_again) find them; what pictures look like is left out. `chain` is the same each
    /// time.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn add(&mut self, dataset: &dyn Dataset, rows: &[u64], chain: &Chain) -> Result<()> {
        self.read(dataset, rows, false)?;
        self.read_words(dataset, rows, chain)
    }

    /// Reads texts as a network is given them: by their tokens, or, where it reads them itself, by their words.
    fn read_words(&mut self, dataset: &dyn Dataset, rows: &[u64], chain: &Chain) -> Result<()> {
        if !dataset.inputs().contains_key(TEXT) {
            return Ok(());
        }
        let new: Vec<u64> = rows.iter().copied().filter(|row| !self.words.contains_key(row)).collect();
        for rows in new.chunks(rows_at_a_time(dataset.inputs())) {
            let given = chain.plain(dataset.batch(rows)?.inputs, rows)?;
            let prints: Vec<Option<Print>> = match given.find(TEXT) {
                Some(texts) => texts.to_vec2::<u8>()?.iter().map(|text| print_of_words(text)).collect(),
                None => {
                    let has_words = chain.has_words(&given)?;
                    let has_words = |i: usize| has_words.get(i).copied().unwrap_or(true);
                    let prints = hashes(&given, rows.len())?;
                    prints.iter().enumerate().map(|(i, print)| has_words(i).then(|| cut(print))).collect()
                }
            };
            self.words.extend(rows.iter().copied().zip(prints));
        }
        Ok(())
    }

    fn read(&mut self, dataset: &dyn Dataset, rows: &[u64], with_looks: bool) -> Result<()> {
        let known = |row: &u64| Some((*row, cut(&dataset.fingerprint(*row)?)));
        self.exact.extend(rows.iter().filter_map(known));
        let file = |row: &u64| Some((*row, cut(&dataset.file_hash(*row)?)));
        self.files.extend(rows.iter().filter_map(file));
        let record = |row: &u64| Some((*row, cut(&dataset.record_hash(*row)?)));
        self.records.extend(rows.iter().filter_map(record));
        let new = |row: &u64| if with_looks { !self.looks.contains_key(row) } else { !self.exact.contains_key(row) };
        let new: Vec<u64> = rows.iter().copied().filter(new).collect();
        for rows in new.chunks(rows_at_a_time(dataset.inputs())) {
            let batch = dataset.batch(rows)?;
            if rows.iter().any(|row| !self.exact.contains_key(row)) {
                let found = match &batch.select {
                    None => hashes(&batch.inputs, rows.len())?,
                    Some(places) => places_in(&batch.inputs, places)?,
                };
                for (row, hash) in rows.iter().zip(found) {
                    self.exact.entry(*row).or_insert(cut(&hash));
                }
            }
            if with_looks {
                let looks = rows.iter().copied().zip(looks(batch.inputs.get(HIDDEN)?)?);
                self.looks.extend(looks.filter(|(_, l)| (FEWEST_BITS..=64 - FEWEST_BITS).contains(&l.count_ones())));
            }
        }
        Ok(())
    }

    /// The rows of `of` whose inputs are, bit by bit, those of another row, of `with`.
    pub fn same(&self, of: &[u64], with: &[u64]) -> Vec<Twins> {
        twins((&self.exact, of), (&self.exact, with)).into_iter().filter(|t| t.row != t.like).collect()
    }

    /// The rows of `of` that are rows of `with` in another data set, or in this one, by record, file, inputs or words.
    pub fn known_again<'a>(&'a self, of: &[u64], other: &'a Self, with: &[u64]) -> KnownAgain {
        let files = twins((&self.files, of), (&other.files, with));
        let records = twins((&self.records, of), (&other.records, with));
        let records: BTreeMap<u64, Twins> = files.into_iter().chain(records).map(|t| (t.row, t)).collect();
        let left: Vec<u64> = of.iter().copied().filter(|row| !records.contains_key(row)).collect();
        let inputs = equal((&left, |row: &u64| self.exact.get(row)), (with, |row: &u64| other.exact.get(row)));
        let known: HashSet<u64> = inputs.iter().map(|equal| equal.row).collect();
        let left: Vec<u64> = left.into_iter().filter(|row| !known.contains(row)).collect();
        let print = |prints: &'a Self, row: &u64| prints.words.get(row)?.as_ref();
        let words = equal((&left, |row: &u64| print(self, row)), (with, |row: &u64| print(other, row)));
        KnownAgain { records: records.into_values().collect(), inputs, words }
    }

    /// The rows of `of` that are other texts than a row of `with`, and of which the network is given the same words.
    pub fn same_words(&self, of: &[u64], with: &[u64]) -> Vec<Twins> {
        let print = |row: &u64| self.words.get(row)?.as_ref();
        let twin = |Equal { row, like }: Equal| {
            let other = like.into_iter().find(|like| self.exact.get(like) != self.exact.get(&row))?;
            Some(Twins { row, like: other })
        };
        equal((of, print), (with, print)).into_iter().filter_map(twin).collect()
    }

    /// The rows of `of` that look like a row of `with` without being the same; every pair is compared.
    pub fn alike(&self, of: &[u64], with: &[u64]) -> Vec<Twins> {
        let known: Vec<(u64, u64)> = with.iter().filter_map(|r| Some((*r, *self.looks.get(r)?))).collect();
        let twin = |row: &u64| {
            let look = self.looks.get(row)?;
            let other = |(r, l): &&(u64, u64)| {
                r != row && (l ^ look).count_ones() <= ALIKE && self.exact.get(r) != self.exact.get(row)
            };
            Some(Twins { row: *row, like: known.iter().find(other)?.0 })
        };
        parallel::map(of.len(), &|i| twin(&of[i])).into_iter().flatten().collect()
    }
}

/// The rows of one list whose print is that of rows of another.
fn equal<'p>(
    (of, print): (&[u64], impl Fn(&u64) -> Option<&'p Print>),
    (with, other): (&[u64], impl Fn(&u64) -> Option<&'p Print>),
) -> Vec<Equal> {
    let mut rows = HashMap::<&Print, Vec<u64>>::new();
    for row in with {
        if let Some(print) = other(row) {
            rows.entry(print).or_default().push(*row);
        }
    }
    of.iter().filter_map(|row| Some(Equal { row: *row, like: rows.get(print(row)?)?.clone() })).collect()
}

/// A print of the words of a text: runs of letters and digits in lower case; `None`: it has none.
fn print_of_words(text: &[u8]) -> Option<Print> {
    let text = String::from_utf8_lossy(text).to_lowercase();
    let words = words(&text, char::is_alphanumeric);
    (!words.is_empty()).then(|| cut(&Sha256::digest(words.join(" ")).into()))
}

/// What tells the content of each row from others: a hash of what it was read from, or of its inputs, which are then
/// read.
pub(crate) fn contents(dataset: &dyn Dataset, rows: &[u64]) -> Result<Vec<Fingerprint>> {
    let known = |row: &u64| dataset.file_hash(*row).or_else(|| dataset.fingerprint(*row));
    if let Some(known) = rows.iter().map(known).collect() {
        return Ok(known);
    }
    let mut out = Vec::with_capacity(rows.len());
    for rows in rows.chunks(rows_at_a_time(dataset.inputs())) {
        out.extend(hashes(&dataset.batch(rows)?.inputs, rows.len())?);
    }
    Ok(out)
}

/// The rows of `of` that have the print of a row of `with`, each beside the first of them.
fn twins((prints, of): (&HashMap<u64, Print>, &[u64]), (others, with): (&HashMap<u64, Print>, &[u64])) -> Vec<Twins> {
    let mut first = HashMap::new();
    for row in with {
        if let Some(print) = others.get(row) {
            first.entry(print).or_insert(*row);
        }
    }
    let twin = |row: &u64| Some(Twins { row: *row, like: *first.get(prints.get(row)?)? });
    of.iter().filter_map(twin).collect()
}

fn cut(print: &Fingerprint) -> Print {
    let mut out = [0; 16];
    out.copy_from_slice(&print[..16]);
    out
}

/// SHA-256 of each row of the inputs. Texts are compared without what fills them up.
fn hashes(inputs: &Acts, rows: usize) -> Result<Vec<Fingerprint>> {
    let mut all = vec![Sha256::new(); rows];
    for (name, t) in inputs.iter() {
        let shape = format!("{name} {:?} ", t.dtype());
        let flat = t.flatten_from(1)?;
        let bytes: Vec<Vec<u8>> = match t.dtype() {
            DType::U8 => flat
                .to_vec2::<u8>()?
                .into_iter()
                .map(|mut r| {
                    r.truncate(r.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1));
                    r
                })
                .collect(),
            _ => {
                let values = flat.to_dtype(DType::F32)?.to_vec2::<f32>()?;
                parallel::map(values.len(), &|i| values[i].iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        };
        if bytes.len() != rows {
            return Err(Error::contract(format!("input `{name}` has {} rows, and {rows} were asked for", bytes.len())));
        }
        parallel::chunks_mut(&mut all, 1, &|i, hash| {
            hash[0].update(&shape);
            hash[0].update(&bytes[i]);
        });
    }
    Ok(all.into_iter().map(|hash| hash.finalize().into()).collect())
}

/// SHA-256 of all inputs of a batch together with each place in them that is a row, such as a node of a graph: what
/// such a row is follows from all of it, so two places of one graph are never the same row.
fn places_in(inputs: &Acts, places: &Tensor) -> Result<Vec<Fingerprint>> {
    let mut whole = Sha256::new();
    for (name, t) in inputs.iter() {
        whole.update(format!("{name} {:?} {:?} ", t.dtype(), t.dims()));
        for value in t.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()? {
            whole.update(value.to_le_bytes());
        }
    }
    let hash = |place: u32| whole.clone().chain_update(place.to_le_bytes()).finalize().into();
    Ok(places.to_dtype(DType::U32)?.to_vec1()?.into_iter().map(hash).collect())
}

/// The difference hash of each picture of `f32 [rows, channels, height, width]`.
fn looks(images: &Tensor) -> Result<Vec<u64>> {
    let [across, down] = GRID;
    let grey = averaged(&images.mean_keepdim(1)?, [down, across])?.flatten_from(1)?.to_vec2::<f32>()?;
    let look = |cells: &Vec<f32>| {
        let bits = cells.chunks(across).flat_map(|row| row.windows(2)).map(|pair| u64::from(pair[0] < pair[1]));
        bits.enumerate().map(|(i, bit)| bit << i).sum()
    };
    Ok(grey.iter().map(look).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Images, Layout, Picture, PictureSet, Pictures, TextTable};
    use transplant_core::{Filter, Fit, Frame, Roles};

    /// Rows 0 and 2 are the same, row 3 is a little brighter, row 1 is another picture, rows 4 and 5 are blank.
    fn toy() -> Images {
        let picture = |seed: usize| (0..18 * 16).map(move |i| ((i * seed * 7919) % 200) as u8);
        let all = [3, 5, 3].into_iter().flat_map(picture).chain(picture(3).map(|p| p + 9));
        let pixels: Vec<u8> = all.chain(vec![7; 18 * 16]).chain(vec![8; 18 * 16]).collect();
        let layout = Layout { name: "toy".into(), shape: [1, 16, 18], highest: 255, classes: vec!["a".into()] };
        Images::new(layout, vec![Some(0); 6], pixels, Roles { pool: (0..6).collect(), ..Roles::default() }).unwrap()
    }

    #[test]
    fn the_same_and_the_alike_are_told_apart() -> Result<()> {
        let prints = Prints::of(&toy(), &[0, 1, 2, 3, 4, 5], &Chain::default())?;
        assert_eq!(prints.same(&[2, 3], &[0, 1]), [Twins { row: 2, like: 0 }]);
        assert_eq!(prints.alike(&[2, 3], &[0, 1]), [Twins { row: 3, like: 0 }]);
        assert!(prints.alike(&[4], &[5]).is_empty(), "blank pictures look like nothing");
        assert!(prints.same(&[0], &[0]).is_empty(), "no row is its own twin");
        Ok(())
    }

    #[test]
    fn rows_are_known_again_in_other_data_sets() -> Result<()> {
        // The second has the first's rows in another order, and one of them in another size.
        let grey = |value: u8, wide: bool| {
            let pixels = if wide { vec![value; 2] } else { vec![value] };
            [format!("P5 {} 1 255\n", pixels.len()).as_bytes(), &pixels].concat()
        };
        let pictures = |files: [Vec<u8>; 3], width| {
            let background = [0; 3];
            let frame = Frame { height: 1, width, channels: 1, fit: Fit::Crop, filter: Filter::Bilinear, background };
            Pictures::open(PictureSet {
                name: "greys".into(),
                frame,
                pictures: files.into_iter().map(|f| Picture::bytes("grey", f)).collect(),
                labels: vec![Some(0); 3],
                classes: vec!["grey".into()],
                roles: Roles { pool: vec![0, 1, 2], ..Roles::default() },
                groups: None,
                group_names: Vec::new(),
                domain: None,
                licence: None,
                damaged: None,
                memory_mb: 1,
            })
        };
        let small = pictures([grey(1, true), grey(2, true), grey(3, true)], 1)?;
        let wide = pictures([grey(9, true), grey(1, true), grey(3, false)], 2)?;
        let prints = |pictures| Prints::of(pictures, &[0, 1, 2], &Chain::default());
        let (of, with) = (prints(&small)?, prints(&wide)?);
        let again = of.known_again(&[0, 1, 2], &with, &[0, 1, 2]);
        assert_eq!((again.records, again.inputs), (vec![Twins { row: 0, like: 1 }], Vec::new()));
        let asked = of.known_again(&[0, 1, 2], &with, &[0, 2]);
        assert_eq!(asked, KnownAgain::default(), "only rows that are asked for");
        let again = pictures([grey(7, false), grey(7, false), grey(2, false)], 1)?;
        let with = prints(&again)?;
        let again = of.known_again(&[0, 1, 2], &with, &[0, 1, 2]);
        assert_eq!(again.inputs, [Equal { row: 1, like: vec![2] }], "other files, the same pixels");
        Ok(())
    }

    #[test]
    fn nodes_are_known_by_graph_and_place() -> Result<()> {
        let graph = |last: f32| Tensor::new(&[[1f32, 0.], [1., 0.], [0., last]], &candle_core::Device::Cpu);
        let places = Tensor::new(&[1u32, 0], &candle_core::Device::Cpu)?;
        let of = |last: f32| places_in(&Acts::hidden(graph(last)?), &places);
        assert_eq!(of(1.)?.len(), 2);
        assert_ne!(of(1.)?[0], of(1.)?[1], "equal features, two nodes");
        assert_eq!(of(1.)?, of(1.)?);
        assert_ne!(of(1.)?[0], of(2.)?[0], "a neighbour that differs");
        Ok(())
    }

    #[test]
    fn texts_are_known_by_their_words() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let rows = "Good, product!|good product|GOOD  PRODUCT.|good products|\u{1f600}|\u{1f601}|good product"
            .replace('|', "\",a\n\"");
        std::fs::write(folder.path().join("t.csv"), format!("text,y\n\"{rows}\",a\n")).unwrap();
        let plugins = transplant_core::Plugins::new();
        let seeds = transplant_core::Seeds::new(0);
        let cx = transplant_core::BuildCx { plugins: &plugins, base: folder.path(), seeds };
        let table = TextTable::open(&crate::TextTableOptions::new("t.csv", &["text"], "y"), &cx)?;
        let hashed = crate::transforms::HashWords::new(crate::transforms::hash_words::Options::default())?;
        for chain in [Chain::default(), Chain::new(vec![std::sync::Arc::new(hashed)], Vec::new())?] {
            let prints = Prints::of(&table, &[0, 1, 2, 3, 4, 5, 6], &chain)?;
            let twins = |pairs: &[(u64, u64)]| {
                pairs.iter().map(|(row, like)| Twins { row: *row, like: *like }).collect::<Vec<_>>()
            };
            assert_eq!(prints.same_words(&[0, 2, 3, 4, 6], &[1, 5]), twins(&[(0, 1), (2, 1)]));
            let again = prints.known_again(&[2, 4, 6], &prints, &[0, 1, 5]);
            assert_eq!(again.inputs, [Equal { row: 6, like: vec![1] }]);
            assert_eq!(again.words, [Equal { row: 2, like: vec![0, 1] }]);
        }
        Ok(())
    }

    #[test]
    fn texts_are_compared_without_their_filling() -> Result<()> {
        let text = |rows: &[&[u8; 4]]| {
            Tensor::new(rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), &candle_core::Device::Cpu)
        };
        let short = Tensor::new(vec![vec![b'a', b'b']], &candle_core::Device::Cpu)?;
        let long = text(&[b"ab\0\0", b"abc\0"])?;
        let of = |t: Tensor, n| hashes(&Acts::new().with("text", t), n);
        let (one, two) = (of(short, 1)?, of(long, 2)?);
        assert!(one[0] == two[0] && two[0] != two[1]);
        Ok(())
    }
}
