//! The operations on networks ([specification, section 3]).
//!
//! [specification, section 3]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-3-execution-of-network-configurations

mod attach;
mod collect;

use std::collections::BTreeSet;
use std::path::PathBuf;

use cni_types::{CniResult, Command, Json, ResultError, SpecVersion};

use crate::cache::{Cache, CacheEntry};
use crate::error::{ErrorList, RuntimeError};
use crate::invoke::{Answer, Invoker, PluginCause, PluginError};
use crate::network::{Network, Plugin};
use crate::request;
use crate::target::Target;

/// The result of a whole chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// What was made.
    pub result: CniResult,
    version: SpecVersion,
    document: Json,
}

impl Added {
    fn new(answer: Answer, version: SpecVersion) -> Self {
        Self {
            result: answer.result,
            version,
            document: answer.document,
        }
    }

    /// The document of the network's version: indented by four spaces, no newline at the end.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, ResultError> {
        match self.result.to_text(self.version) {
            Err(ResultError::NoAddress) => {
                cni_types::pretty(&self.document).map_err(|e| ResultError::Encode(e.to_string()))
            }
            other => other,
        }
    }

    /// The same document as a tree.
    #[must_use]
    pub fn document(&self) -> &Json {
        &self.document
    }
}

/// What CHECK did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Every plugin found everything as ADD had made it.
    Passed,
    /// The configuration says `disableCheck`: no plugin was called.
    Disabled,
}

/// What STATUS did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Every plugin is ready for an ADD.
    Ready,
    /// The configuration's version has no STATUS: no plugin was called.
    Unknown,
}

/// What GC did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Collected {
    /// The configuration says `disableGC`: nothing was done.
    pub disabled: bool,
    /// Cached attachments that were not valid and have been deleted.
    pub deleted: Vec<CacheEntry>,
    /// Whether the plugins were asked too, which they are from version 1.1.0 on.
    pub plugins_called: bool,
}

/// The protocol versions of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginVersions {
    /// Where its binary is.
    pub binary: PathBuf,
    /// What it supports, as it says.
    pub supported: Vec<String>,
}

/// Runs the plugins of networks, and keeps what they answered.
#[derive(Debug, Clone)]
pub struct Runtime {
    invoker: Invoker,
    cache: Cache,
}

impl Runtime {
    /// Plugins are looked for in these directories, results are kept where libcni keeps them.
    pub fn new<P: Into<PathBuf>>(path: impl IntoIterator<Item = P>) -> Self {
        Self::with(Invoker::new(path), Cache::default())
    }

    /// A runtime with another timeout, or another cache.
    #[must_use]
    pub fn with(invoker: Invoker, cache: Cache) -> Self {
        Self { invoker, cache }
    }

    /// What is known of attachments.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Asks every plugin whether an ADD would work.
    ///
    /// # Errors
    /// The first plugin that is not ready, with its own code.
    pub fn status(&self, network: &Network) -> Result<Status, RuntimeError> {
        if !network.version().has_gc() {
            return Ok(Status::Unknown);
        }
        for plugin in network.plugins() {
            let request = request::base(network, plugin);
            self.run(plugin, Command::Status, &request, None)?;
        }
        Ok(Status::Ready)
    }

    /// Asks a plugin for its protocol versions.
    ///
    /// # Errors
    /// The plugin is missing or does not answer.
    pub fn versions(&self, plugin: &Plugin) -> Result<PluginVersions, PluginError> {
        let plugin_type = plugin.plugin_type();
        let failed = |cause| failed(plugin, Command::Version, cause);
        Ok(PluginVersions {
            binary: self.invoker.find(plugin_type).map_err(failed)?,
            supported: self.invoker.versions(plugin_type).map_err(failed)?,
        })
    }

    /// Checks that every plugin is there and speaks the network's version, and returns the
    /// capabilities that the network takes.
    ///
    /// # Errors
    /// Plugins are missing or speak other versions; each is told.
    pub fn validate(&self, network: &Network) -> Result<Vec<String>, RuntimeError> {
        let mut errors = ErrorList::default();
        for plugin in network.plugins() {
            let accepted = self
                .versions(plugin)
                .and_then(|versions| accepts(network, plugin, &versions));
            if let Err(error) = accepted {
                errors.push(error);
            }
        }
        errors.into_result()?;
        let capabilities = network.plugins().iter().flat_map(Plugin::capabilities);
        let capabilities: BTreeSet<_> = capabilities.map(str::to_owned).collect();
        Ok(capabilities.into_iter().collect())
    }

    fn run(
        &self,
        plugin: &Plugin,
        command: Command,
        request: &Json,
        target: Option<&Target>,
    ) -> Result<(), PluginError> {
        self.invoker
            .run(plugin.plugin_type(), command, request, target)
            .map_err(|cause| failed(plugin, command, cause))
    }
}

/// Whether a plugin with these versions can run in the network.
fn accepts(
    network: &Network,
    plugin: &Plugin,
    versions: &PluginVersions,
) -> Result<(), PluginError> {
    let wanted = network.version();
    if versions.supported.iter().any(|v| v == wanted.as_str()) {
        return Ok(());
    }
    let supported = versions.supported.clone();
    let cause = PluginCause::Version { wanted, supported };
    Err(failed(plugin, Command::Version, cause))
}

fn failed(plugin: &Plugin, command: Command, cause: PluginCause) -> PluginError {
    PluginError {
        plugin: plugin.plugin_type().to_owned(),
        command,
        cause,
    }
}
