//! CHECK: is everything that ADD made still there, and as it was made?

use cni_netlink::{Hook, Link, LinkId, NetNs, Psched, Socket};
use cni_plugin::AttachmentRequest;
use cni_types::{CniError, CniResult, MacAddr};

use crate::config::{BandwidthConfig, Direction, Limit};
use crate::error::BandwidthError;
use crate::host_end;
use crate::owner;
use crate::plan::differences;

/// Compares, and tells all differences in one error.
pub(crate) fn check(request: &AttachmentRequest) -> Result<(), CniError> {
    let config = BandwidthConfig::load(&request.request)?;
    let prev_result = request.request.prev_result()?;
    let result = prev_result.ok_or(BandwidthError::NotChecked)?;
    if config.is_unlimited() {
        return Ok(());
    }
    let inside = NetNs::open(&request.netns)?
        .only(request.netns_id)?
        .socket()?;
    let host = Socket::open()?;
    let end = host_end::get(&host, &inside, &request.attachment.ifname, &result)?;
    let mut check = Check {
        request,
        result,
        host,
        clock: Psched::read()?,
        found: Vec::new(),
    };
    if let Some(limit) = &config.ingress {
        check.compare_bucket(&end.id(), Direction::Ingress, limit)?;
    }
    if let Some(limit) = &config.egress {
        check.compare_egress(&end, limit)?;
    }
    CniError::collect(check.found.into_iter().map(CniError::from))
}

struct Check<'a> {
    request: &'a AttachmentRequest,
    result: CniResult,
    host: Socket,
    clock: Psched,
    /// What was found to differ.
    found: Vec<BandwidthError>,
}

impl Check<'_> {
    fn mismatch(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.found.push(BandwidthError::mismatch(what, found));
    }

    fn compare_bucket(
        &mut self,
        link: &LinkId,
        direction: Direction,
        limit: &Limit,
    ) -> Result<(), CniError> {
        let what = format!("{} at {link}", direction.key());
        match self.host.qdisc(link, Hook::Root)? {
            None => self.mismatch(what, "Failed to find qdisc"),
            Some(qdisc) => match qdisc.tbf {
                None => self.mismatch(what, format!("the qdisc is {qdisc}, not tbf")),
                Some(tbf) => {
                    for difference in differences(limit, self.clock, &tbf) {
                        self.mismatch(what.clone(), difference);
                    }
                }
            },
        }
        Ok(())
    }

    fn compare_egress(&mut self, end: &Link, limit: &Limit) -> Result<(), CniError> {
        let what = format!("{} at {}", Direction::Egress.key(), end.name);
        let filters = self.host.ingress_filters(&end.id())?;
        let mut redirections = filters.iter().filter(|one| one.takes_all);
        let Some(index) = redirections.find_map(|one| one.redirects_to) else {
            self.mismatch(what, "what is received is not redirected to an IFB");
            return Ok(());
        };
        let ifb = match index {
            0 => None,
            index => self.host.find_link_by_index(index)?,
        };
        match ifb.filter(|link| self.is_of_attachment(link)) {
            None => self.mismatch(
                what,
                "get ifb device: what is received is redirected to no IFB of this attachment",
            ),
            Some(ifb) => {
                self.compare_ifb(&ifb);
                self.compare_bucket(&ifb.id(), Direction::Egress, limit)?;
            }
        }
        Ok(())
    }

    /// One of the reference's counts: the attachment may be older than an upgrade.
    fn is_of_attachment(&self, link: &Link) -> bool {
        let (alias, attachment) = (link.alias.as_deref(), &self.request.attachment);
        link.is_kind(owner::KIND)
            && (owner::is_of_attachment(alias, attachment)
                || owner::can_be_of_attachment(&link.name, alias, attachment))
    }

    fn compare_ifb(&mut self, ifb: &Link) {
        let what = format!("IFB {}", ifb.name);
        if !ifb.is_up() {
            self.mismatch(what.clone(), "it is down");
        }
        let mut interfaces = self.result.interfaces.iter();
        let told = interfaces.find(|one| one.sandbox.is_empty() && one.name == ifb.name);
        let Some(told) = told else {
            self.mismatch(what, "prevResult does not name it");
            return;
        };
        let told = told.mac.parse::<MacAddr>().ok();
        if told != ifb.mac {
            let [has, told] =
                [ifb.mac, told].map(|mac| mac.map_or(String::new(), |mac| mac.to_string()));
            self.mismatch(
                what,
                format!("its MAC address is {has}, and prevResult says {told}"),
            );
        }
    }
}
