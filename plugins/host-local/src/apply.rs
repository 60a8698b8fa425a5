//! What changes leases: ADD, DEL and GC.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use cni_ipam::{AllocateError, AllocateFailure, Grant, Lease, Removed, SetError, Store, allocate};
use cni_plugin::{AttachmentRequest, DelRequest, GcRequest, Undo};
use cni_types::{CniError, CniResult, Dns, ErrorCode, IpConfig};

use crate::config::{IpamConfig, Leases};
use crate::resolv;

/// Reserves one address of each range set.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = IpamConfig::of(&request.request)?;
    let dns = config
        .resolv_conf
        .as_deref()
        .map_or(Ok(Dns::default()), load_dns)?;
    let leases = &config.leases;
    let mut locked = leases.store.lock_or_create(leases.lock_deadline())?;
    let grants = allocate(
        &mut locked,
        &config.sets,
        &config.requested,
        &request.attachment,
    )
    .map_err(|failure| refusal(failure, leases.store.path()))?;
    drop(locked);
    let addresses = grants.iter().map(|grant| grant.address.addr()).collect();
    undo_on_failure(undo, leases.clone(), addresses);
    Ok(CniResult {
        ips: grants.iter().map(report).collect(),
        routes: config.routes,
        dns,
        ..CniResult::default()
    })
}

fn load_dns(path: &Path) -> Result<Dns, CniError> {
    resolv::load(path).map_err(|error| {
        let msg = format!("read ipam.resolvConf {}", path.display());
        CniError::new(ErrorCode::IO, msg).with_details(error.to_string())
    })
}

fn report(grant: &Grant) -> IpConfig {
    IpConfig {
        interface: None,
        address: grant.address,
        gateway: Some(grant.gateway),
    }
}

fn undo_on_failure(undo: &mut Undo, leases: Leases, addresses: Vec<IpAddr>) {
    undo.push("release the addresses", move || {
        if let Some(mut locked) = leases.store.lock(leases.lock_deadline())? {
            for addr in addresses {
                locked.release(addr)?;
            }
        }
        Ok(())
    });
}

/// The error of an allocation in the reference's words, with what the words leave out.
fn refusal(failure: AllocateFailure, dir: &Path) -> CniError {
    let text = failure.error.to_string();
    let error = match failure.error {
        AllocateError::Survey(error) => CniError::from(error).within("read the leases"),
        AllocateError::Unfulfilled(_) => CniError::new(ErrorCode::INVALID_CONFIG, text)
            .and("each has to be in a range set, and only one of a set can be had"),
        AllocateError::Set { index, error } => match error {
            SetError::Store(error) => {
                CniError::from(error).within(format_args!("failed to allocate for range {index}"))
            }
            SetError::Exhausted { .. } => CniError::new(ErrorCode::POOL_EXHAUSTED, text)
                .and(format_args!("the leases are in {}", dir.display())),
            SetError::Gateway { .. } => CniError::new(ErrorCode::IN_USE, text),
            SetError::Taken { addr, .. } => CniError::new(ErrorCode::IN_USE, text).and(
                format_args!("{} tells who has it", dir.join(addr.to_string()).display()),
            ),
            SetError::Duplicate { addr, container } => duplicate(text, dir, addr, &container),
        },
    };
    let left = failure.left.into_iter().map(CniError::from);
    left.fold(error, |error, left| error.and(format_args!("also: {left}")))
}

/// What people meet after a crash of the runtime or a reboot; it has to tell them what to do.
fn duplicate(text: String, dir: &Path, addr: IpAddr, container: &str) -> CniError {
    let file = dir.join(addr.to_string());
    CniError::new(ErrorCode::IN_USE, text).and(format_args!(
        "hint: the lease is the file {}; an ADD without a DEL before it left it. Run DEL for \
         container {container}, or remove the file if that container is gone",
        file.display()
    ))
}

/// Releases the attachment's addresses. Whatever else the config says does not matter here.
pub(crate) fn del(request: &DelRequest) -> Result<(), CniError> {
    let leases = Leases::of(&request.request)?;
    let Some(mut locked) = leases.store.lock(leases.lock_deadline())? else {
        return Ok(());
    };
    complete(locked.release_attachment(&request.attachment)?)
}

/// Releases the addresses of all attachments but the valid ones.
pub(crate) fn gc(request: &GcRequest) -> Result<(), CniError> {
    let leases = Leases::of(&request.request)?;
    let valid = Valid::of(request);
    let Some(mut locked) = leases.store.lock(leases.lock_deadline())? else {
        return Ok(());
    };
    complete(locked.collect_garbage(|lease| valid.keeps(lease)))
}

fn complete(removed: Removed) -> Result<(), CniError> {
    let errors = removed.errors.into_iter().map(CniError::from);
    CniError::collect(errors)
}

/// The attachments to keep, to be looked up once for each lease.
struct Valid<'a> {
    attachments: BTreeSet<(&'a str, &'a str)>,
    containers: BTreeSet<&'a str>,
}

impl<'a> Valid<'a> {
    fn of(request: &'a GcRequest) -> Self {
        let valid = request.valid.iter();
        let attachments: BTreeSet<_> = valid
            .map(|valid| (valid.container_id.as_str(), valid.ifname.as_str()))
            .collect();
        let containers = attachments
            .iter()
            .map(|(container, _)| *container)
            .collect();
        Self {
            attachments,
            containers,
        }
    }

    /// A lease in the old form names no interface, so any of its container's keeps it.
    fn keeps(&self, lease: &Lease) -> bool {
        let container = lease.container_id.as_str();
        match &lease.ifname {
            Some(ifname) => self.attachments.contains(&(container, ifname)),
            None => self.containers.contains(container),
        }
    }
}
