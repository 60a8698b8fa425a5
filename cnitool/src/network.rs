//! A network configuration: which plugins, in which order, at which version.
//!
//! Parsing is pure and is the only validation ([specification, section 1]).
//!
//! [specification, section 1]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-1-network-configuration-format

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cni_types::{Json, JsonError, NetworkName, SpecVersion, config, parse_numbers};

/// What is wrong with a configuration, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConfigError {
    /// The JSON path of the offending value, as `plugins[1].type`.
    pub path: String,
    /// What is wrong with it, with the value.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }

    /// The same error, seen from the document that has the value at `outer`.
    fn below(self, outer: &str) -> Self {
        Self::new(format!("{outer}.{}", self.path), self.problem)
    }
}

/// One plugin of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    plugin_type: String,
    capabilities: BTreeMap<String, bool>,
    config: Json,
}

impl Plugin {
    /// Checks one plugin object.
    ///
    /// # Errors
    /// `type` or `capabilities` is not usable.
    pub fn parse(config: &Json) -> Result<Self, ConfigError> {
        if !matches!(config, Json::Object(_)) {
            return Err(ConfigError::new("type", "is missing: not an object"));
        }
        let plugin_type = match config.get("type") {
            Some(Json::String(text)) if !text.is_empty() => text,
            None | Some(Json::Null | Json::String(_)) => {
                return Err(ConfigError::new(
                    "type",
                    "is missing: it names the plugin's binary",
                ));
            }
            Some(other) => {
                return Err(ConfigError::new("type", format!("{other} is not a string")));
            }
        };
        if plugin_type.contains('/') {
            let problem = format!("{plugin_type:?} is a path, not the name of a binary");
            return Err(ConfigError::new("type", problem));
        }
        let capabilities = match config.get("capabilities") {
            None | Some(Json::Null) => BTreeMap::new(),
            Some(map) => map.decode().map_err(|error| at("capabilities", &error))?,
        };
        Ok(Self {
            plugin_type: plugin_type.clone(),
            capabilities,
            config: config.clone(),
        })
    }

    /// The name of its binary.
    #[must_use]
    pub fn plugin_type(&self) -> &str {
        &self.plugin_type
    }

    /// Whether it declares that it takes the capability argument `name`.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.capabilities.get(name) == Some(&true)
    }

    /// The capability arguments that it takes.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        let declared = self.capabilities.iter().filter(|(_, takes)| **takes);
        declared.map(|(name, _)| name.as_str())
    }

    /// Its object as it was written.
    #[must_use]
    pub fn config(&self) -> &Json {
        &self.config
    }
}

/// A network configuration that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    name: NetworkName,
    version: SpecVersion,
    disable_check: bool,
    disable_gc: bool,
    plugins: Vec<Plugin>,
    source: Vec<u8>,
    file: Option<PathBuf>,
}

/// A list as it stands in its file: plugins may be missing, that a sibling directory has.
#[derive(Debug)]
pub(crate) struct ParsedList {
    pub(crate) network: Network,
    pub(crate) only_inlined: bool,
    document: Json,
}

impl Network {
    /// Parses a network configuration list that has all of its plugins inlined.
    ///
    /// # Errors
    /// Not JSON, or not a network configuration list.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        ParsedList::parse(text)?.with_plugins(Vec::new())
    }

    /// Wraps a plugin's own configuration, as they were before lists (0.2.0), into a list.
    ///
    /// # Errors
    /// Not JSON, or not a plugin's configuration.
    pub fn parse_single(text: &[u8]) -> Result<Self, ConfigError> {
        let document = parse_json(text)?;
        let plugin = Plugin::parse(&document).map_err(|error| {
            if document.get("plugins").is_some() {
                let problem = "is missing; this is a list: its file name must end in .conflist";
                ConfigError::new("type", problem)
            } else {
                error
            }
        })?;
        let name = parse_name(&document)?;
        let version = parse_version(&document)?;
        let list = Json::Object(vec![
            ("cniVersion".into(), Json::String(version.to_string())),
            ("name".into(), Json::String(name.to_string())),
            ("plugins".into(), Json::Array(vec![document])),
        ]);
        Ok(Self {
            name,
            version,
            disable_check: false,
            disable_gc: false,
            plugins: vec![plugin],
            source: list.to_string().into_bytes(),
            file: None,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// The protocol version to speak: the highest of `cniVersion` and `cniVersions` that this
    /// library knows.
    #[must_use]
    pub fn version(&self) -> SpecVersion {
        self.version
    }

    /// Whether CHECK must not be called.
    #[must_use]
    pub fn disable_check(&self) -> bool {
        self.disable_check
    }

    /// Whether GC must not be called.
    #[must_use]
    pub fn disable_gc(&self) -> bool {
        self.disable_gc
    }

    /// Its plugins, in the order of ADD.
    #[must_use]
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The list as it goes into the cache: a document that [`Network::parse`] takes.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// The file it was loaded from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub(crate) fn loaded_from(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }
}

impl ParsedList {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let document = parse_json(text)?;
        let only_inlined = parse_bool(&document, "loadOnlyInlinedPlugins")?;
        let network = Network {
            name: parse_name(&document)?,
            version: parse_version(&document)?,
            disable_check: parse_bool(&document, "disableCheck")?,
            disable_gc: parse_bool(&document, "disableGC")?,
            plugins: parse_plugins(&document, only_inlined)?,
            source: text.to_owned(),
            file: None,
        };
        Ok(Self {
            network,
            only_inlined,
            document,
        })
    }

    /// Appends what the sibling directory had. The source then has all plugins inlined: a later
    /// DEL from the cache must not depend on files that may have changed.
    pub(crate) fn with_plugins(mut self, more: Vec<Plugin>) -> Result<Network, ConfigError> {
        if !more.is_empty() {
            self.network.plugins.extend(more);
            let all = self.network.plugins.iter().map(|p| p.config.clone());
            let all = Json::Array(all.collect());
            self.document.set("plugins", all);
            self.document
                .set("loadOnlyInlinedPlugins", Json::Bool(true));
            self.network.source = self.document.to_string().into_bytes();
        }
        if self.network.plugins.is_empty() {
            let problem = "is missing, and no sibling directory has plugins";
            return Err(ConfigError::new("plugins", problem));
        }
        Ok(self.network)
    }
}

/// A decoding error below `key`. Its text begins with the path that it knows.
fn at(key: &str, error: &JsonError) -> ConfigError {
    let text = error.to_string();
    let path = error.path();
    let problem = text.strip_prefix(path).unwrap_or(&text);
    let problem = problem.strip_prefix(": ").unwrap_or(problem);
    let dot = if path.is_empty() || path.starts_with('[') {
        ""
    } else {
        "."
    };
    ConfigError::new(format!("{key}{dot}{path}"), problem)
}

pub(crate) fn parse_json(text: &[u8]) -> Result<Json, ConfigError> {
    let document = Json::parse(text)
        .map_err(|error| ConfigError::new("$", format!("is not JSON: {error}")))?;
    if matches!(document, Json::Object(_)) {
        Ok(document)
    } else {
        Err(ConfigError::new("$", "is not an object"))
    }
}

fn parse_name(document: &Json) -> Result<NetworkName, ConfigError> {
    match document.get("name") {
        Some(Json::String(name)) => name
            .parse()
            .map_err(|why| ConfigError::new("name", format!("{name:?} {why}"))),
        None | Some(Json::Null) => Err(ConfigError::new("name", "is missing")),
        Some(other) => Err(ConfigError::new("name", format!("{other} is not a string"))),
    }
}

/// The highest common version. What `cniVersions` has beyond ours is for newer runtimes; alone,
/// `cniVersion` has to be known.
fn parse_version(document: &Json) -> Result<SpecVersion, ConfigError> {
    let single = config::version_text(document)
        .map_err(|_not_text| ConfigError::new("cniVersion", "is not a string"))?;
    let list = match document.get("cniVersions") {
        None | Some(Json::Null) => {
            return single
                .parse()
                .map_err(|_unknown| unsupported("cniVersion", &[single]));
        }
        Some(Json::Array(list)) => list,
        Some(other) => {
            let problem = format!("{other} is not an array");
            return Err(ConfigError::new("cniVersions", problem));
        }
    };
    let mut offered = Vec::with_capacity(list.len() + 1);
    for (index, version) in list.iter().enumerate() {
        let is_version = |text: &&str| parse_numbers(text).is_some();
        let text = version.as_str().filter(is_version).ok_or_else(|| {
            let path = format!("cniVersions[{index}]");
            ConfigError::new(path, format!("{version} is not a version"))
        })?;
        offered.push(text);
    }
    // A list without `cniVersion` does not offer 0.1.0 by that.
    if document.get("cniVersion").is_some() || offered.is_empty() {
        offered.push(single);
    }
    let known = offered.iter().filter_map(|text| text.parse().ok());
    known
        .max()
        .ok_or_else(|| unsupported("cniVersions", &offered))
}

fn unsupported(path: &str, offered: &[&str]) -> ConfigError {
    let ours: Vec<_> = SpecVersion::ALL.iter().map(|v| v.as_str()).collect();
    let problem = format!(
        "{} is not supported; supported are {}",
        offered.join(", "),
        ours.join(", ")
    );
    ConfigError::new(path, problem)
}

/// libcni takes a boolean, and its name as a string in any case.
fn parse_bool(document: &Json, key: &str) -> Result<bool, ConfigError> {
    match document.get(key) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(value)) => Ok(*value),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(ConfigError::new(
            key,
            format!("{other} is neither true nor false"),
        )),
    }
}

fn parse_plugins(document: &Json, only_inlined: bool) -> Result<Vec<Plugin>, ConfigError> {
    let list = match document.get("plugins") {
        None | Some(Json::Null) if only_inlined => {
            let problem = "is missing, and loadOnlyInlinedPlugins is true";
            return Err(ConfigError::new("plugins", problem));
        }
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(list)) if list.is_empty() => {
            return Err(ConfigError::new("plugins", "is empty"));
        }
        Some(Json::Array(list)) => list,
        Some(other) => {
            return Err(ConfigError::new(
                "plugins",
                format!("{other} is not an array"),
            ));
        }
    };
    let parse = |(index, config): (usize, &Json)| {
        Plugin::parse(config).map_err(|error| error.below(&format!("plugins[{index}]")))
    };
    list.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests;
