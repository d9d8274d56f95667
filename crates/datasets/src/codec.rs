//! Errors of `transplant-codecs`, which reads and writes formats, as those of the contracts.

use transplant_codecs as codecs;
use transplant_core::{Error, Invalid};

/// The error with the same text.
pub(crate) fn error(e: codecs::Error) -> Error {
    match e {
        codecs::Error::Unsupported(e) => unsupported(e).into(),
        codecs::Error::Io { path, source } => Error::io(path, source),
        codecs::Error::Data { path, row, message } => Error::Data { path, row, message },
        codecs::Error::NoColumn { path, message } => Error::Data { path, row: None, message },
        e @ codecs::Error::NotRead(_) => Error::contract(e.to_string()),
        codecs::Error::Write(reason) => Error::io("Parquet", std::io::Error::other(reason)),
    }
}

/// A file that the user named and this build does not read.
pub(crate) fn unsupported(e: codecs::Unsupported) -> Invalid {
    let invalid = Invalid::new(e.message);
    e.help.into_iter().fold(invalid, Invalid::help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn errors_keep_their_kind_and_text() {
        let path = || PathBuf::from("a.csv");
        let help = Some("`cargo xtask run` does that");
        let unsupported = codecs::Unsupported { message: "`a.csv` is no table".into(), help };
        for (from, is_kind) in [
            (unsupported.into(), (|e| matches!(e, Error::Invalid(_))) as fn(&Error) -> bool),
            (codecs::Error::Io { path: path(), source: std::io::ErrorKind::NotFound.into() }, |e| {
                matches!(e, Error::Io { .. })
            }),
            (codecs::Error::Data { path: path(), row: Some(2), message: "is odd".into() }, |e| {
                matches!(e, Error::Data { row: Some(2), .. })
            }),
            (codecs::Error::NoColumn { path: path(), message: "has no column `a`".into() }, |e| {
                matches!(e, Error::Data { row: None, .. })
            }),
            (codecs::Error::NotRead("a".into()), |e| matches!(e, Error::Contract(_))),
        ] {
            let text = from.to_string();
            let e = error(from);
            assert!(is_kind(&e) && e.to_string() == text, "{e}, not {text}");
        }
    }
}
