//! GC: what does not belong to a valid attachment goes.

use std::collections::HashSet;

use cni_types::Command;
use cni_types::config::ValidAttachment;

use super::attach::completed;
use super::{Collected, Runtime};
use crate::cache::CacheEntry;
use crate::error::{ErrorList, RuntimeError};
use crate::netns;
use crate::network::Network;
use crate::request;
use crate::target::Target;

impl Runtime {
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

    fn attachments_of(&self, network: &Network) -> Result<Vec<CacheEntry>, RuntimeError> {
        let mut entries = self.cache.entries()?;
        entries.retain(|entry| entry.network == network.name().as_str());
        Ok(entries)
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
