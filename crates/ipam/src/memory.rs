//! Leases in memory: the store of tests, which fails when it is told to.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use cni_types::Attachment;

use crate::blocks::{Bitmap, Block};
use crate::lease::{Holding, Lease, Store, Survey};
use crate::store::StoreError;

/// A [`Store`] without files.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    leases: BTreeMap<IpAddr, Lease>,
    last: BTreeMap<usize, IpAddr>,
    /// How many more calls succeed; `None` for all.
    failing_after: Option<usize>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store with these leases.
    #[must_use]
    pub fn with(leases: impl IntoIterator<Item = Lease>) -> Self {
        Self {
            leases: leases
                .into_iter()
                .map(|lease| (lease.addr, lease))
                .collect(),
            ..Self::default()
        }
    }

    /// Sets the address that was reserved last in a set.
    pub fn set_last_reserved(&mut self, set: usize, addr: IpAddr) {
        self.last.insert(set, addr);
    }

    /// From the call after the next `calls` on, every call that can fail fails; `None` ends that.
    pub fn fail_after(&mut self, calls: Option<usize>) {
        self.failing_after = calls;
    }

    /// Every lease, in the order of the addresses.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    fn fallible(&mut self, op: &'static str) -> Result<(), StoreError> {
        match &mut self.failing_after {
            Some(0) => {
                let source = io::Error::other("told to fail");
                Err(StoreError::io(op, "memory".as_ref(), source))
            }
            Some(calls) => {
                *calls -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Store for MemoryStore {
    fn survey(&mut self, attachment: &Attachment) -> Result<Survey, StoreError> {
        self.fallible("survey")?;
        let mut survey = Survey::default();
        for (addr, lease) in &self.leases {
            match lease.holding(attachment) {
                Holding::Attachment => survey.own.push(*addr),
                Holding::Container => survey.legacy.push(*addr),
                Holding::Others | Holding::Nobody => {}
            }
        }
        Ok(survey)
    }

    fn taken(&mut self, block: Block) -> Result<Bitmap, StoreError> {
        let mut taken = Bitmap::default();
        let inside = block.addr(0)..=block.addr(u8::MAX);
        for addr in self.leases.range(inside).map(|(addr, _)| *addr) {
            taken.set(Block::of(addr).1, true);
        }
        Ok(taken)
    }

    fn recount(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn last_reserved(&mut self, set: usize) -> Option<IpAddr> {
        self.last.get(&set).copied()
    }

    fn reserve(
        &mut self,
        addr: IpAddr,
        attachment: &Attachment,
        set: usize,
    ) -> Result<bool, StoreError> {
        self.fallible("reserve")?;
        if self.leases.contains_key(&addr) {
            return Ok(false);
        }
        let lease = Lease {
            addr,
            container_id: attachment.container_id.to_string(),
            ifname: Some(attachment.ifname.to_string()),
        };
        self.leases.insert(addr, lease);
        self.last.insert(set, addr);
        Ok(true)
    }

    fn release(&mut self, addr: IpAddr) -> Result<(), StoreError> {
        self.fallible("release")?;
        self.leases.remove(&addr);
        Ok(())
    }
}
