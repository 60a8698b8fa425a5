//! The operations on networks ([specification, section 3]).
//!
//! [specification, section 3]: https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-3-execution-of-network-configurations

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use cni_types::config::ValidAttachment;
use cni_types::{CniResult, Command, Json, ResultError, SpecVersion};

use crate::cache::{Cache, CacheEntry, Durability};
use crate::error::{ErrorList, RuntimeError, Undo};
use crate::invoke::{Answer, Invoker, PluginCause, PluginError, parse_answer};
use crate::netns;
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

    /// Attaches the target: every plugin in order, each with the result of the one before.
    ///
    /// While it runs, the cache has an entry without result, so that GC and `del` know of it if
    /// this process dies.
    ///
    /// # Errors
    /// A plugin or the cache failed. What had been done was undone by DEL, unless the interface
    /// existed before; the error tells both.
    pub fn add(&self, network: &Network, target: &Target) -> Result<Added, RuntimeError> {
        let netns = target.netns.as_deref().ok_or(RuntimeError::NoNetns)?;
        for plugin in network.plugins() {
            let found = self.invoker.find(plugin.plugin_type());
            found.map_err(|cause| failed(plugin, Command::Add, cause))?;
        }
        let attachment = target.attachment(network.name());
        let before = self.cache.load(&attachment)?;
        let may_undo = match &before {
            Some(entry) => entry.result.is_none(),
            None => !netns::has_interface(netns, &target.ifname),
        };
        let mut entry = entry_of(network, target);
        if before.is_none() {
            self.cache
                .store(&attachment, &entry, Durability::Volatile)?;
        }
        let mut chain = Chain::default();
        let added = self.run_adds(network, target, &mut chain).and_then(|last| {
            entry.result = Some(last.document.clone());
            self.cache.store(&attachment, &entry, Durability::Durable)?;
            Ok(last)
        });
        match added {
            Ok(Answer { result, document }) => Ok(Added {
                result,
                version: network.version(),
                document,
            }),
            Err(failure) => {
                let undo = self.undo(network, target, &chain, may_undo);
                if before.is_none() && !matches!(undo, Undo::Failed(_)) {
                    // The failure is what matters.
                    let _stale_entry = self.cache.remove(&attachment);
                }
                Err(RuntimeError::Add {
                    failure: Box::new(failure),
                    undo,
                })
            }
        }
    }

    /// Detaches the target: every plugin in reverse order, each with the result of the ADD. All of
    /// them are called, whatever the others do. The cached result goes when all have succeeded.
    ///
    /// # Errors
    /// Plugins failed; each is told.
    pub fn del(&self, network: &Network, target: &Target) -> Result<(), RuntimeError> {
        let attachment = target.attachment(network.name());
        let mut errors = ErrorList::default();
        let cached = self.cache.load(&attachment).unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        let target = completed(target, cached.as_ref());
        let prev_result = cached
            .and_then(|entry| entry.result)
            .and_then(|result| parse_answer(&result, network.version()).ok())
            .map(|answer| answer.document);
        let plugins = network.plugins().iter().rev();
        self.run_dels(network, plugins, &target, prev_result, &mut errors);
        if errors.is_empty() {
            if let Err(error) = self.cache.remove(&attachment) {
                errors.push(error);
            }
        }
        errors.into_result()
    }

    /// Has every plugin compare what is there with the result of the ADD.
    ///
    /// # Errors
    /// The version has no CHECK, no result is known, or a plugin found a difference; the plugins
    /// behind it are not called.
    pub fn check(&self, network: &Network, target: &Target) -> Result<Checked, RuntimeError> {
        let version = network.version();
        if !version.has_check() {
            return Err(RuntimeError::NoCheck { version });
        }
        if network.disable_check() {
            return Ok(Checked::Disabled);
        }
        let attachment = target.attachment(network.name());
        let no_result = || RuntimeError::NoResult {
            file: self.cache.file(&attachment),
        };
        let cached = self.cache.load(&attachment)?.ok_or_else(no_result)?;
        let target = completed(target, Some(&cached));
        if target.netns.is_none() {
            return Err(RuntimeError::NoNetns);
        }
        let result = cached.result.ok_or_else(no_result)?;
        let prev_result = parse_answer(&result, version)
            .map_err(|_broken| no_result())?
            .document;
        for plugin in network.plugins() {
            let request = request::for_attachment(
                network,
                plugin,
                Some(&prev_result),
                &target.capability_args,
            );
            self.run(plugin, Command::Check, &request, Some(&target))?;
        }
        Ok(Checked::Passed)
    }

    /// The cached attachments of the network whose namespace still exists, or is not known. All
    /// runtimes that use this cache are in it.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn live_attachments(&self, network: &Network) -> Result<Vec<CacheEntry>, RuntimeError> {
        let mut entries = self.attachments_of(network)?;
        entries.retain(|entry| entry.netns.is_empty() || netns::is_namespace(entry.netns.as_ref()));
        Ok(entries)
    }

    /// The cached attachments of the network that are not among `valid`: what [`Runtime::gc`]
    /// deletes.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn stale_attachments(
        &self,
        network: &Network,
        valid: &[ValidAttachment],
    ) -> Result<Vec<CacheEntry>, RuntimeError> {
        let valid: HashSet<_> = valid
            .iter()
            .map(|valid| (valid.container_id.as_str(), valid.ifname.as_str()))
            .collect();
        let mut entries = self.attachments_of(network)?;
        entries.retain(|e| !valid.contains(&(e.container_id.as_str(), e.ifname.as_str())));
        Ok(entries)
    }

    /// Deletes all cached attachments that are not in `valid`, then has the plugins remove whatever
    /// else of this network does not belong to one of them.
    ///
    /// # Errors
    /// Deletions or plugins failed, or the cache cannot be read; the others were done all the same.
    pub fn gc(
        &self,
        network: &Network,
        valid: &[ValidAttachment],
    ) -> Result<Collected, RuntimeError> {
        let mut collected = Collected {
            disabled: network.disable_gc(),
            ..Collected::default()
        };
        if collected.disabled {
            return Ok(collected);
        }
        let mut errors = ErrorList::default();
        for entry in self.stale_attachments(network, valid)? {
            match target_of(&entry).map(|target| self.del(network, &target)) {
                Some(Ok(())) => collected.deleted.push(entry),
                Some(Err(error)) => errors.push(error),
                // Not a name that any ADD of ours or libcni's would take.
                None => {}
            }
        }
        collected.plugins_called = network.version().has_gc();
        if collected.plugins_called {
            for plugin in network.plugins() {
                let request = request::for_gc(network, plugin, valid);
                if let Err(error) = self.run(plugin, Command::Gc, &request, None) {
                    errors.push(error);
                }
            }
        }
        errors.into_result().map(|()| collected)
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

    fn run_adds<'a>(
        &self,
        network: &'a Network,
        target: &Target,
        chain: &mut Chain<'a>,
    ) -> Result<Answer, RuntimeError> {
        let mut last = None::<Answer>;
        for plugin in network.plugins() {
            chain.called.push(plugin);
            let prev = last.as_ref().map(|answer| &answer.document);
            let request = request::for_attachment(network, plugin, prev, &target.capability_args);
            let answer = self
                .invoker
                .add(plugin.plugin_type(), &request, target, network.version())
                .map_err(|cause| failed(plugin, Command::Add, cause))?;
            chain.result = Some(answer.document.clone());
            last = Some(answer);
        }
        // A network has at least one plugin.
        Ok(last.unwrap_or_else(|| Answer {
            result: CniResult::default(),
            document: Json::Null,
        }))
    }

    fn undo(&self, network: &Network, target: &Target, chain: &Chain<'_>, may_undo: bool) -> Undo {
        if chain.called.is_empty() {
            return Undo::Nothing;
        }
        if !may_undo {
            return Undo::NotTried;
        }
        let mut errors = ErrorList::default();
        let plugins = chain.called.iter().rev().copied();
        self.run_dels(network, plugins, target, chain.result.clone(), &mut errors);
        if errors.is_empty() {
            Undo::Done
        } else {
            Undo::Failed(errors)
        }
    }

    fn run_dels<'a>(
        &self,
        network: &Network,
        plugins: impl Iterator<Item = &'a Plugin>,
        target: &Target,
        prev_result: Option<Json>,
        errors: &mut ErrorList,
    ) {
        // Before 0.4.0 DEL knows of no result.
        let prev_result = prev_result.filter(|_| network.version().has_check());
        for plugin in plugins {
            let request = request::for_attachment(
                network,
                plugin,
                prev_result.as_ref(),
                &target.capability_args,
            );
            if let Err(error) = self.run(plugin, Command::Del, &request, Some(target)) {
                errors.push(error);
            }
        }
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

    fn attachments_of(&self, network: &Network) -> Result<Vec<CacheEntry>, RuntimeError> {
        let mut entries = self.cache.entries()?;
        entries.retain(|entry| entry.network == network.name().as_str());
        Ok(entries)
    }
}

/// How far an ADD has come.
#[derive(Debug, Default)]
struct Chain<'a> {
    called: Vec<&'a Plugin>,
    result: Option<Json>,
}

/// Whether a plugin with these versions can run in the network.
///
/// # Errors
/// It cannot.
pub(crate) fn accepts(
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

fn entry_of(network: &Network, target: &Target) -> CacheEntry {
    let netns = target.netns.as_deref().unwrap_or("".as_ref());
    CacheEntry {
        container_id: target.container_id.to_string(),
        config: network.source().to_owned(),
        ifname: target.ifname.to_string(),
        network: network.name().to_string(),
        netns: netns.to_string_lossy().into_owned(),
        args: target.args.clone(),
        capability_args: target.capability_args.clone(),
        result: None,
    }
}

/// The target of a cached attachment; none when its names are not valid.
fn target_of(entry: &CacheEntry) -> Option<Target> {
    let target = Target {
        container_id: entry.container_id.parse().ok()?,
        netns: None,
        ifname: entry.ifname.parse().ok()?,
        args: Vec::new(),
        capability_args: Vec::new(),
    };
    Some(completed(&target, Some(entry)))
}

/// The target with what was said at the ADD, where nothing else is said now: a DEL of port
/// mappings has to know which ones.
fn completed(target: &Target, cached: Option<&CacheEntry>) -> Target {
    let mut target = target.clone();
    let Some(cached) = cached else {
        return target;
    };
    if target.netns.is_none() && !cached.netns.is_empty() {
        target.netns = Some(cached.netns.clone().into());
    }
    if target.args.is_empty() {
        target.args.clone_from(&cached.args);
    }
    if target.capability_args.is_empty() {
        target.capability_args.clone_from(&cached.capability_args);
    }
    target
}
