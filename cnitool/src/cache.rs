//! The results of ADDs, kept for CHECK, DEL and GC, in libcni's format and place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cni_types::{Attachment, Json};
use serde::{Deserialize, Serialize};

const DEFAULT_DIR: &str = "/var/lib/cni";
const KIND: &str = "cniCacheV1";

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct CacheError {
    /// What was tried.
    pub operation: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What is known of one attachment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CacheEntry {
    /// The container.
    pub container_id: String,
    /// The configuration list of the ADD.
    pub config: Vec<u8>,
    /// The interface inside the container.
    pub ifname: String,
    /// The network.
    pub network: String,
    /// The path of the namespace; empty when none was given.
    pub netns: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments.
    pub capability_args: Vec<(String, Json)>,
    /// The result of the last plugin; none while the ADD runs, or when it did not end.
    pub result: Option<Json>,
}

impl CacheEntry {
    /// Whether this is the entry of the attachment, not of another one whose file name is the
    /// same: `a-b` on `c` and `b` on `c-a`.
    #[must_use]
    pub fn is_of(&self, attachment: &Attachment) -> bool {
        self.network == attachment.network.as_str()
            && self.container_id == attachment.container_id.as_str()
            && self.ifname == attachment.ifname.as_str()
    }
}

/// The file. Its keys and their order are libcni's `cachedInfo`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Form {
    kind: String,
    container_id: String,
    config: String,
    if_name: String,
    network_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cni_args: Vec<(String, String)>,
    #[serde(skip_serializing_if = "is_empty")]
    capability_args: Json,
    #[serde(skip_serializing_if = "Json::is_null")]
    result: Json,
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Object(members) => members.is_empty(),
        other => other.is_null(),
    }
}

/// Whether a file must survive a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Until the next boot.
    Volatile,
    /// From now on.
    Durable,
}

/// A directory of cached results.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Default for Cache {
    /// libcni's: `/var/lib/cni`, of which `results` has the files.
    fn default() -> Self {
        Self::at(DEFAULT_DIR)
    }
}

impl Cache {
    /// A cache in another directory than [`Cache::default`].
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the entry of an attachment is.
    #[must_use]
    pub fn file(&self, attachment: &Attachment) -> PathBuf {
        let Attachment {
            network,
            container_id,
            ifname,
        } = attachment;
        self.results()
            .join(format!("{network}-{container_id}-{ifname}"))
    }

    /// The entry of an attachment. A file that is empty, broken or another attachment's counts as
    /// none: it must not stand in the way of a DEL.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(&self, attachment: &Attachment) -> Result<Option<CacheEntry>, CacheError> {
        let file = self.file(attachment);
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("read cached result", &file))?,
        };
        Ok(match parse(&text) {
            Some(entry) => Some(entry).filter(|entry| entry.is_of(attachment)),
            None => parse_legacy(&text, attachment),
        })
    }

    /// Every readable entry, sorted by file name. No directory is no entry.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn entries(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let dir = self.results();
        let failed = || failed("read cache directory", &dir);
        let listed = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed())?,
        };
        let mut files = Vec::new();
        for entry in listed {
            files.push(entry.map_err(failed())?.path());
        }
        files.sort();
        let texts = files.iter().filter_map(|file| fs::read(file).ok());
        Ok(texts.filter_map(|text| parse(&text)).collect())
    }

    /// Writes an entry. Readers see the old one or the new one: it is put together one directory
    /// up, since libcni takes every file of the results for an entry.
    pub(crate) fn store(
        &self,
        attachment: &Attachment,
        entry: &CacheEntry,
        durability: Durability,
    ) -> Result<(), CacheError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let dir = self.results();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&dir)
            .map_err(failed("create cache directory", &dir))?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".cnitool-{}-{number}", std::process::id());
        let temporary = self.dir.join(name);
        let written = write(&temporary, &print(entry), durability)
            .map_err(failed("write", &temporary))
            .and_then(|()| {
                let file = self.file(attachment);
                fs::rename(&temporary, &file).map_err(failed("write cached result", &file))
            });
        if written.is_err() {
            let _never_made = fs::remove_file(&temporary);
        } else if durability == Durability::Durable {
            sync(&dir).map_err(failed("sync cache directory", &dir))?;
        }
        written
    }

    /// Removes an entry, whatever is in it.
    pub(crate) fn remove(&self, attachment: &Attachment) -> Result<(), CacheError> {
        let file = self.file(attachment);
        match fs::remove_file(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(failed("remove cached result", &file)),
        }
    }

    fn results(&self) -> PathBuf {
        self.dir.join("results")
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError {
        operation,
        path,
        source,
    }
}

fn write(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    // The mode above is only for a new file, and what a killed namesake left may be anything.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    match durability {
        Durability::Durable => file.sync_all(),
        Durability::Volatile => Ok(()),
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn print(entry: &CacheEntry) -> Vec<u8> {
    let form = Form {
        kind: KIND.to_owned(),
        container_id: entry.container_id.clone(),
        config: STANDARD.encode(&entry.config),
        if_name: entry.ifname.clone(),
        network_name: entry.network.clone(),
        netns: entry.netns.clone(),
        cni_args: entry.args.clone(),
        capability_args: Json::Object(entry.capability_args.clone()),
        result: entry.result.clone().unwrap_or_default(),
    };
    // Strings and JSON always serialise.
    serde_json::to_vec(&form).unwrap_or_default()
}

fn parse(text: &[u8]) -> Option<CacheEntry> {
    let form: Form = Json::parse(text).ok()?.decode().ok()?;
    if form.kind != KIND || form.if_name.is_empty() || form.network_name.is_empty() {
        return None;
    }
    Some(CacheEntry {
        container_id: form.container_id,
        config: STANDARD.decode(form.config).unwrap_or_default(),
        ifname: form.if_name,
        network: form.network_name,
        netns: form.netns,
        args: form.cni_args,
        capability_args: match form.capability_args {
            Json::Object(members) => members,
            _ => Vec::new(),
        },
        result: Some(form.result).filter(|result| !result.is_null()),
    })
}

/// Before libcni 0.8 the file had the result and nothing else.
fn parse_legacy(text: &[u8], attachment: &Attachment) -> Option<CacheEntry> {
    let result = Json::parse(text).ok()?;
    let is_result = result.get("kind").is_none() && result.get("cniVersion").is_some();
    is_result.then(|| CacheEntry {
        container_id: attachment.container_id.to_string(),
        ifname: attachment.ifname.to_string(),
        network: attachment.network.to_string(),
        result: Some(result),
        ..CacheEntry::default()
    })
}

#[cfg(test)]
mod tests;
