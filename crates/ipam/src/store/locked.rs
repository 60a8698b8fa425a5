//! Changing leases, under the lock.

use std::ffi::CStr;
use std::fs::File;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;

use cni_types::Attachment;

use super::dir::{Content, LEASE_LIMIT, LeaseDir};
use super::error::StoreError;
use super::index::Keeper;
use super::write;
use crate::blocks::{Bitmap, Block, Blocks};
use crate::index::{Census, Counted, Key, Unusable};
use crate::lease::{Holding, Lease, LeaseText, Store, Survey, is_nobodys};

/// The leases of one network, locked until this is dropped.
#[derive(Debug)]
pub struct LockedStore {
    pub(super) dir: LeaseDir,
    data_dir: PathBuf,
    pub(super) index: Keeper,
    /// What was taken when this operation has read all leases, if it had to.
    taken: Option<Blocks>,
    /// Closing it frees the lock.
    _lock: File,
}

/// What a DEL or GC did.
#[derive(Debug, Default)]
pub struct Removed {
    /// The addresses that are free now.
    pub addresses: Vec<IpAddr>,
    /// What could not be removed, or not even read.
    pub errors: Vec<StoreError>,
}

impl Deref for LockedStore {
    type Target = LeaseDir;

    fn deref(&self) -> &LeaseDir {
        &self.dir
    }
}

impl Drop for LockedStore {
    fn drop(&mut self) {
        self.commit(|| true);
    }
}

impl LockedStore {
    pub(super) fn new(dir: LeaseDir, data_dir: PathBuf, index: Keeper, lock: File) -> Self {
        Self {
            dir,
            data_dir,
            index,
            taken: None,
            _lock: lock,
        }
    }

    /// Brings the index in step with what was changed. `go_on` is asked before each step of that.
    pub(super) fn commit(&mut self, go_on: impl FnMut() -> bool) {
        self.index.commit(&self.dir, go_on);
    }

    /// Removes an attachment's leases, or else those its container has in the old form.
    ///
    /// # Errors
    /// The leases cannot be found out. Failing to remove one is told in [`Removed::errors`].
    pub fn release_attachment(&mut self, attachment: &Attachment) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let text = LeaseText::of(attachment);
        let survey = self.survey_of(&text, |error| {
            removed.errors.push(error);
            Ok(())
        })?;
        let key = Key::of(if survey.own.is_empty() {
            text.old_form()
        } else {
            text.as_bytes()
        });
        for addr in survey.to_release() {
            match self.remove_lease(*addr, Some(key)) {
                Ok(()) => removed.addresses.push(*addr),
                Err(error) => removed.errors.push(error),
            }
        }
        Ok(removed)
    }

    /// Removes every lease that `is_valid` does not want kept, and every empty file.
    pub fn collect_garbage(&mut self, is_valid: impl Fn(&Lease) -> bool) -> Removed {
        let mut removed = Removed::default();
        let scanned = self.scan(|dir, addr, name, content| {
            let outcome = content.and_then(|content| match content {
                Content::File(bytes)
                    if !Lease::parse(addr, bytes).is_some_and(|lease| is_valid(&lease)) =>
                {
                    remove(dir, name).map(|()| Some(addr))
                }
                _ => Ok(None),
            });
            let is_removed = matches!(outcome, Ok(Some(_)));
            match outcome {
                Ok(addr) => removed.addresses.extend(addr),
                Err(error) => removed.errors.push(error),
            }
            Ok(!is_removed)
        });
        removed.errors.extend(scanned.err());
        removed
    }

    /// What the attachment holds, by the index if there is one; otherwise all leases are read, and
    /// `unreadable` is told of those that cannot be.
    fn survey_of(
        &mut self,
        text: &LeaseText,
        unreadable: impl FnMut(StoreError) -> Result<(), StoreError>,
    ) -> Result<Survey, StoreError> {
        if let Some(survey) = self.survey_by_index(text) {
            return Ok(survey);
        }
        let mut survey = Survey::default();
        self.read_all(unreadable, |addr, bytes| match text.holding(bytes) {
            Holding::Attachment => survey.own.push(addr),
            Holding::Container => survey.legacy.push(addr),
            Holding::Others | Holding::Nobody => {}
        })?;
        survey.own.sort_unstable();
        survey.legacy.sort_unstable();
        Ok(survey)
    }

    /// Files can be edited without the directory's being changed, so what the index says is looked
    /// up in the very file.
    fn survey_by_index(&mut self, text: &LeaseText) -> Option<Survey> {
        let keys = [text.as_bytes(), text.old_form()].map(Key::of);
        let [mut own, mut legacy] = self.index.ask(&self.dir, |index| {
            let [own, legacy] = keys;
            Ok([index.held(own)?, index.held(legacy)?])
        })?;
        let says = |addr: &IpAddr, holding| {
            let found = self.dir.holding_of(*addr, text);
            found.is_ok_and(|found| found == holding)
        };
        let is_right = own.iter().all(|addr| says(addr, Holding::Attachment))
            && legacy.iter().all(|addr| says(addr, Holding::Container));
        if !is_right {
            self.index.distrust();
            return None;
        }
        own.sort_unstable();
        legacy.sort_unstable();
        Some(Survey { own, legacy })
    }

    /// Reads all leases, tells `found` of them and `unreadable` of those that cannot be read, and
    /// removes files that a crash left empty.
    fn read_all(
        &mut self,
        mut unreadable: impl FnMut(StoreError) -> Result<(), StoreError>,
        mut found: impl FnMut(IpAddr, &[u8]),
    ) -> Result<(), StoreError> {
        self.scan(|dir, addr, name, content| {
            match content {
                Ok(Content::File(bytes)) if is_nobodys(bytes) => {
                    return remove(dir, name).map(|()| false);
                }
                Ok(Content::File(bytes)) => found(addr, bytes),
                Ok(Content::Foreign | Content::Gone) => {}
                Err(error) => unreadable(error)?,
            }
            Ok(true)
        })
    }

    /// Shows `each` all that is named after an address, which says whether that stays there; what
    /// does is counted.
    fn scan(
        &mut self,
        mut each: impl FnMut(
            &LeaseDir,
            IpAddr,
            &CStr,
            Result<Content<'_>, StoreError>,
        ) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let dir = &self.dir;
        let mut census = Census::new(self.index.is_wanted());
        dir.visit(|addr, name, content| {
            let counted = match &content {
                Ok(Content::File(bytes)) => Counted::Lease(census.key_of(bytes)),
                Ok(Content::Foreign | Content::Gone) => Counted::Foreign,
                Err(_) => Counted::Unreadable,
            };
            if each(dir, addr, name, content)? {
                census.count(addr, counted);
            }
            Ok(())
        })?;
        self.index.adopt(dir, &mut census);
        self.taken = Some(census.into_blocks());
        Ok(())
    }

    /// Removes a lease, whose key is known unless the caller has not seen it.
    fn remove_lease(&mut self, addr: IpAddr, key: Option<Key>) -> Result<(), StoreError> {
        let index = self.index.take(&self.dir);
        let name = addr.to_string();
        let key = key.or_else(|| index.as_ref().and_then(|_| self.key_at(&name)));
        let was_there = write::remove(&self.dir, name.as_str())
            .map_err(|errno| self.error("remove lease", &name, errno))?;
        if let Some(live) = index {
            let key = key.filter(|_| was_there);
            self.index
                .put_back(live, |index| index.remove(addr, key.ok_or(Unusable)?));
        }
        Ok(())
    }

    fn key_at(&self, name: &str) -> Option<Key> {
        let mut buffer = [0; LEASE_LIMIT];
        match self.dir.read(name, &mut buffer) {
            Ok(Content::File(bytes)) => Some(Key::of(bytes)),
            _ => None,
        }
    }

    /// Removes what a crash left at an address. `false` if somebody holds it.
    fn reclaim(&self, name: &str) -> Result<bool, StoreError> {
        let mut buffer = [0; LEASE_LIMIT];
        let content = self
            .dir
            .read(name, &mut buffer)
            .map_err(|errno| self.error("read lease", name, errno))?;
        let nobodys = match content {
            Content::File(bytes) => is_nobodys(bytes),
            Content::Foreign => false,
            Content::Gone => true,
        };
        if nobodys {
            write::remove(&self.dir, name)
                .map_err(|errno| self.error("remove empty lease", name, errno))?;
        }
        Ok(nobodys)
    }
}

fn remove(dir: &LeaseDir, name: &CStr) -> Result<(), StoreError> {
    write::remove(dir, name)
        .map(|_was_there| ())
        .map_err(|errno| dir.error("remove lease", &*name.to_string_lossy(), errno))
}

impl Store for LockedStore {
    fn survey(&mut self, attachment: &Attachment) -> Result<Survey, StoreError> {
        self.survey_of(&LeaseText::of(attachment), Err)
    }

    fn taken(&mut self, block: Block) -> Result<Bitmap, StoreError> {
        if let Some(taken) = &self.taken {
            return Ok(taken.get(block));
        }
        if let Some(bitmap) = self.index.ask(&self.dir, |index| index.taken(block)) {
            return Ok(bitmap);
        }
        self.read_all(Err, |_, _| {})?;
        let taken = self.taken.as_ref().map(|taken| taken.get(block));
        Ok(taken.unwrap_or_default())
    }

    fn recount(&mut self) -> Result<bool, StoreError> {
        let by_index = self.taken.is_none();
        if by_index {
            self.read_all(Err, |_, _| {})?;
        }
        Ok(by_index)
    }

    fn last_reserved(&mut self, set: usize) -> Option<IpAddr> {
        write::read_last_reserved(&self.dir, set)
    }

    fn reserve(
        &mut self,
        addr: IpAddr,
        attachment: &Attachment,
        set: usize,
    ) -> Result<bool, StoreError> {
        let text = LeaseText::of(attachment);
        if text.as_bytes().len() >= LEASE_LIMIT {
            let length = attachment.container_id.as_str().len();
            return Err(StoreError::TooLong { length });
        }
        let index = self.index.take(&self.dir);
        let name = addr.to_string();
        let create = || write::create(&self.dir, &self.data_dir, &name, text.as_bytes());
        let created = create()? || (self.reclaim(&name)? && create()?);
        if created {
            let remembered = write::write_last_reserved(&self.dir, &self.data_dir, set, addr);
            if let Err(error) = remembered {
                // The first error tells more than that of taking the lease back.
                let _second = self.release(addr);
                return Err(error);
            }
        }
        if let Some(live) = index {
            self.index.put_back(live, |index| {
                if created {
                    index.add(addr, Key::of(text.as_bytes()))
                } else {
                    index.expect_taken(addr)
                }
            });
        }
        Ok(created)
    }

    fn release(&mut self, addr: IpAddr) -> Result<(), StoreError> {
        self.remove_lease(addr, None)
    }
}
