//! Sets the limits, and registers how each step is taken back.
//!
//! What the container receives is what the host's end sends, and waits in a token bucket there. What
//! it sends is what the host's end receives, where nothing can wait: it is redirected to an IFB that
//! is the attachment's own, and waits in a token bucket of that.

use std::rc::Rc;

use cni_netlink::{
    Change, CreateIfb, Hook, Link, LinkId, NetlinkError, Psched, Socket, add_ingress, add_redirect,
    add_tbf, delete_ingress, delete_link, delete_tbf, random_mac, set_alias_and_leave_group,
};
use cni_plugin::Undo;
use cni_types::{Attachment, CniError, IfName, MacAddr};

use crate::config::{BandwidthConfig, Direction, Limit};
use crate::error::BandwidthError;
use crate::owner;
use crate::plan::bucket;

/// What is to be limited.
pub(crate) struct Target<'a> {
    pub(crate) host: Rc<Socket>,
    /// The host's end of the container's veth pair.
    pub(crate) end: Link,
    pub(crate) attachment: &'a Attachment,
    pub(crate) clock: Psched,
}

/// The IFB that what the container sends is redirected to.
#[derive(Debug)]
pub(crate) struct Ifb {
    pub(crate) id: LinkId,
    pub(crate) mac: MacAddr,
    /// Bytes.
    pub(crate) mtu: u32,
}

/// One request of several that are sent together, none of which builds on another.
struct Step {
    direction: Direction,
    change: Change,
    /// What the host's end had to be free for, and how it becomes free again.
    takes: Option<(Hook, Change)>,
}

impl Target<'_> {
    /// Sets the limits of the config.
    pub(crate) fn limit(
        &self,
        config: &BandwidthConfig,
        undo: &mut Undo,
    ) -> Result<Option<Ifb>, CniError> {
        let ifb = match &config.egress {
            Some(limit) => Some((limit, self.create_ifb(undo)?)),
            None => None,
        };
        let mut steps: Vec<Step> = Vec::new();
        if let Some((limit, ifb)) = &ifb {
            steps.extend(self.egress_steps(limit, ifb));
        }
        steps.extend(
            config
                .ingress
                .as_ref()
                .map(|limit| self.ingress_step(limit)),
        );
        self.apply(&steps, undo)?;
        let Some((_, ifb)) = ifb else {
            return Ok(None);
        };
        // Only now, when it is certain that the ingress qdisc is ours.
        let redirect = add_redirect(&self.end.id(), &ifb.id);
        self.host
            .request(&redirect)
            .map_err(|error| refusal(error, Direction::Egress))?;
        Ok(Some(ifb))
    }

    /// Makes the IFB under the first name that nobody has.
    fn create_ifb(&self, undo: &mut Undo) -> Result<Ifb, CniError> {
        // Given, so that it need not be asked for. It cannot be changed later.
        let mac = random_mac();
        let mut taken = None;
        for name in owner::ifb_names(self.attachment) {
            let wanted = CreateIfb {
                name,
                mac,
                mtu: self.end.mtu,
                group: Some(owner::unmarked_group(&self.attachment.network)),
            };
            match self.host.create_ifb(&wanted) {
                Ok(id) => return Ok(self.made_ifb(id, &wanted, undo)),
                Err(error) if error.is_exists() => {
                    self.refuse_second_add(&wanted.name)?;
                    taken = Some(error);
                }
                Err(error) => return Err(refusal(error, Direction::Egress)),
            }
        }
        Err(BandwidthError::NoIfbName(taken).into())
    }

    fn made_ifb(&self, id: LinkId, wanted: &CreateIfb, undo: &mut Undo) -> Ifb {
        self.delete_on_failure(format!("delete {id}"), delete_link(&id), undo);
        Ifb {
            id,
            mac: wanted.mac,
            mtu: wanted.mtu,
        }
    }

    /// The name is taken: by another interface of the container, or by an earlier ADD of this one.
    fn refuse_second_add(&self, name: &IfName) -> Result<(), CniError> {
        let link = self.host.find_link(name)?;
        match link.filter(|link| owner::is_of_attachment(link.alias.as_deref(), self.attachment)) {
            Some(link) => Err(BandwidthError::IfbExists(link.name).into()),
            None => Ok(()),
        }
    }

    fn egress_steps(&self, limit: &Limit, ifb: &Ifb) -> [Step; 3] {
        let end = self.end.id();
        let step = |change, takes| Step {
            direction: Direction::Egress,
            change,
            takes,
        };
        [
            step(
                set_alias_and_leave_group(&ifb.id, &owner::alias(self.attachment)),
                None,
            ),
            step(add_tbf(&ifb.id, &bucket(limit, self.clock)), None),
            step(
                add_ingress(&end),
                Some((Hook::Ingress, delete_ingress(&end))),
            ),
        ]
    }

    fn ingress_step(&self, limit: &Limit) -> Step {
        let end = self.end.id();
        Step {
            direction: Direction::Ingress,
            change: add_tbf(&end, &bucket(limit, self.clock)),
            takes: Some((Hook::Root, delete_tbf(&end))),
        }
    }

    /// Sends all steps at once. All are tried, so that all that were done, or may have been, are known to
    /// `undo` before the first failure is told.
    fn apply(&self, steps: &[Step], undo: &mut Undo) -> Result<(), CniError> {
        let changes: Vec<Change> = steps.iter().map(|step| step.change.clone()).collect();
        let mut failure = None;
        for (step, outcome) in steps.iter().zip(self.host.send_each(&changes)) {
            let may_be_done = outcome.as_ref().err().is_none_or(NetlinkError::is_unheard);
            if let Some((_, back)) = step.takes.as_ref().filter(|_| may_be_done) {
                self.delete_on_failure(back.to_string(), back.clone(), undo);
            }
            failure = failure.or(outcome.err().map(|error| (step, error)));
        }
        match failure {
            Some((step, error)) => Err(self.step_failed(step, error)),
            None => Ok(()),
        }
    }

    /// Nothing is replaced that somebody else has put there; the error tells what it is.
    fn step_failed(&self, step: &Step, error: NetlinkError) -> CniError {
        let Some((hook, _)) = step.takes.as_ref().filter(|_| error.is_exists()) else {
            return refusal(error, step.direction);
        };
        let found = self.host.qdisc(&self.end.id(), *hook);
        let found = found.ok().flatten().map(|qdisc| qdisc.to_string());
        BandwidthError::QdiscTaken {
            key: step.direction.key(),
            link: self.end.name.clone(),
            found: found.unwrap_or_else(|| "it is gone again".to_owned()),
            source: error,
        }
        .into()
    }

    fn delete_on_failure(&self, what: String, change: Change, undo: &mut Undo) {
        let host = Rc::clone(&self.host);
        undo.push(what, move || Ok(ignore_gone(host.request(&change))?));
    }
}

/// A kernel without what a key needs refuses the key.
fn refusal(error: NetlinkError, direction: Direction) -> CniError {
    if error.is_unsupported() {
        let key = direction.key();
        return BandwidthError::Unsupported { key, source: error }.into();
    }
    error.into()
}

/// What is gone needs no removing.
pub(crate) fn ignore_gone<T>(outcome: Result<T, NetlinkError>) -> Result<(), NetlinkError> {
    match outcome {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}
