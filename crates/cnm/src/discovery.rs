//! Where the plugin of a name listens.
//!
//! Docker's rules, as in its `pkg/plugins/discovery.go`: a socket `<name>.sock` in the directory of
//! sockets, or a file `<name>.spec` or `<name>.json` that tells the address in a directory of specs;
//! each of them may be in a subdirectory `<name>`. The first one that is there counts, even if it is
//! broken.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Cause;
use crate::http::{Address, Identity, TlsConfig, Trust};
use crate::wire;

/// The permission to write for those who are neither owner nor group.
const WORLD_WRITABLE: u32 = 0o002;

/// Where plugins announce themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Where their sockets are.
    pub sockets: PathBuf,
    /// Where files tell their addresses, in the order of precedence.
    pub specs: Vec<PathBuf>,
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            sockets: "/run/docker/plugins".into(),
            specs: vec![
                "/etc/docker/plugins".into(),
                "/usr/lib/docker/plugins".into(),
            ],
        }
    }
}

impl Directories {
    /// Those of this environment: rootless Docker runs under `RootlessKit`, and has specs in the
    /// user's home.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let system = Self::default();
        if set("ROOTLESSKIT_STATE_DIR").is_none() {
            return system;
        }
        let home = set("HOME").map(PathBuf::from).unwrap_or_default();
        let config = set("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        Self {
            specs: vec![
                config.join("docker/plugins"),
                home.join(".local/lib/docker/plugins"),
            ],
            ..system
        }
    }

    /// Every file that can announce a plugin, in the order of precedence.
    fn candidates(&self, name: &str) -> Vec<Candidate> {
        let in_specs = [Kind::Spec, Kind::Json];
        let places = std::iter::once((&self.sockets, Kind::Socket)).chain(
            self.specs
                .iter()
                .flat_map(|directory| in_specs.map(|kind| (directory, kind))),
        );
        places
            .flat_map(|(directory, kind)| {
                let file = format!("{name}.{}", kind.extension());
                let nested = directory.join(name).join(&file);
                [directory.join(file), nested].map(|path| Candidate { path, kind })
            })
            .collect()
    }
}

/// What a file that announces a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    Spec,
    Json,
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Socket => "sock",
            Self::Spec => "spec",
            Self::Json => "json",
        }
    }

    /// Whether a file can be one of this kind.
    fn is(self, file: &fs::Metadata) -> bool {
        match self {
            Self::Socket => file.file_type().is_socket(),
            Self::Spec | Self::Json => !file.is_dir(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    kind: Kind,
}

/// Where a plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginAddress {
    /// The address.
    pub address: Address,
    /// The file that tells it; none if a configuration does.
    pub file: Option<PathBuf>,
    /// What the administrator should know about it.
    pub notes: Vec<String>,
}

impl PluginAddress {
    /// The one that a configuration names: `unix:///path`, `tcp://`, `http://` or `https://host:port`.
    /// Without a TLS configuration `https` takes the word of the authorities that the system knows.
    ///
    /// # Errors
    /// [`Cause::Address`]: it makes no sense.
    pub fn parse(url: &str, tls: Option<&TlsConf>) -> Result<Self, Cause> {
        let tls = tls.map_or(Ok(TlsConfig::system()), TlsConf::config)?;
        Ok(Self {
            address: Address::parse(url.trim(), &tls)?,
            file: None,
            notes: Vec::new(),
        })
    }
}

/// How a `.json` file, or a configuration, wants TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TlsConf {
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// The authorities, PEM. Empty: any certificate will do, as in Docker.
    #[serde(rename = "CAFile")]
    pub ca_file: String,
    /// Our certificate, PEM.
    pub cert_file: String,
    /// Its key, PEM.
    pub key_file: String,
}

impl TlsConf {
    fn config(&self) -> Result<TlsConfig, Cause> {
        let trust = if self.insecure_skip_verify || self.ca_file.is_empty() {
            Trust::Anybody
        } else {
            Trust::File(PathBuf::from(&self.ca_file))
        };
        let identity = match (self.cert_file.as_str(), self.key_file.as_str()) {
            ("", "") => None,
            ("", _) | (_, "") => {
                let why = "TLSConfig: CertFile and KeyFile need each other";
                return Err(Cause::Address(why.to_owned()));
            }
            (certificate, key) => Some(Identity {
                certificate: certificate.into(),
                key: key.into(),
            }),
        };
        Ok(TlsConfig { trust, identity })
    }
}

/// A `.json` file. Its `Name` is not the plugin's: the file's is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PluginConf {
    addr: String,
    #[serde(rename = "TLSConfig")]
    tls_config: Option<TlsConf>,
}

/// What a `.spec` file says. Docker verifies nobody's certificate then.
fn parse_spec(text: &[u8]) -> Result<Address, Cause> {
    let text = String::from_utf8_lossy(text);
    Ok(Address::parse(text.trim(), &TlsConfig::unverified())?)
}

/// What a `.json` file says.
fn parse_json(text: &[u8]) -> Result<Address, Cause> {
    let conf: PluginConf = wire::decode(text).map_err(|error| Cause::Address(error.to_string()))?;
    Ok(PluginAddress::parse(&conf.addr, conf.tls_config.as_ref())?.address)
}

/// Finds the plugin of a name.
///
/// # Errors
/// [`Cause::NotFound`]: there is none. [`Cause::Address`]: what there is cannot be read, makes no
/// sense, or the name is none.
pub fn find(name: &str, directories: &Directories) -> Result<PluginAddress, Cause> {
    if !is_name(name) {
        return Err(Cause::Address(format!(
            "{name:?} is no name of a plugin: it becomes a file's name, without '/' and not \
             beginning with '.'"
        )));
    }
    let mut looked = Vec::new();
    for Candidate { path, kind } in directories.candidates(name) {
        let there = fs::metadata(&path).is_ok_and(|file| kind.is(&file));
        looked.push(path.clone());
        if there {
            return Ok(PluginAddress {
                address: read(&path, kind)?,
                notes: notes(name, &looked),
                file: Some(path),
            });
        }
    }
    Err(Cause::NotFound { looked })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn read(path: &Path, kind: Kind) -> Result<Address, Cause> {
    let parse = match kind {
        Kind::Socket => return Ok(Address::unix(path)?),
        Kind::Spec => parse_spec,
        Kind::Json => parse_json,
    };
    fs::read(path)
        .map_err(|error| Cause::Address(error.to_string()))
        .and_then(|text| parse(&text))
        .map_err(|cause| Cause::Address(format!("{}: {cause}", path.display())))
}

/// Tells of directories in which anybody could have put a plugin of that name.
fn notes(name: &str, looked: &[PathBuf]) -> Vec<String> {
    let mut directories: Vec<&Path> = Vec::new();
    for directory in looked.iter().filter_map(|path| path.parent()) {
        let open = fs::metadata(directory).is_ok_and(|file| file.mode() & WORLD_WRITABLE != 0);
        if open && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
        .into_iter()
        .map(|directory| {
            format!(
                "{} is writable by everybody: any user can pose as plugin {name}",
                directory.display()
            )
        })
        .collect()
}

/// The names of all plugins that announce themselves, whether they can be reached or not.
///
/// # Errors
/// A directory that exists cannot be read.
pub fn list(directories: &Directories) -> io::Result<BTreeSet<String>> {
    let mut names = list_in(&directories.sockets, &[Kind::Socket])?;
    for directory in &directories.specs {
        names.extend(list_in(directory, &[Kind::Spec, Kind::Json])?);
    }
    Ok(names)
}

fn list_in(directory: &Path, kinds: &[Kind]) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        names.extend(announced(&entry?.path(), kinds));
    }
    Ok(names)
}

/// The plugin that a file, or a subdirectory, announces.
fn announced(path: &Path, kinds: &[Kind]) -> Option<String> {
    let is_any = |path: &Path, kind: &Kind| fs::metadata(path).is_ok_and(|file| kind.is(&file));
    let name = if path.is_dir() {
        let name = path.file_name()?.to_str()?;
        kinds
            .iter()
            .find(|kind| is_any(&path.join(format!("{name}.{}", kind.extension())), kind))?;
        name
    } else {
        let extension = path.extension()?.to_str()?;
        kinds
            .iter()
            .find(|kind| kind.extension() == extension && is_any(path, kind))?;
        path.file_stem()?.to_str()?
    };
    is_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
