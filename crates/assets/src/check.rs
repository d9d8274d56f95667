//! What an [`Asset`] must be before anything is fetched or written for it.

use std::collections::BTreeSet;

use transplant_core::Invalid;

use crate::{Asset, AssetFile, Preprocessing, Role};

impl Asset {
    /// Checks that the asset is whole: nothing empty, names that are safe in a folder, hashes of the right form.
    ///
    /// # Errors
    /// When it is not; the error names the key.
    pub fn check(&self) -> Result<(), Invalid> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.name.is_empty() || !self.name.chars().all(word) {
            return Err(Invalid::key("name", "must be of lowercase letters, digits and `_`"));
        }
        if self.about.is_empty() || self.about.contains('\n') {
            return Err(Invalid::key("about", "must be one line"));
        }
        let spdx = |c: char| c.is_ascii_alphanumeric() || "-.+() ".contains(c);
        if self.licence.is_empty() || !self.licence.chars().all(spdx) {
            return Err(Invalid::key("licence", "must be an SPDX expression"));
        }
        let weights = self.file(Role::Weights).is_some();
        if self.architecture.is_some() != weights {
            return Err(Invalid::key("architecture", "is given for weights, and only for them"));
        }
        if let Some(image) = &self.image {
            image.check().map_err(|e| e.under("image"))?;
        }
        if self.files.is_empty() {
            return Err(Invalid::key("files", "must not be empty"));
        }
        let (mut roles, mut names) = (BTreeSet::new(), BTreeSet::new());
        for file in &self.files {
            let place = format!("files.{}", file.role);
            if !roles.insert(file.role) {
                return Err(Invalid::key(&place, "is there twice"));
            }
            if !names.insert(file.name.to_lowercase()) {
                return Err(Invalid::key("name", "is the name of two files").under(&place));
            }
            file.check().map_err(|e| e.under(&place))?;
        }
        Ok(())
    }
}

impl AssetFile {
    fn check(&self) -> Result<(), Invalid> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        // A dot at the start is the store's own mark.
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return Err(Invalid::key("name", "must be a file name of letters, digits, `-`, `_` and `.`"));
        }
        if self.sha256.is_some() != self.bytes.is_some() {
            return Err(Invalid::key("sha256", "is given together with `bytes`"));
        }
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if self.sha256.as_ref().is_some_and(|s| s.len() != 64 || !s.bytes().all(digit)) {
            return Err(Invalid::key("sha256", "must be 64 lowercase hexadecimal digits"));
        }
        if self.sources.is_empty() {
            return Err(Invalid::key("sources", "must not be empty"));
        }
        for (i, source) in self.sources.iter().enumerate() {
            source.check().map_err(|e| e.under(&format!("sources.{i}")))?;
        }
        Ok(())
    }
}

impl Preprocessing {
    fn check(&self) -> Result<(), Invalid> {
        if self.size == 0 {
            return Err(Invalid::key("size", "must be at least 1"));
        }
        if self.mean.is_empty() || self.mean.len() != self.std.len() {
            return Err(Invalid::key("mean", "must have one number a channel, as `std`"));
        }
        if self.std.iter().any(|s| !(*s > 0. && s.is_finite())) || self.mean.iter().any(|m| !m.is_finite()) {
            return Err(Invalid::key("std", "must be finite, and deviations above 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, catalogue};

    /// What checking says after a whole asset was changed.
    fn after(change: impl FnOnce(&mut Asset)) -> String {
        let mut asset = catalogue()[0].clone();
        asset.check().unwrap();
        change(&mut asset);
        asset.check().unwrap_err().to_string()
    }

    fn package(asset: &mut Asset, to: &str) {
        let Source::Pip(pip) = &mut asset.files[0].sources[0] else { panic!() };
        pip.package = to.to_owned();
    }

    #[test]
    fn what_is_not_whole_is_named() {
        assert!(after(|a| a.name = "../up".into()).starts_with("name: "));
        assert!(after(|a| a.about.clear()).starts_with("about: "));
        assert!(after(|a| a.licence = "see file!".into()).starts_with("licence: "));
        assert!(after(|a| a.architecture = None).starts_with("architecture: "));
        assert!(after(|a| a.files.clear()).starts_with("architecture: "));
        assert!(after(|a| a.image.as_mut().unwrap().std.clear()).starts_with("image.mean: "));
        assert!(after(|a| a.files.push(a.files[0].clone())).starts_with("files.weights: "));
        assert!(after(|a| a.files[0].bytes = None).starts_with("files.weights.sha256: "));
        assert!(after(|a| a.files[0].sha256 = Some("AB".into())).starts_with("files.weights.sha256: "));
        assert!(after(|a| a.files[0].sources.clear()).starts_with("files.weights.sources: "));
        for name in ["", "a/b", "..", ".verified", "a\\b"] {
            assert!(after(|a| a.files[0].name = name.into()).starts_with("files.weights.name: "), "{name}");
        }
    }

    #[test]
    fn a_package_is_no_option_of_its_client() {
        for name in ["", "--pre", "a b", "a==1", "git+ssh:x", "../a", "@/a"] {
            let said = after(|a| package(a, name));
            assert!(said.starts_with("files.weights.sources.0.package: "), "{name}: {said}");
        }
    }
}
