//! ADD, DEL and CHECK of one attachment.

use cni_types::{CniResult, Command, Json};

use super::{Added, Checked, Runtime, failed};
use crate::cache::{CacheEntry, Durability};
use crate::error::{ErrorList, RuntimeError, Undo};
use crate::invoke::{Answer, parse_answer};
use crate::netns;
use crate::network::{Network, Plugin};
use crate::request;
use crate::target::Target;

/// How far an ADD has come.
#[derive(Debug, Default)]
struct Chain<'a> {
    called: Vec<&'a Plugin>,
    result: Option<Json>,
}

impl Runtime {
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
        added
            .map(|answer| Added::new(answer, network.version()))
            .map_err(|failure| {
                let undo = self.undo(network, target, &chain, may_undo);
                let has_result = before.is_some_and(|entry| entry.result.is_some());
                if !has_result && !matches!(undo, Undo::Failed(_)) {
                    // The failure is what matters.
                    let _stale_entry = self.cache.remove(&attachment);
                }
                let failure = Box::new(failure);
                RuntimeError::Add { failure, undo }
            })
    }

    /// Detaches the target: every plugin in reverse order, each with the result of the ADD. All of
    /// them are called, whatever the others do. The cached result goes when all have succeeded.
    ///
    /// # Errors
    /// Plugins failed; each is told.
    pub fn del(&self, network: &Network, target: &Target) -> Result<(), RuntimeError> {
        let attachment = target.attachment(network.name());
        let (cached, unreadable) = match self.cache.load(&attachment) {
            Ok(cached) => (cached, None),
            Err(error) => (None, Some(error)),
        };
        let target = completed(target, cached.as_ref());
        let prev_result = cached
            .and_then(|entry| entry.result)
            .and_then(|result| parse_answer(&result, network.version()).ok())
            .map(|answer| answer.document);
        let plugins = network.plugins().iter().rev();
        let mut errors = self.run_dels(network, plugins, &target, prev_result);
        if let Some(error) = unreadable {
            errors.push(error);
        }
        if errors.is_empty() {
            self.cache.remove(&attachment)?;
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
        let prev_result = self.cached(network, target)?.document;
        let attachment = target.attachment(network.name());
        let target = completed(target, self.cache.load(&attachment)?.as_ref());
        if target.netns.is_none() {
            return Err(RuntimeError::NoNetns);
        }
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

    /// The result of the target's ADD, as a result of the network's version.
    ///
    /// # Errors
    /// None is known, or not a whole one.
    pub fn cached(&self, network: &Network, target: &Target) -> Result<Added, RuntimeError> {
        let attachment = target.attachment(network.name());
        let version = network.version();
        let cached = self.cache.load(&attachment)?;
        let answer = cached
            .and_then(|entry| entry.result)
            .and_then(|result| parse_answer(&result, version).ok())
            .ok_or_else(|| RuntimeError::NoResult {
                file: self.cache.file(&attachment),
            })?;
        Ok(Added::new(answer, version))
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
        let plugins = chain.called.iter().rev().copied();
        let errors = self.run_dels(network, plugins, target, chain.result.clone());
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
    ) -> ErrorList {
        let mut errors = ErrorList::default();
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
        errors
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

/// The target with what was said at the ADD, where nothing else is said now: a DEL of port
/// mappings has to know which ones.
pub(super) fn completed(target: &Target, cached: Option<&CacheEntry>) -> Target {
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
