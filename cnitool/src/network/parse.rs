//! From JSON to a [`Network`].

use cni_types::{Json, JsonError, NetworkName, SpecVersion, config, parse_numbers};

use super::{ConfigError, Network, Plugin};

/// A list as it stands in its file: plugins may be missing, that a sibling directory has.
#[derive(Debug)]
pub(crate) struct ParsedList {
    pub(crate) network: Network,
    pub(crate) only_inlined: bool,
    document: Json,
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
pub(super) fn at(key: &str, error: &JsonError) -> ConfigError {
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

pub(super) fn parse_name(document: &Json) -> Result<NetworkName, ConfigError> {
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
pub(super) fn parse_version(document: &Json) -> Result<SpecVersion, ConfigError> {
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
