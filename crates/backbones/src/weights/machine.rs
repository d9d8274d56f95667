//! The machine that a pickle is a program of.

use std::collections::HashMap;

use super::pickle::{Id, Known, Value, harmful};

/// Runs one pickle: its values, the number of the whole, and how many bytes it took.
pub(super) fn run(bytes: &[u8]) -> Result<(Vec<Value>, Id, usize), String> {
    let mut machine =
        Machine { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let root = machine.run().map_err(|e| format!("{e}, at byte {} of its pickle", machine.at))?;
    Ok((machine.values, root, machine.at))
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
                // Numbers and text of protocol 0, each a line.
                b'I' | b'L' => self.int_line()?,
                b'F' => {
                    self.line()?;
                    self.push(Value::None);
                }
                b'S' | b'V' => {
                    let text = self.line()?;
                    let quoted = |q: char| text.strip_prefix(q)?.strip_suffix(q);
                    let text = quoted('\'').or_else(|| quoted('"')).unwrap_or(&text).to_owned();
                    self.push(Value::Text(text));
                }
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
                0x8b => {
                    let len = self.number(4)?;
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
                0x8e | 0x96 => self.skipped(8)?,
                // A buffer that is kept outside of the pickle, and the same made read-only.
                0x97 => self.push(Value::None),
                0x98 => {}
                b'}' => self.push(Value::Dict(Vec::new())),
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Value::Dict(Vec::new()));
                    self.insert(&items)?;
                }
                b']' | b')' | 0x8f => self.push(Value::List(Vec::new())),
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' | b'l' | 0x91 => {
                    let items = self.since_mark()?;
                    self.push(Value::List(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
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
                b'q' => {
                    let key = self.number(1)?;
                    self.remember(key)?;
                }
                b'r' => {
                    let key = self.number(4)?;
                    self.remember(key)?;
                }
                b'p' => {
                    let key = self.key_line()?;
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' => {
                    let key = self.number(1)?;
                    self.recall(key)?;
                }
                b'j' => {
                    let key = self.number(4)?;
                    self.recall(key)?;
                }
                b'g' => {
                    let key = self.key_line()?;
                    self.recall(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                // Classes that a program has given a number of its own.
                0x82 => self.extension(1)?,
                0x83 => self.extension(2)?,
                0x84 => self.extension(4)?,
                0x93 => {
                    let (name, module) = (self.pop_text()?, self.pop_text()?);
                    self.global(&module, &name)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Value::Outside(id));
                }
                b'P' => {
                    let id = self.line()?;
                    self.push(Value::Text(id));
                    let id = self.pop()?;
                    self.push(Value::Outside(id));
                }
                b'R' | 0x81 => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    self.call(function, arguments)?;
                }
                0x92 => {
                    let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                    self.call(class, arguments)?;
                }
                b'i' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let arguments = self.since_mark()?;
                    self.global(&module, &name)?;
                    let class = self.pop()?;
                    self.call_with(class, arguments)?;
                }
                b'o' => {
                    let mut arguments = self.since_mark()?;
                    if arguments.is_empty() {
                        return Err("an object without a class".to_owned());
                    }
                    let class = arguments.remove(0);
                    self.call_with(class, arguments)?;
                }
                // The state of an object; that of a dictionary is the versions of modules, which no tensor needs.
                b'b' => {
                    let given = self.pop()?;
                    if let Value::Object { state, .. } = self.top()? {
                        *state = Some(given);
                    }
                }
                other => return Err(format!("the instruction {other:#04x} is none of Python's pickles")),
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
            // The state of a random generator.
            self.push(Value::None);
            return Ok(());
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
        if let Value::Dict(dict) | Value::Object { items: dict, .. } = self.top()? {
            dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Step<()> {
        let top = *self.stack.last().ok_or("nothing to remember")?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step<()> {
        self.stack.push(*self.memo.get(&key).ok_or("it recalls what it never remembered")?);
        Ok(())
    }

    fn key_line(&mut self) -> Step<u64> {
        self.line()?.parse().map_err(|_| "the number of a value is none".to_owned())
    }

    fn int_line(&mut self) -> Step<()> {
        let line = self.line()?;
        self.push(match line.as_str() {
            "00" => Value::Bool(false),
            "01" => Value::Bool(true),
            other => other.trim_end_matches('L').parse().map_or(Value::None, Value::Int),
        });
        Ok(())
    }

    fn extension(&mut self, len: usize) -> Step<()> {
        let number = self.number(len)?;
        self.push(Value::Global(format!("extension {number}")));
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        if harmful(module, name) {
            return Err(format!(
                "it calls `{module}.{name}`, which runs code when Python loads it: the file is refused"
            ));
        }
        let known = Known::named(module, name).map(Value::Known);
        self.push(known.unwrap_or_else(|| Value::Global(format!("{module}.{name}"))));
        Ok(())
    }

    fn call(&mut self, function: Id, arguments: Id) -> Step<()> {
        let arguments = if let Value::List(a) = &self.values[arguments] { a.clone() } else { Vec::new() };
        self.call_with(function, arguments)
    }

    /// Calls what has a meaning here; anything else makes an object of which the name is kept.
    fn call_with(&mut self, function: Id, arguments: Vec<Id>) -> Step<()> {
        let object = |class: String| Value::Object { class, items: Vec::new(), state: None };
        let short = || "a tensor has too few arguments".to_owned();
        let made = match &self.values[function] {
            Value::Known(Known::Dict) => Value::Dict(self.pairs(&arguments)),
            Value::Known(Known::Tensor) => match arguments[..] {
                [storage, offset, sizes, strides, ..] => Value::Tensor { storage, offset, sizes, strides },
                _ => return Err(short()),
            },
            Value::Known(Known::First) => {
                self.stack.push(*arguments.first().ok_or_else(short)?);
                return Ok(());
            }
            Value::Known(Known::OfType) => {
                let &[function, _, arguments, ..] = &arguments[..] else { return Err(short()) };
                // One level is all that PyTorch writes.
                if self.values[function] == Value::Known(Known::OfType) {
                    return Err(short());
                }
                return self.call(function, arguments);
            }
            Value::Known(Known::Reconstructor) => {
                let class = arguments.first().map(|c| &self.values[*c]);
                object(if let Some(Value::Global(name)) = class { name.clone() } else { "an object".to_owned() })
            }
            Value::Known(Known::Storage(name)) => object(format!("torch.{name}")),
            Value::Global(name) | Value::Object { class: name, .. } => object(name.clone()),
            // The class of a module that an old file names with its source.
            Value::Outside(_) => object("a module".to_owned()),
            _ => return Err("it calls what is no function".to_owned()),
        };
        self.push(made);
        Ok(())
    }

    /// The pairs that a dictionary is made of: those of a list of pairs, as Python 2 writes them.
    fn pairs(&self, arguments: &[Id]) -> Vec<(Id, Id)> {
        let list = |id: &Id| if let Some(Value::List(items)) = self.values.get(*id) { &items[..] } else { &[] };
        let pair = |id: &Id| if let &[key, value] = list(id) { Some((key, value)) } else { None };
        arguments.first().map_or(&[][..], list).iter().filter_map(pair).collect()
    }
}
