//! What a file is that holds no weights which can be read: said with what to do.

use std::path::Path;

/// How the beginning of a file, or of its content from some byte on, tells what it is; and what to do.
const MAGIC: [(usize, &[u8], &str); 14] = [
    (
        0,
        b"version https://git-lfs",
        "is a pointer of git-LFS, not the file it stands for: fetch that with `git lfs pull`, or download it from the repository's page",
    ),
    (
        0,
        b"GGUF",
        "is a GGUF file, made for inference with quantised weights: take the safetensors or PyTorch file it was made from",
    ),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "is an HDF5 file, as Keras writes it: load it there, and save its tensors under this network's names with `safetensors`",
    ),
    (0, b"\x93NUMPY", "is a NumPy array: save a dictionary of arrays with `safetensors.numpy.save_file`"),
    (0, b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (0, b"\xfd7zXZ\0", "is compressed with xz: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (0, b"BZh", "is compressed with bzip2: unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it first"),
    (0, b"Rar!", "is a RAR archive: unpack it first"),
    (257, b"ustar", "is a tar archive: unpack it first, and give the weights in it"),
    (4, b"TFL3", "is a TensorFlow Lite model, made for inference: take the checkpoint it was made from"),
    (0, b"\x89PNG", "is a picture"),
    (0, b"%PDF", "is a PDF document"),
];

/// The last bytes of the index of a TensorFlow checkpoint.
const TABLE: [u8; 8] = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];

const OF_TENSORFLOW: &str = "is part of a TensorFlow checkpoint: load it there, and save its tensors under this network's names with `safetensors`";

/// What the content is, when it is known and no weights are read from it. `path` decides where content alone cannot.
pub(super) fn other(path: &Path, content: &[u8]) -> Option<&'static str> {
    if let Some((.., what)) =
        MAGIC.iter().find(|(at, magic, _)| content.get(*at..).is_some_and(|c| c.starts_with(magic)))
    {
        return Some(what);
    }
    let text = String::from_utf8_lossy(&content[..content.len().min(512)]);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return Some(
            "is a web page, not weights: the download led to a page, such as one to sign in; take the address of the file itself",
        );
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if content.ends_with(&TABLE)
        || name.contains(".data-00000-of-")
        || name == "saved_model.pb"
        || name.ends_with(".ckpt.meta")
    {
        return Some(OF_TENSORFLOW);
    }
    // A protocol buffer whose first field is a small version and whose second is the name of the writer.
    if name.ends_with(".onnx") || matches!(content, [0x08, 1..=0x20, 0x12, ..]) && content.get(8) != Some(&b'{') {
        return Some("is an ONNX model: take the PyTorch or safetensors file it was exported from");
    }
    if name.ends_with(".npz") {
        return Some(
            "is an archive of NumPy arrays: save them with `safetensors.numpy.save_file`, under this network's names",
        );
    }
    if name.ends_with(".msgpack") {
        return Some("is a Flax checkpoint: take the repository's safetensors or PyTorch file");
    }
    None
}

/// What an archive is that `torch.save` did not write. `has` says whether a name in it ends so.
pub(super) fn of_archive(has: &dyn Fn(&str) -> bool) -> &'static str {
    if has(".npy") {
        return "it is an archive of NumPy arrays: save them with `safetensors.numpy.save_file`, under this network's names";
    }
    if has(".weights.h5") {
        return "it is a Keras model: load it there, and save its tensors under this network's names with `safetensors`";
    }
    if has(".safetensors") || has(".pth") || has(".pt") || has(".bin") {
        return "it is a zip archive with weights in it: unpack it first";
    }
    "the archive has no `data.pkl`; it was not written by `torch.save`"
}

/// What to say of JSON that is no index of shards.
pub(super) const JSON: &str = "is JSON without a `weight_map`: no weights, and no index of any";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named() {
        let said = |name: &str, content: &[u8]| other(Path::new(name), content).unwrap_or_default();
        assert!(said("w.bin", b"version https://git-lfs.github.com/spec/v1\noid").contains("git lfs pull"));
        assert!(said("w.pth", b"\xef\xbb\xbf\n <!DOCTYPE html><html>").contains("web page"));
        assert!(said("w", b"GGUF\x03\0\0\0").contains("GGUF") && said("w", b"\x89HDF\r\n\x1a\n..").contains("HDF5"));
        assert!(said("w", b"\x08\x08\x12\x07pytorch").contains("ONNX"));
        assert!(said("model.ckpt.index", &[&[0; 30], &TABLE[..]].concat()).contains("TensorFlow"));
        assert!(said("w.tar", &[&[0; 257], &b"ustar\0"[..]].concat()).contains("tar"));
        assert!(said("w.pth.gz", b"\x1f\x8b\x08").contains("gzip"));
        assert_eq!(said("w.pth", b"\x80\x02}q\x00."), "");
    }
}
