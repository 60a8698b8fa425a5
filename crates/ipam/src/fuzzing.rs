//! What `tests/fuzz` calls: lease files and the index, whoever wrote them.

use std::net::IpAddr;

use cni_types::Attachment;

use crate::blocks::Block;
use crate::index::{Census, Header, Identity, Index, Key, PAGE, Page, Pages, Stamp, Unusable, fnv};
use crate::lease::{Holding, Lease, LeaseText, is_nobodys};

/// A lease file is the same to whoever reads it all and to a scan, which does not.
pub fn lease(content: &[u8], addr: IpAddr, attachment: &Attachment) {
    let lease = Lease::parse(addr, content);
    assert_eq!(lease.is_none(), is_nobodys(content));
    let text = LeaseText::of(attachment);
    let read = lease.map_or(Holding::Nobody, |lease| lease.holding(attachment));
    assert_eq!(read, text.holding(content), "{text:?}");
    let is_its = Key::of(content) == Key::of(text.as_bytes());
    assert_eq!(is_its, read == Holding::Attachment, "{text:?}");
}

/// Bytes of a page that the input gives; the rest is zeros.
const GIVEN: usize = 256;
/// Where in the first page the tables' sizes are, and the checksum behind them.
const SIZES: std::ops::Range<usize> = 64..104;
const SUM: std::ops::Range<usize> = 112..120;

/// Pages as the input has them, for as long as it lasts.
struct Given(Vec<Page>);

impl Pages for Given {
    fn read(&mut self, number: u32) -> Result<&Page, Unusable> {
        self.0.get(number as usize).ok_or(Unusable)
    }

    fn write(&mut self, number: u32) -> Result<&mut Page, Unusable> {
        self.0.get_mut(number as usize).ok_or(Unusable)
    }
}

/// An index that belongs to its directory, with whatever else in it. The first 40 bytes are the sizes
/// of the tables; then there are 256 bytes for each page.
///
/// # Panics
/// The index answered what it cannot know.
pub fn index(bytes: &[u8], addr: IpAddr, attachment: &Attachment) {
    let Some((sizes, pages)) = bytes.split_first_chunk::<40>() else {
        return;
    };
    let (identity, stamp) = directory();
    let Ok(empty) = Census::new(true).build() else {
        return;
    };
    let mut first = empty.header().to_page(identity, stamp);
    if let Some(place) = first.get_mut(SIZES) {
        place.copy_from_slice(sizes);
    }
    let sum = first.get(..SUM.start).map(fnv).unwrap_or_default();
    if let Some(place) = first.get_mut(SUM) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    let Some(header) = Header::from_page(&first, identity, stamp) else {
        return;
    };
    let given = pages.chunks(GIVEN).map(page);
    let pages = std::iter::once(first).chain(given).collect();
    ask(&mut Index::new(Given(pages), header), addr, attachment);
}

fn directory() -> (Identity, Stamp) {
    let identity = Identity {
        dev: 1,
        ino: 2,
        boot: 3,
    };
    let stamp = Stamp {
        mtime: (4, 5),
        ctime: (6, 7),
    };
    (identity, stamp)
}

/// The last four bytes that are given are the last of the page.
fn page(given: &[u8]) -> Page {
    let mut page = [0; PAGE];
    let (body, trailer) = given.split_at(given.len().saturating_sub(4));
    for (place, byte) in page.iter_mut().zip(body) {
        *place = *byte;
    }
    for (place, byte) in page.iter_mut().skip(PAGE - 4).zip(trailer) {
        *place = *byte;
    }
    page
}

fn ask(index: &mut Index<Given>, addr: IpAddr, attachment: &Attachment) {
    let key = Key::of(LeaseText::of(attachment).as_bytes());
    let (block, offset) = Block::of(addr);
    let _no_panic = index.held(key);
    let taken = index.taken(block).map(|bitmap| bitmap.contains(offset));
    assert_eq!(index.expect_taken(addr).is_ok(), taken == Ok(true));
    if index.add(addr, key).is_ok() {
        assert_eq!(taken, Ok(false), "an address was given twice");
        assert!(index.held(key).is_ok_and(|held| held.contains(&addr)));
        assert_eq!(index.remove(addr, key), Ok(()));
    }
    let _no_panic = index.remove(addr, key);
}
