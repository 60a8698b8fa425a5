//! The first page: which directory the index is about, and how that looked when both agreed.

use super::key::fnv;
use super::table::{PAGE, Page, Span};
use super::{BLOCK, HOLDER, Unusable};

/// Says that this is an index, and in which form. Another form has another number.
const MAGIC: u64 = u64::from_le_bytes(*b"tenonix1");
/// How many numbers a header has, the checksum after them.
const NUMBERS: usize = 14;
/// The bytes that are written at once.
const LENGTH: usize = (NUMBERS + 1) * 8;

/// Which directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `st_dev`
    pub(crate) dev: u64,
    /// `st_ino`
    pub(crate) ino: u64,
    /// Which run of the kernel the index is of, where it could outlive one; otherwise 0. What comes back
    /// from a disk after a power loss may be older than what was written beside it.
    pub(crate) boot: u64,
}

/// When a directory was changed last: `st_mtime`, which every change of an entry sets, and
/// `st_ctime`, which nobody can set; seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) mtime: (i64, i64),
    pub(crate) ctime: (i64, i64),
}

/// A table of 64 GiB.
const MOST_PAGES: u64 = 1 << 24;

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    pages: u32,
    records: u64,
    per_page: u64,
}

impl Fill {
    /// For so many records: six tenths full, so that it can grow by half.
    pub(super) fn for_records(records: usize, record: usize) -> Result<Self, Unusable> {
        let per_page = PAGE / record;
        let pages = (records * 10).div_ceil(per_page * 6).max(1);
        Ok(Self {
            pages: u32::try_from(pages).map_err(|_too_many| Unusable)?,
            records: 0,
            per_page: per_page as u64,
        })
    }

    /// Counts a record more. Beyond nine tenths a table is to be built anew, with more pages.
    pub(super) fn grow(&mut self) -> Result<(), Unusable> {
        self.records += 1;
        let room = u64::from(self.pages) * self.per_page;
        if self.records * 10 > room * 9 {
            return Err(Unusable);
        }
        Ok(())
    }

    pub(super) fn shrink(&mut self) -> Result<(), Unusable> {
        self.records = self.records.checked_sub(1).ok_or(Unusable)?;
        Ok(())
    }

    /// `None` for what no table can be, so that nothing that is counted from it overflows.
    fn read(pages: u64, records: u64, record: usize) -> Option<Self> {
        let per_page = (PAGE / record) as u64;
        let is_one = (1..=MOST_PAGES).contains(&pages) && records <= pages * per_page;
        Some(Self {
            pages: u32::try_from(pages).ok().filter(|_| is_one)?,
            records,
            per_page,
        })
    }
}

/// What the first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(super) holders: Fill,
    pub(super) blocks: Fill,
    leases: u64,
}

impl Header {
    pub(super) fn new(holders: Fill, blocks: Fill, leases: u64) -> Self {
        Self {
            holders,
            blocks,
            leases,
        }
    }

    /// How many addresses are taken.
    pub(crate) fn leases(&self) -> u64 {
        self.leases
    }

    pub(super) fn count(&mut self, taken: bool) -> Result<(), Unusable> {
        let leases = if taken {
            self.leases.checked_add(1)
        } else {
            self.leases.checked_sub(1)
        };
        self.leases = leases.ok_or(Unusable)?;
        Ok(())
    }

    pub(super) fn holders_span(&self) -> Span {
        Span {
            first: 1,
            pages: self.holders.pages,
        }
    }

    pub(super) fn blocks_span(&self) -> Span {
        Span {
            first: 1 + self.holders.pages,
            pages: self.blocks.pages,
        }
    }

    /// The first page, once the directory is known to look like this.
    pub(crate) fn to_page(self, identity: Identity, stamp: Stamp) -> Page {
        let numbers: [u64; NUMBERS] = [
            MAGIC,
            identity.dev,
            identity.ino,
            identity.boot,
            stamp.mtime.0.cast_unsigned(),
            stamp.mtime.1.cast_unsigned(),
            stamp.ctime.0.cast_unsigned(),
            stamp.ctime.1.cast_unsigned(),
            self.holders.pages.into(),
            self.holders.records,
            self.blocks.pages.into(),
            self.blocks.records,
            self.leases,
            PAGE as u64,
        ];
        let mut page = [0; PAGE];
        let mut rest = page.as_chunks_mut().0.iter_mut();
        for (place, number) in rest.by_ref().zip(numbers) {
            *place = number.to_le_bytes();
        }
        let sum = checksum(&numbers);
        if let Some(place) = page.get_mut(NUMBERS * 8..LENGTH) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        page
    }

    /// What a first page says, if it speaks of this directory as it looks now.
    pub(crate) fn from_page(page: &Page, identity: Identity, stamp: Stamp) -> Option<Self> {
        let mut words = page
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word));
        let mut numbers = [0; NUMBERS];
        for number in &mut numbers {
            *number = words.next()?;
        }
        let [
            magic,
            dev,
            ino,
            boot,
            mtime,
            mtime_ns,
            ctime,
            ctime_ns,
            rest @ ..,
        ] = numbers;
        let [holder_pages, holders, block_pages, blocks, leases, size] = rest;
        let written = Stamp {
            mtime: (mtime.cast_signed(), mtime_ns.cast_signed()),
            ctime: (ctime.cast_signed(), ctime_ns.cast_signed()),
        };
        let is_its = magic == MAGIC
            && words.next() == Some(checksum(&numbers))
            && size == PAGE as u64
            && Identity { dev, ino, boot } == identity
            && written == stamp;
        if !is_its {
            return None;
        }
        let holders = Fill::read(holder_pages, holders, HOLDER)?;
        let blocks = Fill::read(block_pages, blocks, BLOCK)?;
        Some(Self::new(holders, blocks, leases))
    }
}

fn checksum(numbers: &[u64; NUMBERS]) -> u64 {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    fnv(&bytes.collect::<Vec<u8>>())
}
