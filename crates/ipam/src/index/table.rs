//! Records of one size, hashed into pages.

use super::Unusable;

/// The size of a page, in bytes.
pub(crate) const PAGE: usize = 4096;

/// What is read and written at once.
pub(crate) type Page = [u8; PAGE];

/// Whatever keeps the pages of an index.
pub(crate) trait Pages {
    /// A page as it is.
    fn read(&mut self, number: u32) -> Result<&Page, Unusable>;

    /// A page that is going to be another.
    fn write(&mut self, number: u32) -> Result<&mut Page, Unusable>;
}

/// The pages of a table, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u32,
    pub(super) pages: u32,
}

/// A slot of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    page: u32,
    slot: usize,
}

/// Records of `RECORD` bytes each; one of zeros is an empty slot. What is left at the end of a page
/// is less than a record, and its last byte tells that a record of this page is in a later one.
/// It stays told when that record is gone.
#[derive(Debug)]
pub(super) struct Table<'a, P, const RECORD: usize> {
    pages: &'a mut P,
    span: Span,
}

fn is_empty<const RECORD: usize>(record: &[u8; RECORD]) -> bool {
    record.iter().all(|byte| *byte == 0)
}

impl<'a, P: Pages, const RECORD: usize> Table<'a, P, RECORD> {
    pub(super) fn new(pages: &'a mut P, span: Span) -> Self {
        const { assert!(!PAGE.is_multiple_of(RECORD), "no byte is left at the end") };
        Self { pages, span }
    }

    /// The pages that a record can be in, in the order in which it is put into them.
    fn chain(&self, hash: u64) -> impl Iterator<Item = u32> + use<P, RECORD> {
        let Span { first, pages } = self.span;
        // The upper half of the product is less than `pages`.
        let [.., a, b, c, d] = ((u128::from(hash) * u128::from(pages)) >> 64).to_be_bytes();
        let home = u32::from_be_bytes([a, b, c, d]);
        (home..pages).chain(0..home).map(move |page| first + page)
    }

    /// The first record with this hash that is `wanted`. It is asked about others as well.
    pub(super) fn find(
        &mut self,
        hash: u64,
        mut wanted: impl FnMut(&[u8; RECORD]) -> bool,
    ) -> Result<Option<Place>, Unusable> {
        for page in self.chain(hash) {
            let bytes = self.pages.read(page)?;
            let (records, end) = bytes.as_chunks();
            if let Some(slot) = records.iter().position(&mut wanted) {
                return Ok(Some(Place { page, slot }));
            }
            if end.last() == Some(&0) {
                break;
            }
        }
        Ok(None)
    }

    pub(super) fn insert(&mut self, hash: u64, record: &[u8; RECORD]) -> Result<(), Unusable> {
        for page in self.chain(hash) {
            let (records, end) = self.pages.write(page)?.as_chunks_mut();
            if let Some(slot) = records.iter_mut().find(|record| is_empty(record)) {
                *slot = *record;
                return Ok(());
            }
            if let Some(overflown) = end.last_mut() {
                *overflown = 1;
            }
        }
        Err(Unusable)
    }

    pub(super) fn replace(&mut self, place: Place, record: &[u8; RECORD]) -> Result<(), Unusable> {
        let (records, _end) = self.pages.write(place.page)?.as_chunks_mut();
        *records.get_mut(place.slot).ok_or(Unusable)? = *record;
        Ok(())
    }
}
