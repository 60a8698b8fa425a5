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

/// Records of `RECORD` bytes each; one that begins with eight zeros is an empty slot. What is left
/// at the end of a page is less than a record, but enough for a [`Trailer`].
#[derive(Debug)]
pub(super) struct Table<'a, P, const RECORD: usize> {
    pages: &'a mut P,
    span: Span,
}

/// The last four bytes of a page.
#[derive(Debug, Clone, Copy)]
struct Trailer {
    /// How many slots have ever been used; they are the first ones.
    used: u16,
    /// A record of this page is, or has been, in a later one.
    overflown: u16,
}

impl Trailer {
    fn of(page: &Page) -> Self {
        let [.., a, b, c, d] = *page;
        Self {
            used: u16::from_le_bytes([a, b]),
            overflown: u16::from_le_bytes([c, d]),
        }
    }

    fn put(self, page: &mut Page) {
        let [.., a, b, c, d] = page;
        [*a, *b] = self.used.to_le_bytes();
        [*c, *d] = self.overflown.to_le_bytes();
    }
}

fn is_empty<const RECORD: usize>(record: &[u8; RECORD]) -> bool {
    record.first_chunk() == Some(&[0; 8])
}

impl<'a, P: Pages, const RECORD: usize> Table<'a, P, RECORD> {
    pub(super) fn new(pages: &'a mut P, span: Span) -> Self {
        const { assert!(PAGE % RECORD >= 4, "a page ends with a trailer") };
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
            let trailer = Trailer::of(bytes);
            let records = bytes.as_chunks().0.iter().take(trailer.used.into());
            if let Some(slot) = records.into_iter().position(&mut wanted) {
                return Ok(Some(Place { page, slot }));
            }
            if trailer.overflown == 0 {
                break;
            }
        }
        Ok(None)
    }

    pub(super) fn insert(&mut self, hash: u64, record: &[u8; RECORD]) -> Result<(), Unusable> {
        for page in self.chain(hash) {
            let bytes = self.pages.write(page)?;
            let mut trailer = Trailer::of(bytes);
            let records = bytes.as_chunks_mut().0;
            let unused = usize::from(trailer.used);
            let slot = if unused < records.len() {
                trailer.used += 1;
                records.get_mut(unused)
            } else {
                records.iter_mut().find(|record| is_empty(record))
            };
            if let Some(slot) = slot {
                *slot = *record;
                trailer.put(bytes);
                return Ok(());
            }
            trailer.overflown = 1;
            trailer.put(bytes);
        }
        Err(Unusable)
    }

    pub(super) fn replace(&mut self, place: Place, record: &[u8; RECORD]) -> Result<(), Unusable> {
        let (records, _end) = self.pages.write(place.page)?.as_chunks_mut();
        *records.get_mut(place.slot).ok_or(Unusable)? = *record;
        Ok(())
    }
}
