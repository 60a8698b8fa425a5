//! A network configuration: which plugins, in which order, at which version.
//!
//! Parsing is pure and is the only validation ([specification, section 1]).
//!
//! [specification, section 1]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-1-network-configuration-format

mod parse;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cni_types::{Json, NetworkName, SpecVersion};

pub(crate) use parse::{ParsedList, parse_json};
use parse::{at, parse_name, parse_version};

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
    binary: String,
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
            binary: plugin_type.clone(),
            capabilities,
            config: config.clone(),
        })
    }

    /// The name of its binary.
    #[must_use]
    pub fn plugin_type(&self) -> &str {
        &self.binary
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

#[cfg(test)]
mod tests;
