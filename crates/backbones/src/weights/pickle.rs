//! Reads Python's pickles without running them: only what PyTorch writes for tensors and plain containers is understood, and a
//! pickle that names any other function or class is refused.
//!
//! Values live in one list and refer to each other by number, so that a hostile file can neither loop nor nest deep enough to
//! overflow the stack.

use std::collections::HashMap;

/// The number of a value.
pub(super) type Id = usize;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `None`, and what nobody looks at.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// Text.
    Text(String),
    /// A tuple or a list.
    List(Vec<Id>),
    /// A dictionary in the order in which it was filled.
    Dict(Vec<(Id, Id)>),
    /// A function or class that may be named.
    Known(Known),
    /// What stands outside of the pickle: the storage of a tensor.
    Outside(Id),
    /// A tensor: its storage, and in elements where it begins, its sizes and its strides.
    Tensor { storage: Id, offset: Id, sizes: Id, strides: Id },
}

/// Functions and classes that may be named.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// `collections.OrderedDict`.
    Dict,
    /// `torch._utils._rebuild_tensor_v2`.
    Tensor,
    /// `torch._utils._rebuild_parameter`.
    Parameter,
    /// `torch.FloatStorage` and its like.
    Storage(String),
}

impl Known {
    fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::Dict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::Tensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::Parameter),
            ("torch" | "torch.storage", _) if name.ends_with("Storage") => Some(Self::Storage(name.to_owned())),
            _ => None,
        }
    }
}

/// Values, and which of them is the whole.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle and says how many bytes it took.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), String> {
        let mut machine =
            Machine { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        let root = machine.run().map_err(|e| format!("{e}, at byte {} of its pickle", machine.at))?;
        Ok((Self { values: machine.values, root }, machine.at))
    }

    /// The whole.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The numbers of all values.
    pub(super) fn ids(&self) -> std::ops::Range<Id> {
        0..self.values.len()
    }

    /// A value.
    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::None)
    }

    /// The elements of a tuple or list.
    pub(super) fn list(&self, id: Id) -> Option<&[Id]> {
        if let Value::List(items) = self.get(id) { Some(items) } else { None }
    }

    /// Text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        if let Value::Text(text) = self.get(id) { Some(text) } else { None }
    }

    /// A size, a position or a count.
    pub(super) fn count(&self, id: Id) -> Option<usize> {
        if let Value::Int(n) = self.get(id) { usize::try_from(*n).ok() } else { None }
    }

    /// All of a tuple of counts.
    pub(super) fn counts(&self, id: Id) -> Option<Vec<usize>> {
        self.list(id)?.iter().map(|i| self.count(*i)).collect()
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    fn run(&mut self) -> Step<Id> {
        loop {
            match self.take(1)?[0] {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let top = *self.stack.last().ok_or("nothing to repeat")?;
                    self.stack.push(top);
                }
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                b'J' => {
                    let n = i128::from(self.number(4)? as u32 as i32);
                    self.push(Value::Int(n));
                }
                b'K' => self.int(1)?,
                b'M' => self.int(2)?,
                0x8a => {
                    let len = self.number(1)?;
                    self.long(len)?;
                }
                b'G' => {
                    // A number that no tensor needs.
                    self.take(8)?;
                    self.push(Value::None);
                }
                b'X' | b'T' => self.string(4)?,
                0x8c | b'U' => self.string(1)?,
                0x8d => self.string(8)?,
                b'C' => self.skipped(1)?,
                b'B' => self.skipped(4)?,
                b'}' => self.push(Value::Dict(Vec::new())),
                b']' | b')' => self.push(Value::List(Vec::new())),
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' | b'l' => {
                    let items = self.since_mark()?;
                    self.push(Value::List(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.insert(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.insert(&items)?;
                }
                b'q' => self.remember(1)?,
                b'r' => self.remember(4)?,
                0x94 => {
                    let (key, top) = (self.memo.len() as u64, *self.stack.last().ok_or("nothing to remember")?);
                    self.memo.insert(key, top);
                }
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.known(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop_text()?, self.pop_text()?);
                    self.known(&module, &name)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Outside(id));
                }
                b'R' | 0x81 => self.call()?,
                // State of an object, such as the versions of modules: nothing that a tensor needs.
                b'b' => drop(self.pop()?),
                other => {
                    return Err(format!("the instruction {other:#04x} is not one that PyTorch writes for tensors"));
                }
            }
        }
    }

    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|e| *e <= self.bytes.len()).ok_or("it ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> Step<u64> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or("it ends within a name")?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("it takes a value where there is none".to_owned());
        }
        self.stack.pop().ok_or_else(|| "it takes a value where there is none".to_owned())
    }

    fn pop_text(&mut self) -> Step<String> {
        let id = self.pop()?;
        if let Value::Text(text) = &self.values[id] { Ok(text.clone()) } else { Err("a name is not text".to_owned()) }
    }

    fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().filter(|m| *m <= self.stack.len()).ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn int(&mut self, len: usize) -> Step<()> {
        let n = self.number(len)?;
        self.push(Value::Int(n.into()));
        Ok(())
    }

    fn long(&mut self, len: u64) -> Step<()> {
        let bytes = self.take(usize::try_from(len).map_err(|e| e.to_string())?)?;
        if bytes.len() > 16 {
            return Err(format!("an integer of {len} bytes"));
        }
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let start = if negative { -1 } else { 0 };
        self.push(Value::Int(bytes.iter().rev().fold(start, |n: i128, b| n << 8 | i128::from(*b))));
        Ok(())
    }

    fn sized(&mut self, len: usize) -> Step<&'a [u8]> {
        let len = self.number(len)?;
        self.take(usize::try_from(len).map_err(|e| e.to_string())?)
    }

    fn string(&mut self, len: usize) -> Step<()> {
        let text = String::from_utf8_lossy(self.sized(len)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn skipped(&mut self, len: usize) -> Step<()> {
        self.sized(len)?;
        self.push(Value::None);
        Ok(())
    }

    fn tuple(&mut self, len: usize) -> Step<()> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
        items.reverse();
        self.push(Value::List(items));
        Ok(())
    }

    fn top(&mut self) -> Step<&mut Value> {
        let id = *self.stack.last().ok_or("it fills a container where there is none")?;
        Ok(&mut self.values[id])
    }

    fn append(&mut self, items: Vec<Id>) -> Step<()> {
        if let Value::List(list) = self.top()? {
            list.extend(items);
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Step<()> {
        if let Value::Dict(dict) = self.top()? {
            dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn remember(&mut self, len: usize) -> Step<()> {
        let (key, top) = (self.number(len)?, *self.stack.last().ok_or("nothing to remember")?);
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, len: usize) -> Step<()> {
        let key = self.number(len)?;
        self.stack.push(*self.memo.get(&key).ok_or("it recalls what it never remembered")?);
        Ok(())
    }

    fn known(&mut self, module: &str, name: &str) -> Step<()> {
        let known = Known::named(module, name)
            .ok_or_else(|| format!("it calls `{module}.{name}`, which could be any code: the file is refused"))?;
        self.push(Value::Known(known));
        Ok(())
    }

    /// Calls a function or class that may be named.
    fn call(&mut self) -> Step<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = if let Value::List(a) = &self.values[arguments] { a.clone() } else { Vec::new() };
        let Value::Known(function) = self.values[function].clone() else {
            return Err("it calls what is no function".to_owned());
        };
        match (function, &arguments[..]) {
            (Known::Dict, _) => self.push(Value::Dict(Vec::new())),
            (Known::Tensor, &[storage, offset, sizes, strides, ..]) => {
                self.push(Value::Tensor { storage, offset, sizes, strides });
            }
            (Known::Parameter, &[tensor, ..]) => self.stack.push(tensor),
            _ => return Err("a tensor has too few arguments".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, String> {
        Pickle::read(bytes).map(|(p, _)| p)
    }

    #[test]
    fn containers_are_read_and_shared_values_are_one() {
        // {"a": (1, -2), "b": the same tuple}
        let p = read(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01J\xfe\xff\xff\xff\x86q\x01X\x01\x00\x00\x00bh\x01u.rest")
            .unwrap();
        let Value::Dict(items) = p.get(p.root()) else { panic!("{p:?}") };
        assert_eq!(items.iter().map(|(k, _)| p.text(*k).unwrap()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(items[0].1, items[1].1);
        let pair = p.list(items[0].1).unwrap();
        assert_eq!((p.get(pair[0]), p.get(pair[1])), (&Value::Int(1), &Value::Int(-2)));
        assert_eq!((p.count(pair[0]), p.count(pair[1])), (Some(1), None));
    }

    #[test]
    fn code_is_refused_by_name() {
        let old = read(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.").unwrap_err();
        let new = read(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x01x\x85R.").unwrap_err();
        assert!(old.contains("`posix.system`") && old.contains("refused"), "{old}");
        assert!(new.contains("`builtins.eval`") && new.contains("at byte"), "{new}");
    }

    #[test]
    fn no_bytes_at_all_make_it_panic() {
        let whole =
            b"\x80\x02}q\x00(X\x01\x00\x00\x00a]K\x01aM\x00\x01\x86ccollections\nOrderedDict\n)R\x8a\x02\xff\x7fu.";
        read(whole).unwrap();
        for end in 0..whole.len() {
            read(&whole[..end]).unwrap_err();
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut bytes = whole.to_vec();
                bytes[at] = byte;
                drop(read(&bytes));
            }
        }
        // A million containers, each within the next.
        let deep = [&b"]".repeat(1_000_000)[..], &b"a".repeat(999_999), b"."].concat();
        read(&deep).unwrap();
    }
}
