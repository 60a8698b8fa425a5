//! What only looks: CHECK and STATUS.

use cni_netlink::Link;
use cni_plugin::{AttachmentRequest, Request};
use cni_types::{CniError, IfName};

use crate::add::prev_result;
use crate::apply::Inside;
use crate::config::{self, AllowList, TuningConfig};
use crate::error::TuningError;
use crate::plan::{LinkValues, Sysctl, arrange, is_same_value};
use crate::state::{Kept, State, StateDir};

/// Compares the interface and the sysctls with the config, and tells all differences in one error.
/// What the config does not name is somebody else's.
pub(crate) fn check(request: &AttachmentRequest) -> Result<(), CniError> {
    let config = TuningConfig::load(&request.request.config, &request.request.env.args)?;
    prev_result(&request.request)?;
    let inside = Inside::open(request)?;
    let ifname = &request.attachment.ifname;
    let link = inside.find_link(ifname)?;
    let link = link.ok_or_else(|| TuningError::CheckNoLink(ifname.clone()))?;
    let sysctls = arrange(inside.find_sysctls(&config.sysctls, ifname)?)?;
    let mut found = different_values(ifname, &config.link, &link);
    let state = kept(request)?;
    let different = sysctls.iter().filter(|sysctl| is_different(sysctl, &state));
    found.extend(different.map(mismatch));
    CniError::collect(found.into_iter().map(CniError::from))
}

/// What ADD has kept, as far as it is there.
fn kept(request: &AttachmentRequest) -> Result<State, CniError> {
    let dir = StateDir::new(config::data_dir(&request.request.config));
    Ok(match dir.read(&request.attachment)? {
        Kept::File(text) => State::parse(&text).unwrap_or_default(),
        Kept::Nothing | Kept::Foreign => State::default(),
    })
}

/// The kernel may show another text than the one it has got: ports in ranges, a key in groups. What
/// it has shown to ADD is right too.
fn is_different(sysctl: &Sysctl, state: &State) -> bool {
    let Some(there) = &sysctl.there else {
        return false; // cannot be read
    };
    let shown = state
        .sysctl(&sysctl.name)
        .and_then(|saved| saved.is.as_ref());
    !is_same_value(there, &sysctl.conf.value) && shown != Some(there)
}

fn mismatch(sysctl: &Sysctl) -> TuningError {
    TuningError::Mismatch {
        what: format!("value of /proc/sys/{}", sysctl.name.path()),
        wanted: sysctl.conf.value.clone(),
        found: sysctl.there.clone().unwrap_or_default(),
    }
}

fn different_values(ifname: &IfName, wanted: &LinkValues, link: &Link) -> Vec<TuningError> {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "none".to_owned(), |value| value.to_string())
    }
    let has = LinkValues::of(link);
    let row = |what: &str, wanted: Option<String>, found: String| {
        Some(TuningError::Mismatch {
            what: format!("{what} of {ifname}"),
            wanted: wanted?,
            found,
        })
    };
    let differing = wanted.differing_from(&has);
    let rows = [
        row(
            "Ethernet",
            differing.mac.map(|mac| mac.to_string()),
            text(has.mac),
        ),
        row(
            "promiscuous mode",
            differing.promisc.map(|on| on.to_string()),
            text(has.promisc),
        ),
        row(
            "MTU",
            differing.mtu.map(|mtu| mtu.to_string()),
            text(has.mtu),
        ),
        row(
            "all-multicast mode",
            differing.all_multicast.map(|on| on.to_string()),
            text(has.all_multicast),
        ),
        row(
            "transmit queue length",
            differing.tx_queue_len.map(|len| len.to_string()),
            text(has.tx_queue_len),
        ),
    ];
    rows.into_iter().flatten().collect()
}

/// Whether an ADD would be allowed what the config asks for, and could keep what DEL is to restore.
pub(crate) fn status(request: &Request) -> Result<(), CniError> {
    let config = TuningConfig::load(&request.config, &request.env.args)?;
    if config.is_empty() {
        return Ok(());
    }
    let allowed = AllowList::for_all(&config.sysctls);
    allowed.map_err(CniError::not_available)?;
    let dir = StateDir::new(config::data_dir(&request.config));
    dir.check_writable().map_err(CniError::not_available)
}
