//! `hub`: a file of a repository of the model hub, by the hub's own client, whose cache other programs share.

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use transplant_core::{Invalid, Result};

use super::{check_member, check_word};
use crate::Clients;

/// A file of a repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// The repository: `owner/name`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The path of the file in the repository.
    pub file: String,
}

impl Hub {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        for part in self.repo.splitn(2, '/') {
            check_word("repo", part, "-_.")?;
        }
        check_word("revision", &self.revision, "-_.")?;
        check_member(&self.file).map_err(|_| Invalid::key("file", "must be the path of a file in the repository"))
    }

    /// The file in the hub's cache, downloaded when it is not there and the hub may be asked. The client tells a whole download
    /// from one that was cut, and goes on where it was.
    ///
    /// # Errors
    /// When the repository, the revision or the path cannot be one, or the file is neither in the cache nor to be had; when this
    /// build lacks the cargo feature `hub`.
    pub fn fetch(&self, clients: &Clients) -> Result<PathBuf> {
        self.check()?;
        Ok(self.cached(clients).map_err(|e| Invalid::new(format!("hub {}: {e}", self.repo)))?)
    }

    pub(crate) fn copy(&self, clients: &Clients, out: &mut dyn Write) -> Result<(), String> {
        let path = self.cached(clients)?;
        let shown = |e| format!("{}: {e}", path.display());
        let mut file = std::fs::File::open(&path).map_err(shown)?;
        std::io::copy(&mut file, out).map_err(shown)?;
        Ok(())
    }

    #[cfg(not(feature = "hub"))]
    fn cached(&self, _: &Clients) -> Result<PathBuf, String> {
        Err("this build lacks the cargo feature `hub` of `transplant-cli`".to_owned())
    }

    #[cfg(feature = "hub")]
    fn cached(&self, clients: &Clients) -> Result<PathBuf, String> {
        use hf_hub::api::sync::ApiBuilder;
        use hf_hub::{Cache, Repo, RepoType};

        // Without a home the usual place would be a panic.
        let usual = || std::env::home_dir().map(|_| Cache::default());
        let own = clients.hub_cache.clone().map(Cache::new);
        let cache = own.or_else(usual).ok_or("there is no folder for its cache; HF_HOME can name one")?;
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone());
        let known = cache.repo(repo.clone());
        // A revision that is a commit has no entry among the branches.
        let by_commit = known.pointer_path(&self.revision).join(&self.file);
        if let Some(path) = known.get(&self.file).or_else(|| by_commit.exists().then_some(by_commit)) {
            return Ok(path);
        }
        if clients.offline || clients.hub_offline {
            return Err(format!("offline, and `{}` is not in the hub's cache {}", self.file, cache.path().display()));
        }
        let mut builder = ApiBuilder::from_cache(cache).with_progress(false).with_retries(2);
        if let Some(endpoint) = &clients.hub_endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let api = builder.build().map_err(|e| e.to_string())?;
        api.repo(repo).download(&self.file).map_err(|e| format!("`{}`: {e}", self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        let of = |repo: &str, revision: &str, file: &str| {
            Hub { repo: repo.into(), revision: revision.into(), file: file.into() }.check()
        };
        assert!(of("timm/resnet18.tv_in1k", "main", "onnx/model.onnx").is_ok() && of("gpt2", "v1.0", "a").is_ok());
        for (repo, revision, file) in
            [("a/b/c", "main", "x"), ("../b", "main", "x"), ("a/b", "..", "x"), ("a", "b", "../x")]
        {
            assert!(of(repo, revision, file).is_err(), "{repo} {revision} {file}");
        }
    }
}
