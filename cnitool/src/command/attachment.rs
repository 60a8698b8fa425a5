//! `add`, `check` and `del`.

use std::path::Path;

use anyhow::{Context as _, bail};
use cni_types::{Json, NetworkName};
use cnitool::{Checked, Network, Target, netns};
use serde_json::{Value, json};

use super::report::Report;
use super::settings::Settings;

pub(crate) fn add(settings: &Settings, name: &str, netns: &Path) -> anyhow::Result<Report> {
    let network = settings.network(name)?;
    let target = settings.target(netns);
    require_namespace(&target)?;
    let added = settings.runtime.add(&network, &target)?;
    Ok(Report::new(
        added.to_text().context("print the result")?,
        attached(&network, &target, added.document()),
    ))
}

pub(crate) fn check(settings: &Settings, name: &str, netns: &Path) -> anyhow::Result<Report> {
    let network = settings.network(name)?;
    let target = settings.target(netns);
    let checked = settings.runtime.check(&network, &target)?;
    let (text, state) = match checked {
        Checked::Passed => ("as it was added", "passed"),
        Checked::Disabled => (
            "not checked: the configuration says disableCheck",
            "disabled",
        ),
    };
    Ok(Report::new(
        format!("{}: {text}\n", title(&network, &target)),
        json!({"check": state, "network": network.name(), "netns": target.netns,
                     "containerId": target.container_id, "ifname": target.ifname}),
    ))
}

pub(crate) fn del(settings: &Settings, name: &str, netns: &Path) -> anyhow::Result<Report> {
    let target = settings.target(netns);
    let network: NetworkName = name
        .parse()
        .with_context(|| format!("network name {name:?}"))?;
    let attachment = target.attachment(&network);
    // What cannot be read counts as none here; `Runtime::del` reports it.
    let cached = settings.runtime.cache().load(&attachment).unwrap_or(None);
    let network = Settings::network_to_leave(&settings.catalog()?, name, cached.as_ref())?;
    settings.runtime.del(&network, &target)?;
    Ok(Report::new(
        format!("{}: removed\n", title(&network, &target)),
        json!({"deleted": true, "network": network.name(), "netns": target.netns,
                     "containerId": target.container_id, "ifname": target.ifname}),
    ))
}

/// Plugins say less well what is missing.
pub(crate) fn require_namespace(target: &Target) -> anyhow::Result<()> {
    let Some(path) = target.netns.as_deref() else {
        return Ok(());
    };
    if netns::is_namespace(path) {
        return Ok(());
    }
    if path.exists() {
        bail!("{} is not a network namespace", path.display());
    }
    bail!(
        "there is no network namespace {}: `cnitool up NAME NETWORK` or `ip netns add NAME` make one",
        path.display()
    );
}

/// The interface in the words of the reports.
pub(crate) fn title(network: &Network, target: &Target) -> String {
    let netns = target.netns.as_deref().unwrap_or("".as_ref()).display();
    format!("{} in {netns} on network {}", target.ifname, network.name())
}

pub(crate) fn attached(network: &Network, target: &Target, result: &Json) -> Value {
    json!({"network": network.name(), "netns": target.netns, "containerId": target.container_id,
           "ifname": target.ifname, "result": result})
}
