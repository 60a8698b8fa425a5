//! DEL: everything that can be found, whatever is gone already, and an error only for what could
//! not be removed.
//!
//! Neither config nor `prevResult` need to be those of the ADD. The IFB is found by its names and
//! known by its mark; at the host's end of the veth pair, which the main plugin removes later, what
//! is known to be ours goes as well, since that end may be kept.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use cni_local::detach::detach;
use cni_netlink::{
    Change, Departures, Filter, Hook, Link, LinkId, NetNs, NetlinkError, Psched, Socket,
    delete_filter, delete_ingress, delete_link, delete_tbf,
};
use cni_plugin::{Deadline, DelRequest};
use cni_types::{Attachment, CniError, FastPaths, IfName};

use crate::apply::ignore_gone;
use crate::config::BandwidthConfig;
use crate::host_end;
use crate::owner;
use crate::plan::differences;

/// How long is waited for the kernel before the plain way is taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes the limits.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let pairs = Pairs {
        attachment: &request.attachment,
        host: Socket::open()?,
        inside: Inside::open(request, &mut errors),
    };
    let ifbs = pairs.find_ifbs(&mut errors);
    // The filter goes before what it redirects to, so that nothing is lost on the way.
    let limits = pairs.limits_of_host_end(request, &ifbs);
    let failed = limits.map_or_else(|error| vec![error], |changes| send(&pairs.host, &changes));
    if !failed.is_empty() {
        // The IFB stays, since it tells the next DEL that the qdisc is ours.
        errors.extend(failed);
        return CniError::collect(errors);
    }
    let ifbs: Vec<LinkId> = ifbs.iter().map(Link::id).collect();
    if let ([only], true) = (
        ifbs.as_slice(),
        request.request.env.fast_paths != FastPaths::Never,
    ) {
        let _otherwise_plainly = delete_quickly(&pairs.host, only);
    }
    let left = ifbs
        .iter()
        .filter(|ifb| !matches!(pairs.host.has_link(ifb.index), Ok(false)));
    let left: Vec<Change> = left.map(delete_link).collect();
    errors.extend(send(&pairs.host, &left));
    CniError::collect(errors)
}

fn send(host: &Socket, changes: &[Change]) -> Vec<CniError> {
    let outcomes = host.send_each(changes).into_iter().map(ignore_gone);
    outcomes
        .filter_map(Result::err)
        .map(CniError::from)
        .collect()
}

/// Has a child wait for the acknowledgement, which comes long after the link has gone. Returns when it
/// is gone, or will not go.
fn delete_quickly(host: &Socket, link: &LinkId) -> io::Result<()> {
    let departures = Departures::open().map_err(io::Error::other)?;
    let child = detach(|| {
        let _seen_by_the_parent = Socket::open().and_then(|own| own.request(&delete_link(link)));
    })?;
    let deadline = Deadline::after(PATIENCE).instant();
    let gone = departures.wait_gone(host, link, child.as_fd(), deadline);
    gone.map(drop).map_err(io::Error::other)
}

/// The container's namespace.
enum Inside {
    Open(Socket),
    /// All veth pairs of the container are gone with it.
    Gone,
    /// Nothing is known of its veth pairs.
    Unreachable,
}

impl Inside {
    fn open(request: &DelRequest, errors: &mut Vec<CniError>) -> Self {
        let Some(path) = &request.netns else {
            return Self::Gone;
        };
        let socket = match NetNs::open_if_there(path) {
            Ok(None) => return Self::Gone,
            Ok(Some(netns)) => match netns.only(request.netns_id) {
                Ok(netns) => netns.socket().map_err(CniError::from),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        socket.map_or_else(
            |error| {
                errors.push(error);
                Self::Unreachable
            },
            Self::Open,
        )
    }
}

/// Where the veth pairs of a container end.
struct Pairs<'a> {
    attachment: &'a Attachment,
    host: Socket,
    inside: Inside,
}

impl Pairs<'_> {
    /// The attachment's IFBs: ours, and the one that the reference may have made for it.
    fn find_ifbs(&self, errors: &mut Vec<CniError>) -> Vec<Link> {
        let mut ifbs = Vec::new();
        for name in owner::ifb_names(self.attachment) {
            match self.find_ifb(&name) {
                Ok(found) => ifbs.extend(found),
                Err(error) => errors.push(error.into()),
            }
        }
        ifbs
    }

    fn find_ifb(&self, name: &IfName) -> Result<Option<Link>, NetlinkError> {
        let found = self.host.find_link(name)?;
        let Some(link) = found.filter(|link| link.is_kind(owner::KIND)) else {
            return Ok(None);
        };
        let alias = link.alias.as_deref();
        let is_ours = owner::is_of_attachment(alias, self.attachment)
            || (owner::can_be_of_attachment(&link.name, alias, self.attachment)
                && !self.is_used_by_another(&link)?);
        Ok(is_ours.then_some(link))
    }

    /// Whether another interface of the container has what it sends redirected to the IFB: the
    /// reference's name for it does not tell them apart.
    fn is_used_by_another(&self, ifb: &Link) -> Result<bool, NetlinkError> {
        let inside = match &self.inside {
            Inside::Open(inside) => inside,
            Inside::Gone => return Ok(false),
            Inside::Unreachable => return Ok(true),
        };
        let links = inside.links()?.into_iter();
        for other in links.filter(|link| link.name != self.attachment.ifname.as_str()) {
            if let Some(end) = host_end::find(&self.host, &other)? {
                let filters = self.host.ingress_filters(&end.id())?;
                if filters
                    .iter()
                    .any(|one| one.redirects_to == Some(ifb.index))
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// How what is ours is removed from the host's end.
    fn limits_of_host_end(
        &self,
        request: &DelRequest,
        ifbs: &[Link],
    ) -> Result<Vec<Change>, CniError> {
        let Some(end) = self.find_host_end(ifbs)? else {
            return Ok(Vec::new());
        };
        let mut changes = self.redirections(&end, ifbs)?;
        if self.has_bucket_of_config(&end, request)? {
            changes.push(delete_tbf(&end.id()));
        }
        Ok(changes)
    }

    fn find_host_end(&self, ifbs: &[Link]) -> Result<Option<Link>, NetlinkError> {
        let inside = match &self.inside {
            Inside::Open(inside) => inside,
            Inside::Gone => return Ok(None),
            Inside::Unreachable => return self.find_redirecting(ifbs),
        };
        match inside.find_link(&self.attachment.ifname)? {
            Some(own) => host_end::find(&self.host, &own),
            None => Ok(None),
        }
    }

    /// The host's end that has what comes in redirected to one of the IFBs: found without the container.
    fn find_redirecting(&self, ifbs: &[Link]) -> Result<Option<Link>, NetlinkError> {
        if ifbs.is_empty() {
            return Ok(None);
        }
        for end in self.host.links_of_kind(host_end::VETH)? {
            let filters = self.host.ingress_filters(&end.id())?;
            if filters.iter().any(|filter| is_redirected(filter, ifbs)) {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// A filter is ours if it redirects to the attachment's IFB. The qdisc that holds it goes too,
    /// unless somebody else has come to use it; and so does one without filters, since an ADD made
    /// it before it was killed: one that finds another's makes no IFB.
    fn redirections(&self, end: &Link, ifbs: &[Link]) -> Result<Vec<Change>, NetlinkError> {
        if ifbs.is_empty() {
            return Ok(Vec::new());
        }
        let end = end.id();
        let is_ours = |filter: &Filter| is_redirected(filter, ifbs);
        let filters = self.host.ingress_filters(&end)?;
        if filters.iter().all(is_ours) {
            return Ok(vec![delete_ingress(&end)]);
        }
        let ours = filters.iter().filter(|filter| is_ours(filter));
        Ok(ours.map(|filter| delete_filter(&end, filter)).collect())
    }

    /// A token bucket is ours if it is set to what the config asks for: nothing else tells.
    fn has_bucket_of_config(&self, end: &Link, request: &DelRequest) -> Result<bool, CniError> {
        let config = BandwidthConfig::load(&request.request).unwrap_or_default();
        let Some(limit) = config.ingress else {
            return Ok(false);
        };
        let found = self.host.qdisc(&end.id(), Hook::Root)?;
        let Some(tbf) = found.and_then(|qdisc| qdisc.tbf) else {
            return Ok(false);
        };
        Ok(differences(&limit, Psched::read()?, &tbf).is_empty())
    }
}

fn is_redirected(filter: &Filter, ifbs: &[Link]) -> bool {
    let mut ifbs = ifbs.iter();
    ifbs.any(|ifb| filter.redirects_to == Some(ifb.index))
}
