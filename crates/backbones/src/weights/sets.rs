//! Which weights of a checkpoint are taken: a file may hold several dictionaries of tensors, such as averaged weights
//! beside those of the last step, or names of two networks in one dictionary.

use super::pickle::{Id, Pickle, Value};

/// Last names of paths under which programs keep a network's weights, those that come first before those that follow.
const PLAIN: [&str; 10] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "model_weights",
];
/// Words in names of weights that are averaged over steps.
const AVERAGED: [&str; 3] = ["ema", "averaged", "swa"];
/// Words in names of what belongs to training: dictionaries below are not looked at.
const OF_TRAINING: [&str; 9] =
    ["optim", "optimizer", "optimizers", "optimiser", "scheduler", "scaler", "rng", "callbacks", "criterion"];
/// How deep dictionaries are searched, and how many values.
const DEPTH: usize = 4;
const MOST: usize = 100_000;

/// A dictionary of tensors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    /// Its keys from outside to inside with dots between; empty: the whole file.
    pub(super) path: String,
    /// Names and values, those that are tensors or may stand for some.
    pub(super) entries: Vec<(String, Id)>,
}

/// What is odd about a tensor that a function of this name makes.
pub(super) fn odd_tensor(class: &str) -> String {
    let last = class.rsplit('.').next().unwrap_or(class);
    match last {
        "_rebuild_qtensor" => "is quantised".to_owned(),
        "_rebuild_meta_tensor_no_storage" => "is a meta tensor, without values,".to_owned(),
        "_rebuild_sparse_tensor" => "is sparse".to_owned(),
        "_rebuild_tensor_v3" => "holds numbers of a type that is not read, such as `float8`,".to_owned(),
        "_reconstruct" if class.starts_with("numpy") => "is a NumPy array".to_owned(),
        _ => format!("is made by `{class}` and no plain tensor"),
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

/// Whether a name says that weights are averaged over steps.
pub(super) fn is_averaged(name: &str) -> bool {
    words(name).any(|w| AVERAGED.contains(&w.to_ascii_lowercase().as_str()))
}

/// All dictionaries of tensors in a pickle.
pub(super) fn all(pickle: &Pickle) -> Vec<Set> {
    let (mut out, mut seen) = (Vec::new(), 0);
    collect(pickle, pickle.root(), "", 0, &mut seen, &mut out);
    out
}

fn collect(pickle: &Pickle, id: Id, path: &str, depth: usize, seen: &mut usize, out: &mut Vec<Set>) {
    *seen += 1;
    if depth > DEPTH || *seen > MOST {
        return;
    }
    let module = module(pickle, id);
    if !module.is_empty() {
        out.push(Set { path: path.to_owned(), entries: module });
        return;
    }
    let items = pickle.items(id);
    let is_tensor = |id: &Id| match pickle.get(*id) {
        Value::Tensor { .. } => true,
        Value::Object { class, .. } => class.starts_with("torch._utils._rebuild_"),
        _ => false,
    };
    let may_stand = |id: &Id| matches!(pickle.get(*id), Value::Tensor { .. } | Value::Object { .. });
    if items.iter().any(|(_, v)| is_tensor(v)) {
        let entries = items.iter().filter(|(_, v)| may_stand(v)).map(|(k, v)| ((*k).to_owned(), *v)).collect();
        out.push(Set { path: path.to_owned(), entries });
    }
    for (key, value) in items {
        if !is_tensor(&value) && !words(key).any(|w| OF_TRAINING.contains(&w.to_ascii_lowercase().as_str())) {
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            collect(pickle, value, &path, depth + 1, seen, out);
        }
    }
}

/// The tensors of a module that was saved whole, by the names that its `state_dict` would have; none where it is no
/// module.
fn module(pickle: &Pickle, id: Id) -> Vec<(String, Id)> {
    let (mut out, mut open, mut seen) = (Vec::new(), vec![(String::new(), id)], 0);
    while let Some((path, id)) = open.pop() {
        seen += 1;
        let Value::Object { state: Some(state), .. } = pickle.get(id) else { continue };
        if seen > MOST {
            break;
        }
        let state = pickle.items(*state);
        let part = |name: &str| state.iter().find(|(k, _)| *k == name).map_or_else(Vec::new, |(_, v)| pickle.items(*v));
        // A scripted module has its tensors and modules as attributes.
        let scripted = !state.iter().any(|(k, _)| *k == "_parameters");
        let fields =
            if scripted { state.clone() } else { [part("_parameters"), part("_buffers"), part("_modules")].concat() };
        for (name, value) in fields {
            let name = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match pickle.get(value) {
                Value::Tensor { .. } => out.push((name, value)),
                Value::Object { .. } if name.matches('.').count() < 32 => open.push((name, value)),
                _ => {}
            }
        }
    }
    out
}

/// The dictionary that is taken when the user says nothing, and a note where there are others.
///
/// # Errors
/// When none is more likely than another, or there is none.
pub(super) fn choose<'a>(sets: &'a [Set], top: &[&str]) -> Result<(&'a Set, Option<String>), String> {
    let last = |s: &&Set| s.path.rsplit('.').next().unwrap_or_default().to_owned();
    let (averaged, plain): (Vec<&Set>, Vec<&Set>) = sets.iter().partition(|s| is_averaged(&s.path));
    let known = PLAIN.iter().find_map(|name| plain.iter().find(|s| last(s) == *name)).copied();
    let found = known.or_else(|| plain.iter().find(|s| s.path.is_empty()).copied()).or_else(|| match plain[..] {
        [] => averaged.first().copied(),
        [one] => Some(one),
        _ => None,
    });
    let Some(found) = found else {
        return Err(match plain.is_empty() {
            true => format!("there is no dictionary of tensors in it, only {top:?}"),
            false => {
                format!("it holds weights under {}; say which with `key`", shown(plain.iter().map(|s| s.path.as_str())))
            }
        });
    };
    if found.path.is_empty() {
        return Ok((found, None));
    }
    let others = sets.iter().filter(|s| !s.path.is_empty() && s.path != found.path && s.entries.len() > 1);
    let others: Vec<&str> = others.map(|s| s.path.as_str()).collect();
    let note = match others.first() {
        None => format!("taken from `{}` of the file", found.path),
        Some(other) => {
            let others = shown(others.iter().copied());
            format!("taken from `{}` of the file, not from {others} (`key = \"{other}\"` takes that)", found.path)
        }
    };
    Ok((found, Some(note)))
}

/// What `key` stands for: one of these dictionaries, and the beginning of names in it; or the beginning of names in the
/// one that is taken without a key.
pub(super) fn named<'a>(sets: &'a [Set], key: &str, top: &[&str]) -> Option<(&'a Set, String)> {
    let below = |s: &'a Set| match key.strip_prefix(s.path.as_str())? {
        "" => Some((s, String::new())),
        rest if s.path.is_empty() => Some((s, rest.to_owned())),
        rest => Some((s, rest.strip_prefix('.')?.to_owned())),
    };
    let has = |(s, rest): &(&Set, String)| {
        rest.is_empty()
            || s.entries.iter().any(|(name, _)| name.strip_prefix(rest.as_str()).is_some_and(|n| n.starts_with('.')))
    };
    let found = sets.iter().filter_map(below).filter(has).max_by_key(|(s, _)| s.path.len());
    found.or_else(|| Some((choose(sets, top).ok()?.0, key.to_owned())).filter(has))
}

/// Names in backticks.
pub(super) fn shown<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|n| format!("`{n}`")).collect();
    let more = names.len().saturating_sub(6);
    let first = names[..names.len() - more].join(", ");
    if more > 0 { format!("{first} and {more} others") } else { first }
}
