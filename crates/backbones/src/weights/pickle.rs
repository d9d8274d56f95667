//! Reads Python's pickles without running them. Tensors, plain containers and text are understood; whatever else a
//! pickle makes is an object of which the class, the items and the state are known, and none of its code. A pickle that
//! names a function which runs commands is refused.
//!
//! Values live in one list and refer to each other by number, so that a hostile file can neither loop nor nest deep
//! enough to overflow the stack.

use super::machine;

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
    /// A tuple, a list or a set.
    List(Vec<Id>),
    /// A dictionary in the order in which it was filled.
    Dict(Vec<(Id, Id)>),
    /// A function or class that has a meaning here.
    Known(Known),
    /// Any other function or class, by module and name.
    Global(String),
    /// What a call of another function or class makes: its name, the items of a mapping, and the state it was given.
    Object { class: String, items: Vec<(Id, Id)>, state: Option<Id> },
    /// What stands outside of the pickle: the storage of a tensor.
    Outside(Id),
    /// A tensor: its storage, and in elements where it begins, its sizes and its strides.
    Tensor { storage: Id, offset: Id, sizes: Id, strides: Id },
}

/// Functions and classes that have a meaning here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// `collections.OrderedDict` and its like.
    Dict,
    /// `torch._utils._rebuild_tensor_v2`.
    Tensor,
    /// A function whose first argument is the value: `torch._utils._rebuild_parameter`, `torch.Size`.
    First,
    /// `torch._tensor._rebuild_from_type_v2`: a function, a type, the function's arguments.
    OfType,
    /// `copyreg._reconstructor`: the class of an object is its first argument.
    Reconstructor,
    /// `torch.FloatStorage` and its like.
    Storage(String),
}

impl Known {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict" | "defaultdict" | "Counter") | ("builtins" | "__builtin__", "dict") => {
                Self::Dict
            }
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") | ("torch", "Size") => Self::First,
            ("torch._tensor", "_rebuild_from_type_v2") => Self::OfType,
            ("copyreg" | "copy_reg", "_reconstructor") => Self::Reconstructor,
            ("torch" | "torch.storage" | "torch.cuda", _) if name.ends_with("Storage") => {
                Self::Storage(name.to_owned())
            }
            _ => return None,
        })
    }
}

/// Modules whose functions run commands or open files, and builtins that do.
const HARMFUL: [&str; 16] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "pty",
    "socket",
    "shutil",
    "runpy",
    "importlib",
    "ctypes",
    "code",
    "webbrowser",
    "commands",
    "pip",
    "bdb",
];
const HARMFUL_BUILTINS: [&str; 8] =
    ["eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint"];

/// Whether what runs this function may do harm.
pub(super) fn harmful(module: &str, name: &str) -> bool {
    let outer = module.split('.').next().unwrap_or(module);
    HARMFUL.contains(&outer) || matches!(outer, "builtins" | "__builtin__") && HARMFUL_BUILTINS.contains(&name)
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
        let (values, root, taken) = machine::run(bytes)?;
        Ok((Self { values, root }, taken))
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

    /// The pairs of a dictionary, or of an object that is filled like one, whose keys are text.
    pub(super) fn items(&self, id: Id) -> Vec<(&str, Id)> {
        let (Value::Dict(items) | Value::Object { items, .. }) = self.get(id) else { return Vec::new() };
        items.iter().filter_map(|(k, v)| Some((self.text(*k)?, *v))).collect()
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
