//! Weights as `torch.save(model.state_dict(), file)` writes them: an archive with a stored entry for each tensor, and a pickle
//! that says which tensor is where.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes tensors of type f32 and i64, in the order of their names, each in a storage of its own.
pub fn save_torch(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut entry = |name: &str, content: &[u8]| {
        archive.start_file(format!("archive/{name}"), stored).unwrap();
        archive.write_all(content).unwrap();
    };
    entry("data.pkl", &state_dict(tensors));
    entry("byteorder", b"little");
    for (key, t) in tensors.values().enumerate() {
        entry(&format!("data/{key}"), &numbers(t));
    }
    entry("version", b"3\n");
    archive.finish().unwrap();
}

/// The pickle of a state dictionary, byte for byte as Python writes it.
fn state_dict(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let mut p = Pickle::default();
    p.put(b"\x80\x02");
    p.ordered_dict();
    p.put(b"(");
    for (key, (name, t)) in tensors.iter().enumerate() {
        p.text(name);
        p.tensor(&key.to_string(), t);
    }
    // The versions of the modules are an attribute of the dictionary.
    p.put(b"u}");
    p.number();
    p.text("_metadata");
    p.ordered_dict();
    p.put(b"(");
    for (module, version) in versions(tensors) {
        p.text(module);
        p.put(b"}");
        p.number();
        p.text("version");
        p.int(version);
        p.put(b"s");
    }
    p.put(b"usb.");
    p.out
}

/// The modules that hold tensors, those around them, and the version of their state: 2 for batch normalisation, otherwise 1.
fn versions(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<&str, usize> {
    let mut out = BTreeMap::from([("", 1)]);
    for name in tensors.keys() {
        for (dot, _) in name.match_indices('.') {
            let module = &name[..dot];
            let normalises = tensors.contains_key(&format!("{module}.running_mean"));
            out.insert(module, if normalises { 2 } else { 1 });
        }
    }
    out
}

/// What torch calls the storage of a tensor's numbers.
fn storage(t: &Tensor) -> &'static str {
    match t.dtype() {
        DType::F32 => "FloatStorage",
        DType::I64 => "LongStorage",
        other => panic!("a tensor of type {other:?}"),
    }
}

/// The numbers of a tensor in order, little-endian.
fn numbers(t: &Tensor) -> Vec<u8> {
    let flat = t.flatten_all().unwrap();
    if flat.dtype() == DType::I64 {
        return flat.to_vec1::<i64>().unwrap().into_iter().flat_map(i64::to_le_bytes).collect();
    }
    flat.to_vec1::<f32>().unwrap().into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A pickle of protocol 2. Most values have a number, by which a text or the name of a class is recalled when it comes again.
#[derive(Default)]
struct Pickle {
    out: Vec<u8>,
    /// What pushed texts and names, and their numbers.
    seen: BTreeMap<Vec<u8>, usize>,
    /// How many values have a number.
    numbered: usize,
}

impl Pickle {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Gives the topmost value the next number.
    fn number(&mut self) {
        self.by_number(b'q', b'r', self.numbered);
        self.numbered += 1;
    }

    /// One of two instructions: that for numbers of one byte, or that for those of four.
    fn by_number(&mut self, short: u8, long: u8, number: usize) {
        match u8::try_from(number) {
            Ok(n) => self.put(&[short, n]),
            Err(_) => {
                self.put(&[long]);
                self.put(&u32::try_from(number).unwrap().to_le_bytes());
            }
        }
    }

    /// Pushes a text or a name by these bytes the first time, by its number from then on.
    fn once(&mut self, push: Vec<u8>) {
        if let Some(number) = self.seen.get(&push).copied() {
            return self.by_number(b'h', b'j', number);
        }
        self.put(&push);
        self.seen.insert(push, self.numbered);
        self.number();
    }

    fn text(&mut self, text: &str) {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.once([&b"X"[..], &length, text.as_bytes()].concat());
    }

    /// The name of a class or function.
    fn name(&mut self, module: &str, name: &str) {
        self.once(format!("c{module}\n{name}\n").into_bytes());
    }

    fn int(&mut self, n: usize) {
        if let Ok(n) = u8::try_from(n) {
            self.put(&[b'K', n]);
        } else if let Ok(n) = u16::try_from(n) {
            self.put(b"M");
            self.put(&n.to_le_bytes());
        } else {
            self.put(b"J");
            self.put(&i32::try_from(n).unwrap().to_le_bytes());
        }
    }

    fn tuple(&mut self, items: &[usize]) {
        if items.is_empty() {
            return self.put(b")");
        }
        // Tuples of one, two and three items have instructions of their own.
        let is_long = items.len() > 3;
        if is_long {
            self.put(b"(");
        }
        items.iter().for_each(|n| self.int(*n));
        self.put(&[if is_long { b't' } else { 0x84 + items.len() as u8 }]);
        self.number();
    }

    fn ordered_dict(&mut self) {
        self.name("collections", "OrderedDict");
        self.put(b")R");
        self.number();
    }

    /// The call that makes a tensor of its storage, offset, sizes, strides, `requires_grad` and hooks, of which there are none.
    fn tensor(&mut self, key: &str, t: &Tensor) {
        let sizes = t.dims();
        let strides: Vec<usize> = (0..sizes.len()).map(|i| sizes[i + 1..].iter().product::<usize>()).collect();
        self.name("torch._utils", "_rebuild_tensor_v2");
        self.put(b"((");
        self.text("storage");
        self.name("torch", storage(t));
        self.text(key);
        self.text("cpu");
        self.int(t.elem_count());
        self.put(b"t");
        self.number();
        self.put(b"Q");
        self.int(0);
        self.tuple(sizes);
        self.tuple(&strides);
        self.put(b"\x89");
        self.ordered_dict();
        self.put(b"t");
        self.number();
        self.put(b"R");
        self.number();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use transplant_backbones::weights;

    /// `archive/data.pkl` as PyTorch 2.15.0 writes it:
    ///
    /// ```python
    /// layers = collections.OrderedDict(a=nn.Linear(300, 2, bias=False), bn=nn.BatchNorm1d(2, affine=False))
    /// state = nn.Sequential(layers).state_dict()
    /// for name in sorted(state):
    ///     state.move_to_end(name)
    /// torch.save(state, "archive.pth")
    /// ```
    const PYTORCH: &[u8] = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(\
        X\x08\x00\x00\x00a.weightq\x02ctorch._utils\n_rebuild_tensor_v2\nq\x03((\
        X\x07\x00\x00\x00storageq\x04ctorch\nFloatStorage\nq\x05X\x01\x00\x00\x000q\x06X\x03\x00\x00\x00cpuq\x07\
        MX\x02tq\x08QK\x00K\x02M,\x01\x86q\x09M,\x01K\x01\x86q\n\x89h\x00)Rq\x0btq\x0cRq\x0d\
        X\x16\x00\x00\x00bn.num_batches_trackedq\x0eh\x03((h\x04ctorch\nLongStorage\nq\x0fX\x01\x00\x00\x001q\x10\
        h\x07K\x01tq\x11QK\x00))\x89h\x00)Rq\x12tq\x13Rq\x14\
        X\x0f\x00\x00\x00bn.running_meanq\x15h\x03((h\x04h\x05X\x01\x00\x00\x002q\x16\
        h\x07K\x02tq\x17QK\x00K\x02\x85q\x18K\x01\x85q\x19\x89h\x00)Rq\x1atq\x1bRq\x1c\
        X\x0e\x00\x00\x00bn.running_varq\x1dh\x03((h\x04h\x05X\x01\x00\x00\x003q\x1e\
        h\x07K\x02tq\x1fQK\x00K\x02\x85q\x20K\x01\x85q!\x89h\x00)Rq\"tq#Rq$\
        u}q%X\x09\x00\x00\x00_metadataq&h\x00)Rq'(X\x00\x00\x00\x00q(}q)X\x07\x00\x00\x00versionq*K\x01s\
        X\x01\x00\x00\x00aq+}q,h*K\x01sX\x02\x00\x00\x00bnq-}q.h*K\x02susb.";

    fn state() -> BTreeMap<String, Tensor> {
        let cpu = &Device::Cpu;
        let weight: Vec<f32> = (0..600).map(|i| i as f32 / 7.0).collect();
        BTreeMap::from([
            ("a.weight".to_owned(), Tensor::from_vec(weight, (2, 300), cpu).unwrap()),
            ("bn.num_batches_tracked".to_owned(), Tensor::new(3i64, cpu).unwrap()),
            ("bn.running_mean".to_owned(), Tensor::new(&[0.5f32, -0.25], cpu).unwrap()),
            ("bn.running_var".to_owned(), Tensor::new(&[1f32, 2.0], cpu).unwrap()),
        ])
    }

    #[test]
    fn the_pickle_is_that_of_pytorch() {
        let ours = state_dict(&state());
        assert!(ours == PYTORCH, "{}", ours.escape_ascii());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, state) = (dir.path().join("state.pth"), state());
        save_torch(&path, &state);
        let back = weights::read(&path, None).unwrap().tensors;
        assert!(back.keys().eq(state.keys()), "{:?}", back.keys());
        for (name, t) in &state {
            assert_eq!(
                (back[name].dims(), back[name].dtype(), numbers(&back[name])),
                (t.dims(), t.dtype(), numbers(t)),
                "{name}"
            );
        }
    }
}
