//! The pages of an index that is a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::index::{PAGE, Page, Pages, Unusable};

/// Pages as they were read, and as they are going to be.
#[derive(Debug)]
pub(in crate::store) struct FilePages {
    file: File,
    cache: BTreeMap<u32, Cached>,
}

#[derive(Debug)]
struct Cached {
    page: Box<Page>,
    changed: bool,
}

fn position(number: u32) -> u64 {
    u64::from(number) * PAGE as u64
}

fn unusable(_why: io::Error) -> Unusable {
    Unusable
}

impl FilePages {
    pub(super) fn new(file: File) -> Self {
        let cache = BTreeMap::new();
        Self { file, cache }
    }

    /// Replaces the file's content at once. Its header says nothing yet.
    pub(super) fn replace(&mut self, pages: &[Page]) -> Result<(), Unusable> {
        self.cache.clear();
        let emptied = self.file.set_len(0).map_err(unusable);
        emptied.and_then(|()| self.put(pages.as_flattened(), 0))
    }

    /// Makes the header say nothing, so that nobody believes the rest.
    pub(super) fn void(&self) -> Result<(), Unusable> {
        self.put(&[0; 8], 0)
    }

    pub(super) fn write_header(&self, page: &Page) -> Result<(), Unusable> {
        self.put(page, 0)
    }

    /// A page that is to be written.
    pub(super) fn next_changed(&self) -> Option<u32> {
        let mut changed = self.cache.iter().filter(|(_, cached)| cached.changed);
        changed.next().map(|(number, _)| *number)
    }

    /// Writes a page.
    pub(super) fn write_back(&mut self, number: u32) -> Result<(), Unusable> {
        let cached = self.cache.get_mut(&number).ok_or(Unusable)?;
        cached.changed = false;
        let written = self.file.write_all_at(&*cached.page, position(number));
        written.map_err(unusable)
    }

    fn put(&self, bytes: &[u8], position: u64) -> Result<(), Unusable> {
        self.file.write_all_at(bytes, position).map_err(unusable)
    }

    fn cached(&mut self, number: u32) -> Result<&mut Cached, Unusable> {
        use std::collections::btree_map::Entry;
        match self.cache.entry(number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let mut page = Box::new([0; PAGE]);
                self.file
                    .read_exact_at(&mut *page, position(number))
                    .map_err(unusable)?;
                let changed = false;
                Ok(new.insert(Cached { page, changed }))
            }
        }
    }
}

impl Pages for FilePages {
    fn read(&mut self, number: u32) -> Result<&Page, Unusable> {
        Ok(&self.cached(number)?.page)
    }

    fn write(&mut self, number: u32) -> Result<&mut Page, Unusable> {
        let cached = self.cached(number)?;
        cached.changed = true;
        Ok(&mut cached.page)
    }
}
