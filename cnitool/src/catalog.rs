//! The directory of network configurations, as libcni reads it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::network::{ConfigError, Network, ParsedList, Plugin, parse_json};

/// A file that is no usable network configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("read {}", file.display())]
    Read {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can be read but makes no sense.
    #[error("{}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong in it.
        #[source]
        source: ConfigError,
    },
}

/// No network to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The directory cannot be read.
    #[error("read directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory has no configuration at all.
    #[error("no net configurations found in {}; NETCONFPATH names another directory", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory has no network of that name.
    #[error("no net configuration with name {name:?} in {}; it has {}", dir.display(), list(known))]
    NotFound {
        /// The directory.
        dir: PathBuf,
        /// The name asked for.
        name: String,
        /// The networks that are there.
        known: Vec<String>,
    },
    /// No network of that name was found, but not every file could be read.
    #[error("no net configuration with name {name:?} found before a broken file")]
    Broken {
        /// The name asked for.
        name: String,
        /// The first file that could not be used.
        #[source]
        source: FileError,
    },
}

impl CatalogError {
    /// Whether the network is certainly not configured.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Empty { .. } | Self::NotFound { .. })
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// All networks of a directory.
///
/// A broken file does not hide the networks in others: it is only told of where a name is not
/// found. (libcni gives up at the first broken file.)
#[derive(Debug)]
pub struct Catalog {
    dir: PathBuf,
    networks: Vec<Network>,
    broken: Vec<FileError>,
}

impl Catalog {
    /// Reads a directory: `*.conflist` sorted by name, then `*.conf` and `*.json`. A directory that
    /// does not exist has no networks.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CatalogError> {
        let dir = dir.as_ref();
        let files = |extensions| {
            files_of(dir, extensions).map_err(|source| CatalogError::Directory {
                dir: dir.to_owned(),
                source,
            })
        };
        let lists = files(&["conflist"])?;
        let singles = files(&["conf", "json"])?;
        let loaded = lists.iter().map(|file| load_list(file));
        let loaded = loaded.chain(singles.iter().map(|file| load_single(file)));
        let mut catalog = Self {
            dir: dir.to_owned(),
            networks: Vec::new(),
            broken: Vec::new(),
        };
        for network in loaded {
            match network {
                Ok(network) => catalog.networks.push(network),
                Err(error) => catalog.broken.push(error),
            }
        }
        Ok(catalog)
    }

    /// The first network of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<&Network, CatalogError> {
        let found = self.networks.iter().find(|n| n.name().as_str() == name);
        found.ok_or_else(|| self.not_found(name))
    }

    /// The network whose file comes first, which is the one that containerd uses for pods.
    ///
    /// # Errors
    /// There is none.
    pub fn first(&self) -> Result<&Network, CatalogError> {
        let first = self.networks.iter().min_by_key(|network| network.file());
        first.ok_or_else(|| self.not_found(""))
    }

    /// All networks: lists first, each kind sorted by file name.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The files that could not be used.
    #[must_use]
    pub fn broken(&self) -> &[FileError] {
        &self.broken
    }

    /// Reads the broken files again for an error that owns its causes: errors of files cannot be
    /// cloned.
    fn not_found(&self, name: &str) -> CatalogError {
        let name = name.to_owned();
        let known = self.networks.iter().map(|n| n.name().to_string());
        match (self.broken.first(), self.networks.is_empty()) {
            (Some(broken), _) => CatalogError::Broken {
                name,
                source: broken.again(),
            },
            (None, true) => CatalogError::Empty {
                dir: self.dir.clone(),
            },
            (None, false) => CatalogError::NotFound {
                dir: self.dir.clone(),
                name,
                known: known.collect(),
            },
        }
    }
}

impl FileError {
    fn again(&self) -> Self {
        match self {
            Self::Read { file, source } => Self::Read {
                file: file.clone(),
                source: io::Error::new(source.kind(), source.to_string()),
            },
            Self::Invalid { file, source } => Self::Invalid {
                file: file.clone(),
                source: source.clone(),
            },
        }
    }
}

fn load_list(file: &Path) -> Result<Network, FileError> {
    let parsed = ParsedList::parse(&read(file)?).map_err(|source| invalid(file, source))?;
    let siblings = match file.parent() {
        Some(dir) if !parsed.only_inlined => dir.join(parsed.network.name().as_str()),
        _ => {
            let network = parsed.with_plugins(Vec::new());
            return finish(file, network);
        }
    };
    let plugin_files = files_of(&siblings, &["conf"]).map_err(|source| FileError::Read {
        file: siblings.clone(),
        source,
    })?;
    let plugins = plugin_files.iter().map(|file| load_plugin(file));
    let plugins = plugins.collect::<Result<Vec<_>, _>>()?;
    finish(file, parsed.with_plugins(plugins))
}

fn load_single(file: &Path) -> Result<Network, FileError> {
    finish(file, Network::parse_single(&read(file)?))
}

fn load_plugin(file: &Path) -> Result<Plugin, FileError> {
    let document = parse_json(&read(file)?).map_err(|source| invalid(file, source))?;
    Plugin::parse(&document).map_err(|source| invalid(file, source))
}

fn finish(file: &Path, network: Result<Network, ConfigError>) -> Result<Network, FileError> {
    network
        .map(|network| network.loaded_from(file))
        .map_err(|source| invalid(file, source))
}

fn invalid(file: &Path, source: ConfigError) -> FileError {
    FileError::Invalid {
        file: file.to_owned(),
        source,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(file).map_err(|source| FileError::Read {
        file: file.to_owned(),
        source,
    })
}

/// The files of a directory with one of these extensions, sorted; none where there is no
/// directory. Directories are left out, links are not followed to tell.
fn files_of(dir: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // As Go's filepath.Ext: a name that begins with its only dot is all extension.
        let extension = name.to_str().and_then(|name| name.rsplit_once('.'));
        let is_wanted = extension.is_some_and(|(_, extension)| extensions.contains(&extension));
        if is_wanted && !entry.file_type()?.is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
