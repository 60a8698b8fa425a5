//! Changing leases, under the lock.

use std::ffi::CStr;
use std::fs::File;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;

use cni_types::Attachment;

use super::dir::{Content, LEASE_LIMIT, LeaseDir};
use super::error::StoreError;
use super::write;
use crate::lease::{Holding, Lease, LeaseText, Store, Survey, is_nobodys};

/// The leases of one network, locked until this is dropped.
#[derive(Debug)]
pub struct LockedStore {
    dir: LeaseDir,
    data_dir: PathBuf,
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

impl LockedStore {
    pub(super) fn new(dir: LeaseDir, data_dir: PathBuf, lock: File) -> Self {
        Self {
            dir,
            data_dir,
            _lock: lock,
        }
    }

    /// Removes an attachment's leases, or else those its container has in the old form.
    ///
    /// # Errors
    /// The leases cannot be found out. Failing to remove one is told in [`Removed::errors`].
    pub fn release_attachment(&mut self, attachment: &Attachment) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let survey = self.survey_with(attachment, |error| {
            removed.errors.push(error);
            Ok(())
        })?;
        for addr in survey.to_release() {
            match self.release(*addr) {
                Ok(()) => removed.addresses.push(*addr),
                Err(error) => removed.errors.push(error),
            }
        }
        Ok(removed)
    }

    /// Removes every lease that `is_valid` does not want kept, and every empty file.
    pub fn collect_garbage(&mut self, is_valid: impl Fn(&Lease) -> bool) -> Removed {
        let mut removed = Removed::default();
        let visited = self.dir.visit(|addr, name, content| {
            let outcome = content.and_then(|content| match content {
                Content::File(bytes)
                    if !Lease::parse(addr, bytes).is_some_and(|lease| is_valid(&lease)) =>
                {
                    self.remove(name).map(|()| Some(addr))
                }
                _ => Ok(None),
            });
            match outcome {
                Ok(addr) => removed.addresses.extend(addr),
                Err(error) => removed.errors.push(error),
            }
            Ok(())
        });
        removed.errors.extend(visited.err());
        removed
    }

    /// Reads every lease, and tells `unreadable` of those that cannot be read. Whatever can
    /// answer the same from less belongs here.
    fn survey_with(
        &self,
        attachment: &Attachment,
        mut unreadable: impl FnMut(StoreError) -> Result<(), StoreError>,
    ) -> Result<Survey, StoreError> {
        let text = LeaseText::of(attachment);
        let mut survey = Survey::default();
        self.dir.visit(|addr, name, content| {
            let holding = match content {
                Ok(Content::File(bytes)) => text.holding(bytes),
                Ok(Content::Foreign | Content::Gone) => Holding::Others,
                Err(error) => {
                    unreadable(error)?;
                    Holding::Others
                }
            };
            match holding {
                Holding::Attachment => survey.own.push(addr),
                Holding::Container => survey.legacy.push(addr),
                Holding::Others => {}
                Holding::Nobody => return self.remove(name),
            }
            survey.taken.push(addr);
            Ok(())
        })?;
        survey.own.sort_unstable();
        survey.legacy.sort_unstable();
        survey.taken.sort_unstable();
        Ok(survey)
    }

    fn remove(&self, name: &CStr) -> Result<(), StoreError> {
        write::remove(&self.dir, name)
            .map_err(|errno| self.error("remove lease", &*name.to_string_lossy(), errno))
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

impl Store for LockedStore {
    fn survey(&mut self, attachment: &Attachment) -> Result<Survey, StoreError> {
        self.survey_with(attachment, Err)
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
        let name = addr.to_string();
        let create = || write::create(&self.dir, &self.data_dir, &name, text.as_bytes());
        let created = create()? || (self.reclaim(&name)? && create()?);
        if !created {
            return Ok(false);
        }
        let remembered = write::write_last_reserved(&self.dir, &self.data_dir, set, addr);
        if remembered.is_err() {
            // The first error tells more than that of taking the lease back.
            let _second = self.release(addr);
        }
        remembered.map(|()| true)
    }

    fn release(&mut self, addr: IpAddr) -> Result<(), StoreError> {
        let name = addr.to_string();
        write::remove(&self.dir, name.as_str())
            .map_err(|errno| self.error("remove lease", &name, errno))
    }
}
