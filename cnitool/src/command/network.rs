//! `gc`, `status` and `version`: the verbs about a network as a whole.

use std::fmt::Write as _;

use anyhow::bail;
use cni_types::SpecVersion;
use cni_types::config::ValidAttachment;
use cnitool::{CacheEntry, Network, Plugin, PluginVersions, Status, chain};
use serde_json::json;

use super::GcArgs;
use super::report::{Report, line};
use super::settings::Settings;

pub(crate) fn gc(settings: &Settings, args: &GcArgs) -> anyhow::Result<Report> {
    let network = settings.network(&args.network)?;
    let valid = valid_attachments(settings, args, &network)?;
    let stale = settings.runtime.stale_attachments(&network, &valid)?;
    if network.disable_gc() {
        return Ok(Report::new(
            format!(
                "network {}: not collected: the configuration says disableGC\n",
                network.name()
            ),
            json!({"gc": "disabled", "network": network.name()}),
        ));
    }
    if args.dry_run {
        let title = format!("network {}: would remove {}", network.name(), count(&stale));
        return Ok(gc_report("dry-run", &title, &network, &valid, &stale));
    }
    let collected = settings.runtime.gc(&network, &valid)?;
    let mut title = format!(
        "network {}: removed {}",
        network.name(),
        count(&collected.deleted)
    );
    if !collected.plugins_called {
        let version = network.version();
        let needed = SpecVersion::V1_1_0;
        // Writing to a String does not fail.
        let _infallible = write!(
            title,
            "; the plugins were not asked to clean up: that needs cniVersion {needed}, and this is {version}"
        );
    }
    Ok(gc_report(
        "done",
        &title,
        &network,
        &valid,
        &collected.deleted,
    ))
}

/// What stays: what `--keep` names and, unless `--all` is given, what has a living namespace.
fn valid_attachments(
    settings: &Settings,
    args: &GcArgs,
    network: &Network,
) -> anyhow::Result<Vec<ValidAttachment>> {
    let all = settings.runtime.stale_attachments(network, &[])?;
    let mut kept = if args.all {
        Vec::new()
    } else {
        settings.runtime.live_attachments(network)?
    };
    let mut valid = Vec::new();
    for named in &args.keep {
        let (container_id, ifname) = match named.split_once('/') {
            Some((_, "") | ("", _)) => {
                bail!("--keep {named}: CONTAINERID/IFNAME is expected")
            }
            Some((id, ifname)) => (id, Some(ifname)),
            None => (named.as_str(), None),
        };
        let known = all
            .iter()
            .filter(|entry| entry.container_id == container_id);
        let mut known = known
            .filter(|e| ifname.is_none_or(|ifname| e.ifname == ifname))
            .peekable();
        if known.peek().is_none() {
            // The plugins may know of it even so.
            valid.push(ValidAttachment {
                container_id: container_id.to_owned(),
                ifname: ifname.unwrap_or(settings.ifname.as_str()).to_owned(),
            });
        }
        kept.extend(known.cloned());
    }
    valid.extend(kept.into_iter().map(|entry| ValidAttachment {
        container_id: entry.container_id,
        ifname: entry.ifname,
    }));
    valid.sort();
    valid.dedup();
    Ok(valid)
}

fn count(entries: &[CacheEntry]) -> String {
    match entries.len() {
        0 => "nothing".to_owned(),
        1 => "1 attachment".to_owned(),
        number => format!("{number} attachments"),
    }
}

fn gc_report(
    state: &str,
    title: &str,
    network: &Network,
    valid: &[ValidAttachment],
    removed: &[CacheEntry],
) -> Report {
    let mut text = format!("{title}\n");
    for entry in removed {
        let value = format!(
            "{} of {} ({})",
            entry.ifname, entry.container_id, entry.netns
        );
        line(&mut text, "removed", &value);
    }
    for kept in valid {
        line(
            &mut text,
            "kept",
            &format!("{} of {}", kept.ifname, kept.container_id),
        );
    }
    let removed = removed.iter().map(|entry| {
        json!({"containerId": entry.container_id, "ifname": entry.ifname, "netns": entry.netns})
    });
    let kept = valid
        .iter()
        .map(|kept| json!({"containerId": kept.container_id, "ifname": kept.ifname}));
    Report::new(
        text,
        json!({"gc": state, "network": network.name(),
                     "removed": removed.collect::<Vec<_>>(), "kept": kept.collect::<Vec<_>>()}),
    )
}

pub(crate) fn status(settings: &Settings, name: &str) -> anyhow::Result<Report> {
    let network = settings.network(name)?;
    let (text, state) = match settings.runtime.status(&network)? {
        Status::Ready => {
            let plugins: Vec<_> = network.plugins().iter().map(Plugin::plugin_type).collect();
            (format!("ready ({})", plugins.join(", ")), "ready")
        }
        Status::Unknown => {
            let version = network.version();
            let needed = SpecVersion::V1_1_0;
            let text = format!("unknown: STATUS needs cniVersion {needed}, and this is {version}");
            (text, "unknown")
        }
    };
    Ok(Report::new(
        format!("network {name}: {text}\n"),
        json!({"status": state, "network": name}),
    ))
}

/// Every plugin is told of, the ones that cannot run in the network with the reason.
pub(crate) fn version(settings: &Settings, name: &str) -> anyhow::Result<Report> {
    let network = settings.network(name)?;
    let wanted = network.version().as_str();
    let file = network.file().unwrap_or("".as_ref()).display().to_string();
    let mut text = format!("network {name}: cniVersion {wanted} ({file})\n");
    let mut plugins = Vec::new();
    let mut unfit = Vec::new();
    for plugin in network.plugins() {
        let plugin_type = plugin.plugin_type();
        match settings.runtime.versions(plugin) {
            Ok(PluginVersions { binary, supported }) => {
                let fits = supported.iter().any(|version| version == wanted);
                let remark = if fits {
                    ""
                } else {
                    ": not the network's version"
                };
                let versions = supported.join(", ");
                let value = format!("{versions} ({}){remark}", binary.display());
                line(&mut text, plugin_type, &value);
                if !fits {
                    unfit.push(plugin_type);
                }
                plugins.push(json!({"type": plugin_type, "path": binary, "fits": fits,
                                    "supportedVersions": supported}));
            }
            Err(error) => {
                let reason = chain(&error.cause);
                line(&mut text, plugin_type, &reason);
                unfit.push(plugin_type);
                plugins.push(json!({"type": plugin_type, "fits": false, "error": reason}));
            }
        }
    }
    let json = json!({"network": name, "cniVersion": wanted, "file": file, "plugins": plugins});
    let mut report = Report::new(text, json);
    if !unfit.is_empty() {
        let unfit = unfit.join(", ");
        report.failure = Some(format!("network {name} cannot be run, because of {unfit}"));
    }
    Ok(report)
}
