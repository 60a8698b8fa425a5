//! `up` and `down`: a namespace and its networks at once.

use anyhow::{Context as _, bail};
use cnitool::{Added, CacheEntry, Catalog, Network, Target, chain, netns};
use serde_json::json;

use super::attachment::{attached, title};
use super::report::{Report, describe};
use super::settings::Settings;

/// Makes the namespace unless it is one of ours already, and attaches it. A failure takes the
/// namespace away again.
pub(crate) fn up(settings: &Settings, name: &str, network: Option<&str>) -> anyhow::Result<Report> {
    let path = netns::path_of(name)?;
    let catalog = settings.catalog()?;
    let network = match network {
        Some(network) => catalog.find(network)?,
        None => catalog.first()?,
    };
    let target = settings.target(&path);
    let known = attachments_of(settings, &target)?;
    let is_new = !netns::is_namespace(&path);
    if is_new {
        // Left by a crash or a restart: its addresses must be free again, its file out of the way.
        detach(settings, &catalog, &target, &known)?;
        netns::remove(name)?;
        netns::create(name)?;
    } else if this_attachment(&known, network, &target).is_some() {
        return up_already(settings, name, network, &target);
    } else if known.is_empty() {
        bail!(
            "network namespace {} exists already, and not through `cnitool up`: \
             `cnitool add {} {}` attaches it",
            path.display(),
            network.name(),
            path.display()
        );
    }
    match settings.runtime.add(network, &target) {
        Ok(added) => Ok(up_report("is up", name, network, &target, &added)),
        Err(error) if is_new => match netns::remove(name) {
            Ok(_) => Err(error.into()),
            Err(also) => Err(anyhow::Error::from(error).context(format!(
                "the new namespace could not be removed ({})",
                chain(&also)
            ))),
        },
        Err(error) => Err(error.into()),
    }
}

/// Detaches from every network that is known of, and removes the namespace in any case: what could
/// not be detached stays in the cache for another try.
pub(crate) fn down(
    settings: &Settings,
    name: &str,
    network: Option<&str>,
) -> anyhow::Result<Report> {
    let path = netns::path_of(name)?;
    let catalog = settings.catalog()?;
    let target = settings.target(&path);
    let mut known = attachments_of(settings, &target)?;
    if let Some(network) = network {
        let network = catalog.find(network)?;
        if this_attachment(&known, network, &target).is_none() {
            known.push(CacheEntry {
                container_id: target.container_id.to_string(),
                ifname: target.ifname.to_string(),
                network: network.name().to_string(),
                ..CacheEntry::default()
            });
        }
    }
    let detached = detach(settings, &catalog, &target, &known);
    let removed = netns::remove(name);
    detached?;
    let existed = removed? || !known.is_empty();
    let networks: Vec<_> = known.iter().map(|entry| entry.network.as_str()).collect();
    let text = match (existed, networks.as_slice()) {
        (false, _) => format!("{name} is down already\n"),
        (true, []) => format!("{name} is down: no network was known; namespace removed\n"),
        (true, names) => format!(
            "{name} is down: left {}; namespace removed\n",
            names.join(", ")
        ),
    };
    Ok(Report::new(
        text,
        json!({"name": name, "netns": path, "networks": networks, "existed": existed}),
    ))
}

/// Deletes these attachments, all that can be.
fn detach(
    settings: &Settings,
    catalog: &Catalog,
    target: &Target,
    known: &[CacheEntry],
) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for entry in known {
        if let Err(error) = detach_one(settings, catalog, target, entry) {
            failures.push(error);
        }
    }
    match failures.len() {
        0 | 1 => failures.pop().map_or(Ok(()), Err),
        _ => {
            let texts: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
            bail!("{}", texts.join("; also: "))
        }
    }
}

fn detach_one(
    settings: &Settings,
    catalog: &Catalog,
    target: &Target,
    entry: &CacheEntry,
) -> anyhow::Result<()> {
    let network = Settings::network_to_leave(catalog, &entry.network, Some(entry))?;
    let mut target = target.clone();
    target.ifname = entry.ifname.parse().context("cached interface name")?;
    // What the variables say is about the attachment to make; these were made before.
    target.args.clear();
    target.capability_args.clear();
    Ok(settings.runtime.del(&network, &target)?)
}

fn attachments_of(settings: &Settings, target: &Target) -> anyhow::Result<Vec<CacheEntry>> {
    let mut entries = settings.runtime.cache().entries()?;
    entries.retain(|entry| entry.container_id == target.container_id.as_str());
    Ok(entries)
}

fn this_attachment<'a>(
    known: &'a [CacheEntry],
    network: &Network,
    target: &Target,
) -> Option<&'a CacheEntry> {
    let attachment = target.attachment(network.name());
    known.iter().find(|entry| entry.is_of(&attachment))
}

fn up_already(
    settings: &Settings,
    name: &str,
    network: &Network,
    target: &Target,
) -> anyhow::Result<Report> {
    let added = settings.runtime.cached(network, target).map_err(|error| {
        let advice = format!("`cnitool down {name}` cleans up what an earlier `up` left");
        anyhow::Error::from(error).context(advice)
    })?;
    Ok(up_report("is up already", name, network, target, &added))
}

fn up_report(state: &str, name: &str, network: &Network, target: &Target, added: &Added) -> Report {
    let title = title(network, target);
    let description = describe(&added.result);
    Report::new(
        format!("{name} {state}: {title}\n{description}"),
        attached(network, target, added.document()),
    )
}
