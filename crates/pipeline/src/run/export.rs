//! `export`: the weights of a model in the form in which timm, torchvision or transformers opens them, as one
//! safetensors file or as a folder with configuration and tokenizer. What is written tells its own preprocessing and
//! classes, so that it opens here again.

mod config;
mod form;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;
use transplant_core::{
    Error, Field, Invalid, Result, Role, Spec, TEXT, TOKENS, read_metadata, save_safetensors, write_atomically,
};

use super::artefact::{Artefact, Manifest};
use super::description::{Description, MANIFEST, Pixels};
use super::source::BACKBONE;
use form::{Form, Library};

/// The file of the weights in a folder.
pub(super) const WEIGHTS: &str = super::file_names::MODEL_WEIGHTS;
/// All files that a folder can have beside the weights.
pub(super) const BESIDE: [&str; 6] =
    ["config.json", "README.md", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "transplant_text.py"];

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The cell whose model it is.
    pub cell: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Python that opens them.
    pub usage: String,
    /// What they cannot say, and what to do about it.
    pub notes: Vec<String>,
}

/// A model as another library knows it.
struct Exported<'a> {
    manifest: &'a Manifest,
    form: Form,
    tensors: BTreeMap<String, Tensor>,
    /// The names of the classes; none for a number.
    classes: Vec<String>,
    /// Rows of the head.
    outputs: usize,
    /// Channels, height and width of the images that the network is given.
    image: Option<[usize; 3]>,
    /// Their scale.
    pixels: Pixels,
    /// Rows of the table of words.
    vocabulary: Option<usize>,
}

/// Writes a model: a file when `to` ends in `.safetensors`, otherwise a folder. Tensors have the names of the library
/// that knows the network; the manifest of the model, with preprocessing, classes and licences, goes into the metadata.
///
/// # Errors
/// When no other library knows the network, it has several heads or one that is no linear layer, it carries adapters,
/// its tokens are not made by a tokenizer, or the folder holds something else.
pub fn export(artefact: &Artefact, to: &Path) -> Result<Written> {
    let e = exported(artefact)?;
    let alone = to.extension().is_some_and(|ending| ending == "safetensors");
    let files = if alone { BTreeMap::new() } else { beside(&e, artefact)? };
    let place = |name: &str| if alone { to.to_owned() } else { to.join(name) };
    if !alone {
        prepare(to)?;
    }
    let manifest = serde_json::to_string(&described(artefact)).map_err(|e| Error::contract(e.to_string()))?;
    let metadata = [("format", "pt".to_owned()), (MANIFEST, manifest)].map(|(key, v)| (key.to_owned(), v));
    save_safetensors(&place(WEIGHTS), &e.tensors, &metadata.into())?;
    for (name, content) in &files {
        write_atomically(&place(name), content)?;
    }
    let (cell, usage) = (e.manifest.cell.clone(), usage::usage(&e, to, alone));
    let files = std::iter::once(WEIGHTS).chain(files.keys().copied()).map(place).collect();
    Ok(Written { cell, files, usage, notes: usage::notes(&e, artefact, alone) })
}

/// A model under the names of the library that knows it.
fn exported(artefact: &Artefact) -> Result<Exported<'_>> {
    let m = &artefact.manifest;
    let refused = |why: String| Error::from(Invalid::new(format!("`{}` cannot be exported: {why}", m.cell)));
    let image = m.inputs.values().find_map(|f| match f {
        Field::Image { channels, height, width } => Some([*channels, *height, *width]),
        _ => None,
    });
    let form = form::form(&m.architecture, image).map_err(|e| refused(e.message))?;
    let [task] = m.tasks.keys().collect::<Vec<_>>()[..] else {
        return Err(refused(format!("it has {} heads, and the network has a place for one", m.tasks.len())));
    };
    let below = format!("heads.{task}.");
    if let Some((name, _)) = artefact.model.params().all().iter().find(|(_, p)| p.role == Role::Adapter) {
        let how = "train with what merges them, such as `merge = true` of `lora`";
        return Err(refused(format!("its adapters are not merged into the weights (`{name}`); {how}")));
    }
    let mut tensors = BTreeMap::<String, Tensor>::new();
    let mut fitted = BTreeMap::<String, Tensor>::new();
    for (name, value) in artefact.model.params().snapshot(|_| true)? {
        if let Some(name) = name.strip_prefix(BACKBONE) {
            tensors.insert(form.name(name), value);
        } else if let Some(part) = name.strip_prefix(&below) {
            fitted.insert(part.to_owned(), value);
        } else {
            return Err(refused(format!("it is more than network and head (`{name}`)")));
        }
    }
    let head = match artefact.model.strategy().head() {
        None => artefact.model.tasks()[task].linear(&fitted)?,
        Some(head) => head.linear(&fitted)?,
    };
    let head = head.filter(|h| h.keys().eq(["bias", "weight"])).ok_or_else(|| {
        let help = "its head is no linear layer; train a step from it with `parameter`, or `feature` with \
                    `head = \"linear\"` or `\"logistic_regression\"`";
        refused(help.to_owned())
    })?;
    let outputs = head["bias"].elem_count();
    tensors.extend(head.into_iter().map(|(part, t)| (format!("{}.{part}", form.head), t)));
    let vocabulary = match m.inputs.get(TOKENS) {
        Some(Field::Tokens { .. }) => {
            let table = tensors.get(&form.name("embeddings.word_embeddings.weight"));
            Some(table.map(|t| t.dim(0)).transpose()?.unwrap_or_default())
        }
        _ => None,
    };
    if vocabulary.is_some() && !(m.raw_inputs.contains_key(TEXT) && m.transforms.iter().any(|t| t.tag == "tokenise")) {
        return Err(refused("its tokens are made by no `tokenise`, and transformers knows no other way".to_owned()));
    }
    let Description { pixels, classes, .. } = Description::of_manifest(m.clone(), Path::new(""));
    Ok(Exported { manifest: m, form, tensors, classes, outputs, image, pixels, vocabulary })
}

/// What an export says of itself: the manifest, with a head that nobody has to fit again.
fn described(artefact: &Artefact) -> Manifest {
    let (tensors, sha256) = (BTreeMap::new(), String::new());
    let strategies = vec![Spec::new("structure")];
    Manifest { strategies, source: None, tensors, sha256, ..artefact.manifest.clone() }
}

/// The files of a folder beside the weights, by name.
fn beside(e: &Exported<'_>, artefact: &Artefact) -> Result<BTreeMap<&'static str, Vec<u8>>> {
    let mut out =
        BTreeMap::from([("config.json", pretty(&config::config(e))), ("README.md", usage::readme(e, artefact))]);
    if e.form.library == Library::Transformers {
        for file in artefact.transforms.carried().into_iter().filter(|f| f.name == "tokenizer.json") {
            let tokenise = e.manifest.transforms.iter().find(|t| t.tag == "tokenise");
            let longest = tokenise.and_then(|t| t.options.get("max_tokens")?.as_u64()).unwrap_or(512);
            out.extend(config::of_tokenizer(&file.content, longest, &e.form)?);
            out.insert("tokenizer.json", file.content);
        }
    }
    if e.form.needs_code() {
        out.insert("transplant_text.py", include_bytes!("export/transplant_text.py").to_vec());
    }
    Ok(out)
}

/// Makes the folder, or clears it of an earlier export.
///
/// # Errors
/// When it holds something else.
fn prepare(folder: &Path) -> Result<()> {
    let io = |e| Error::io(folder, e);
    if folder.is_file()
        || folder.extension().is_some_and(|e| ["pth", "pt", "bin", "onnx", "ckpt"].iter().any(|p| e == *p))
    {
        let e = Invalid::new(format!("{} is no folder", folder.display()));
        return Err(e.help("name a folder, or a file that ends in `.safetensors`").into());
    }
    std::fs::create_dir_all(folder).map_err(io)?;
    let is_empty = std::fs::read_dir(folder).map_err(io)?.next().is_none();
    let weights = folder.join(WEIGHTS);
    let ours = || read_metadata(&weights).is_ok_and(|m| m.contains_key(MANIFEST));
    if !is_empty && !ours() {
        let e = Invalid::new(format!("{} holds something else than an export", folder.display()));
        return Err(e.help("name a new folder").into());
    }
    for name in BESIDE.iter().map(|n| folder.join(n)).filter(|n| n.is_file()) {
        std::fs::remove_file(&name).map_err(|e| Error::io(&name, e))?;
    }
    Ok(())
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text.into_bytes()
}
