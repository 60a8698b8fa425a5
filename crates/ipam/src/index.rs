//! The index of a network's leases: who holds which address, and which addresses are taken,
//! answered from a few pages instead of all lease files. Pure: pages in, pages out.
//!
//! ```text
//! page 0           header: which directory this is about, and how it looked when both agreed
//! pages 1..=h      who holds what: key of a lease's text -> address
//! pages h+1..=h+b  what is taken: number of 256 addresses -> bitmap
//! ```
//!
//! Both tables are hashed: a record is in the page of its hash, or in one after it if that has
//! overflown. So a look-up reads one page, nearly always, and a change writes one.
//! docs/decisions/014 tells when an index may be believed.

mod census;
mod header;
mod key;
mod table;

use std::net::IpAddr;

use crate::blocks::{Bitmap, Block, addr_of, number_of};

pub(crate) use census::{Census, Counted};
pub(crate) use header::{Header, Identity, Stamp};
pub(crate) use key::{Key, fnv};
use table::Table;
pub(crate) use table::{PAGE, Page, Pages};

/// The index cannot answer, for whatever reason: the lease files have to. Nobody is told, since
/// the answer is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unusable;

/// A key and an address.
const HOLDER: usize = 24;
/// Twice the number of a block, plus one, and its bitmap.
const BLOCK: usize = 16 + Bitmap::SIZE;
/// So many blocks in a row, 8192 addresses, are kept together: a walk reads one page for them.
const NEIGHBOURS: u32 = 5;

/// An index in whatever keeps its pages.
#[derive(Debug)]
pub(crate) struct Index<P> {
    pages: P,
    header: Header,
}

fn holder_record(key: Key, addr: IpAddr) -> [u8; HOLDER] {
    let mut record = [0; HOLDER];
    let (key_bytes, addr_bytes) = record.split_at_mut(8);
    key_bytes.copy_from_slice(&key.number().to_le_bytes());
    addr_bytes.copy_from_slice(&number_of(addr).to_le_bytes());
    record
}

/// The address of a holder's record, if it has that key.
fn address_of(record: &[u8; HOLDER], key: Key) -> Option<IpAddr> {
    let (key_bytes, addr_bytes) = record.split_first_chunk()?;
    let is_its = u64::from_le_bytes(*key_bytes) == key.number();
    let number = u128::from_le_bytes(*addr_bytes.first_chunk()?);
    is_its.then(|| addr_of(number))
}

fn block_key(block: Block) -> [u8; 16] {
    // Odd, so that it is no empty slot; a block's number has 121 bits.
    (block.number() << 1 | 1).to_le_bytes()
}

fn block_record(block: Block, bitmap: Bitmap) -> [u8; BLOCK] {
    let mut record = [0; BLOCK];
    let (key_bytes, bitmap_bytes) = record.split_at_mut(16);
    key_bytes.copy_from_slice(&block_key(block));
    bitmap_bytes.copy_from_slice(&bitmap.to_bytes());
    record
}

fn bitmap_of(record: &[u8; BLOCK]) -> Bitmap {
    record
        .last_chunk()
        .map_or_else(Bitmap::default, Bitmap::from_bytes)
}

fn block_hash(block: Block) -> u64 {
    Key::of_number(block.number() >> NEIGHBOURS).number()
}

impl<P: Pages> Index<P> {
    /// The index that these pages are said to have.
    pub(crate) fn new(pages: P, header: Header) -> Self {
        Self { pages, header }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn pages(&mut self) -> &mut P {
        &mut self.pages
    }

    fn holders_table(&mut self) -> Table<'_, P, HOLDER> {
        Table::new(&mut self.pages, self.header.holders_span())
    }

    fn blocks_table(&mut self) -> Table<'_, P, BLOCK> {
        Table::new(&mut self.pages, self.header.blocks_span())
    }

    /// The addresses of leases whose text has that key.
    pub(crate) fn held(&mut self, key: Key) -> Result<Vec<IpAddr>, Unusable> {
        let mut addresses = Vec::new();
        self.holders_table().find(key.number(), |record| {
            addresses.extend(address_of(record, key));
            false
        })?;
        Ok(addresses)
    }

    /// What is taken of a block.
    pub(crate) fn taken(&mut self, block: Block) -> Result<Bitmap, Unusable> {
        let mut bitmap = Bitmap::default();
        let key = block_key(block);
        self.blocks_table().find(block_hash(block), |record| {
            let found = record.starts_with(&key);
            if found {
                bitmap = bitmap_of(record);
            }
            found
        })?;
        Ok(bitmap)
    }

    /// Notes a new lease. That its address is taken already proves the index wrong.
    pub(crate) fn add(&mut self, addr: IpAddr, key: Key) -> Result<(), Unusable> {
        self.mark(addr, true)?;
        self.insert_holder(addr, key)
    }

    fn insert_holder(&mut self, addr: IpAddr, key: Key) -> Result<(), Unusable> {
        self.header.holders.grow()?;
        self.holders_table()
            .insert(key.number(), &holder_record(key, addr))
    }

    /// Notes that a lease is gone. That it is not known proves the index wrong.
    pub(crate) fn remove(&mut self, addr: IpAddr, key: Key) -> Result<(), Unusable> {
        self.mark(addr, false)?;
        let gone = holder_record(key, addr);
        let mut table = self.holders_table();
        let place = table.find(key.number(), |record| *record == gone)?;
        table.replace(place.ok_or(Unusable)?, &[0; HOLDER])?;
        self.header.holders.shrink()
    }

    /// Somebody has the address. That it is not known to be taken proves the index wrong.
    pub(crate) fn expect_taken(&mut self, addr: IpAddr) -> Result<(), Unusable> {
        let (block, offset) = Block::of(addr);
        let is_taken = self.taken(block)?.contains(offset);
        is_taken.then_some(()).ok_or(Unusable)
    }

    /// Takes or frees an address that is not taken, or not free, yet.
    fn mark(&mut self, addr: IpAddr, taken: bool) -> Result<(), Unusable> {
        let (block, offset) = Block::of(addr);
        let key = block_key(block);
        let mut bitmap = Bitmap::default();
        let mut table = self.blocks_table();
        let place = table.find(block_hash(block), |record| {
            let found = record.starts_with(&key);
            if found {
                bitmap = bitmap_of(record);
            }
            found
        })?;
        if bitmap.contains(offset) == taken {
            return Err(Unusable);
        }
        bitmap.set(offset, taken);
        match place {
            Some(place) => table.replace(place, &block_record(block, bitmap))?,
            None => self.insert_block(block, bitmap)?,
        }
        self.header.count(taken)
    }

    fn insert_block(&mut self, block: Block, bitmap: Bitmap) -> Result<(), Unusable> {
        self.header.blocks.grow()?;
        self.blocks_table()
            .insert(block_hash(block), &block_record(block, bitmap))
    }
}

#[cfg(test)]
mod tests;
