//! [`PassedOver`]: files in folders of classes that are not read: their names do not end as those of pictures, or are
//! hidden.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use transplant_codecs::picture::is_picture;
use transplant_core::{Finding, FindingKind};

use crate::findings::{counted, listed};

/// Bytes by which a picture is known.
const START: usize = 64;

/// Counts of files that are not read.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    /// Files by ending, in lower case, with the point; empty for none.
    endings: BTreeMap<String, usize>,
    /// Those that are pictures by their content.
    pictures: usize,
    /// Hidden files with names of pictures.
    hidden: usize,
}

impl PassedOver {
    /// Counts a file, of which the start is read.
    pub(super) fn add(&mut self, path: &Path) {
        let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy().to_lowercase())).unwrap_or_default();
        *self.endings.entry(ending).or_default() += 1;
        let mut start = Vec::new();
        // A file that cannot be opened is no picture that could be used.
        let read = File::open(path).and_then(|file| file.take(START as u64).read_to_end(&mut start));
        self.pictures += usize::from(read.is_ok() && is_picture(&start));
    }

    /// Counts a hidden file with the name of a picture. Those that macOS puts beside files on foreign disks do not
    /// count.
    pub(super) fn add_hidden(&mut self, path: &Path) {
        let of_macos = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"._"));
        self.hidden += usize::from(!of_macos);
    }

    /// Number of files, hidden ones aside, that are not read.
    pub(super) fn files(&self) -> usize {
        self.endings.values().sum()
    }

    /// Number of hidden files with names of pictures.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Tells of all of them beside so many `pictures` that are read.
    pub(super) fn findings(&self, pictures: usize) -> Vec<Finding> {
        let hidden = (self.hidden > 0).then(|| {
            let verb = if self.hidden == 1 { "is" } else { "are" };
            let message = format!(
                "{} in folders of classes {verb} hidden, and not read: a name that does not begin with a point makes them rows",
                counted(self.hidden, "picture")
            );
            Finding::new(FindingKind::UnusedFiles, message)
        });
        self.other_endings(pictures).into_iter().chain(hidden).collect()
    }

    fn other_endings(&self, pictures: usize) -> Option<Finding> {
        let passed = self.files();
        let mut endings: Vec<(&String, &usize)> = self.endings.iter().collect();
        endings.sort_by(|a, b| b.1.cmp(a.1));
        let shown = |(ending, n): (&String, &usize)| match ending.as_str() {
            "" => format!("{n} without an ending"),
            ending => format!("{n} in `{ending}`"),
        };
        let shown = listed(&endings.into_iter().map(shown).collect::<Vec<_>>());
        let mut message = format!(
            "{passed} of {} in folders of classes are not read, since their names do not end as those of pictures: {shown}",
            counted(passed + pictures, "file")
        );
        if self.pictures > 0 {
            message += &format!(
                "; {} by content: an ending such as `.png` makes them rows",
                counted(self.pictures, "picture")
            );
        }
        (passed > 0).then(|| Finding::new(FindingKind::UnusedFiles, message))
    }
}
