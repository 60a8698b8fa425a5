//! What a scan of all leases finds: the answers of one operation, and what an index is built from.

use std::net::IpAddr;

use super::header::{Fill, Header};
use super::table::{Page, Pages};
use super::{BLOCK, HOLDER, Index, Key, Unusable};
use crate::blocks::{Blocks, addr_of, number_of};

/// What stands at an address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    /// A lease; its key, where keys are wanted.
    Lease(Option<Key>),
    /// Something that is no lease.
    Foreign,
    /// A file that cannot be read.
    Unreadable,
}

/// Every taken address, and the keys of those leases that have a text.
#[derive(Debug)]
pub(crate) struct Census {
    blocks: Blocks,
    leases: usize,
    /// As little as it takes: there are tens of thousands.
    holders: Vec<(u64, [u8; 16])>,
    wants_keys: bool,
    /// Everything could be read: then this is good for an index, not only for an answer.
    is_complete: bool,
}

impl Census {
    /// Nothing counted yet. Without keys no index can be made of it.
    pub(crate) fn new(wants_keys: bool) -> Self {
        Self {
            blocks: Blocks::default(),
            leases: 0,
            holders: Vec::new(),
            wants_keys,
            is_complete: wants_keys,
        }
    }

    /// The key of a lease's text.
    pub(crate) fn key_of(&self, text: &[u8]) -> Option<Key> {
        self.wants_keys.then(|| Key::of(text))
    }

    /// Counts what stands at an address.
    pub(crate) fn count(&mut self, addr: IpAddr, what: Counted) {
        self.blocks.insert(addr);
        self.leases += 1;
        match what {
            Counted::Lease(Some(key)) => {
                let addr = number_of(addr).to_le_bytes();
                self.holders.push((key.number(), addr));
            }
            Counted::Lease(None) | Counted::Foreign => {}
            Counted::Unreadable => self.is_complete = false,
        }
    }

    pub(crate) fn leases(&self) -> usize {
        self.leases
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// An index of what was counted, which has no more need of the keys.
    pub(crate) fn build(&mut self) -> Result<Index<Image>, Unusable> {
        let holders = std::mem::take(&mut self.holders);
        let header = Header::new(
            Fill::for_records(holders.len(), HOLDER)?,
            Fill::for_records(self.blocks.len(), BLOCK)?,
            self.leases as u64,
        );
        let pages = 1 + header.holders_span().pages + header.blocks_span().pages;
        let image = Image(vec![[0; super::PAGE]; pages as usize]);
        let mut index = Index::new(image, header);
        for (key, addr) in holders {
            let addr = addr_of(u128::from_le_bytes(addr));
            index.insert_holder(addr, Key::from_number(key))?;
        }
        for (block, bitmap) in self.blocks.iter() {
            index.insert_block(block, bitmap)?;
        }
        Ok(index)
    }

    /// What is taken, for the rest of the operation.
    pub(crate) fn into_blocks(self) -> Blocks {
        self.blocks
    }
}

/// All pages in memory.
#[derive(Debug)]
pub(crate) struct Image(Vec<Page>);

impl Image {
    pub(crate) fn as_slice(&self) -> &[Page] {
        &self.0
    }
}

impl Pages for Image {
    fn read(&mut self, number: u32) -> Result<&Page, Unusable> {
        self.0.get(number as usize).ok_or(Unusable)
    }

    fn write(&mut self, number: u32) -> Result<&mut Page, Unusable> {
        self.0.get_mut(number as usize).ok_or(Unusable)
    }
}
