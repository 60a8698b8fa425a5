//! Joining a sandbox to a network.

use cni_types::Attachment;

use super::joining::{Connected, Joining};
use super::spec::{EndpointIds, EndpointSpec, Limits, NetworkSpec};
use super::{Controller, ControllerError, Outcome, Policy};
use crate::ids::{EndpointId, NetworkId};
use crate::store::record::{AttachmentRecord, Debts, EndpointRecord};

impl Controller {
    /// Joins a sandbox to a network, which is made if there is none.
    ///
    /// The caller holds the attachment's lock and has [cleared](Self::clear) it. After a failure it
    /// calls [`disconnect`](Self::disconnect), which takes back what was done: the record says what
    /// that is.
    ///
    /// # Errors
    /// A driver, the kernel or the file system refused.
    pub fn connect(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        limits: Limits,
    ) -> Outcome<Connected> {
        let mut joining = self.create(network, endpoint, limits)?;
        let reply = joining.join()?;
        let placement = joining.plan(&reply)?;
        let placed = match &placement {
            Some(placement) => Some(joining.place(placement)?),
            None => None,
        };
        joining.program(placed.as_ref())?;
        joining.finish(placement.as_ref(), placed)
    }

    /// Makes way for a new endpoint of the attachment. An earlier one that is whole is in the way;
    /// what is left of one goes first.
    ///
    /// The caller holds the attachment's lock.
    ///
    /// # Errors
    /// There is one, or it cannot be removed yet.
    pub fn clear(
        &self,
        likely: &NetworkId,
        attachment: &Attachment,
        limits: Limits,
    ) -> Outcome<()> {
        let Some(record) = self.store.endpoint(likely, attachment)? else {
            return Ok(());
        };
        if record.is_whole() && self.is_in_place(&record) {
            return Err(ControllerError::AlreadyAttached(attachment.clone()));
        }
        let departure = self.disconnect(likely, attachment, Policy::default(), limits)?;
        match departure.down {
            Some(_down) => Err(ControllerError::StillThere(attachment.clone())),
            None => Ok(()),
        }
    }

    /// Whether the sandbox is the same that the endpoint was put into: a node may have lost its
    /// namespaces with nobody calling for a removal.
    fn is_in_place(&self, record: &EndpointRecord) -> bool {
        let now = self.sandboxes.identify(&record.sandbox.path);
        now.is_ok_and(|now| (now.dev, now.inode) == (record.sandbox.dev, record.sandbox.inode))
    }

    /// Network, record, addresses, endpoint: one after the other on each network, as Docker does it,
    /// so that a network does not go while an endpoint comes.
    fn create<'a>(
        &'a self,
        network: &NetworkSpec,
        endpoint: &'a EndpointSpec,
        limits: Limits,
    ) -> Outcome<Joining<'a>> {
        let driver = self.drivers.network(&network.driver)?;
        let lock = self.store.lock_network(&network.id(), limits.total)?;
        let sandbox = self.sandboxes.identify(&endpoint.sandbox.path)?;
        sandbox.only(endpoint.sandbox.id)?;
        let ready = self.ensure_network(network, &lock, limits)?;
        let generation = self.generation(network, endpoint);
        let id = match endpoint.ids {
            EndpointIds::Derived => {
                EndpointId::derive(&network.name, &endpoint.attachment, generation)
            }
            EndpointIds::Random => EndpointId::from_random(self.random.bytes()),
        };
        let record = EndpointRecord {
            id,
            network: network.id(),
            driver: ready.record.driver.clone(),
            ipam: ready.record.ipam.clone(),
            generation,
            attachment: AttachmentRecord::from(&endpoint.attachment),
            sandbox,
            mac: String::new(),
            addresses: Vec::new(),
            join: None,
            link: None,
            made_network: ready.is_new,
            complete: false,
            leaving: false,
            owed: Debts::default(),
            tries: 0,
        };
        let mut joining = Joining {
            controller: self,
            spec: endpoint,
            limits,
            driver,
            record,
        };
        if let Err(error) = joining.begin() {
            // The error is the one to tell.
            let _left = self.abandon_network(&joining.record, limits);
            return Err(error);
        }
        joining.address(&ready.record, &lock)?;
        joining.create()?;
        Ok(joining)
    }

    /// What is written of an endpoint says that its network was made for it, and takes that away, too. Of
    /// one that nothing could be written of the network goes at once. The caller holds its lock.
    fn abandon_network(&self, of: &EndpointRecord, limits: Limits) -> Outcome<()> {
        if !of.made_network || !self.store.endpoints(&of.network)?.is_empty() {
            return Ok(());
        }
        if let Some(mut network) = self.store.network(&of.network)? {
            // What cannot be taken away now, a removal of the attachment takes.
            let _unpaid = self.end_network(&mut network, limits.undo())?;
        }
        Ok(())
    }

    /// The first generation of which nothing is left with the driver.
    fn generation(&self, network: &NetworkSpec, endpoint: &EndpointSpec) -> u32 {
        let is_free = |generation: &u32| {
            let id = EndpointId::derive(&network.name, &endpoint.attachment, *generation);
            !self.store.has_garbage(&network.id(), &id)
        };
        (0..u32::MAX).find(is_free).unwrap_or_default()
    }
}
