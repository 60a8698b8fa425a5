//! What the controller remembers, on disk.
//!
//! ```text
//! <data dir>/                                0700
//!     networks/<network id>/
//!         network.json                       0600  a NetworkRecord
//!         endpoints/<attachment key>.json          an EndpointRecord
//!         garbage/<endpoint id>.json               one whose removal is not done
//!     locks/<network id | attachment key>    held with flock(2), and gone when nobody holds it, but
//!                                            for that of a process that was killed, until the next
//! ```
//!
//! Records are written whole, and synced: the driver may be on another machine that does not lose
//! its power together with ours. Whoever changes an endpoint's record holds the lock of its
//! attachment, whoever changes a network's holds the network's; who needs both takes the
//! attachment's first.

mod dir;
mod error;
pub(crate) mod file;
mod lock;
pub mod record;

use std::path::{Path, PathBuf};
use std::time::Instant;

use cni_types::{Attachment, ErrorCode, ToCniError as _};
use sha2::{Digest, Sha256};

pub use self::dir::RecordDir;
pub use self::error::StoreError;
pub use self::lock::Lock;
use self::record::{EndpointRecord, NetworkRecord};
use crate::ids::{EndpointId, NetworkId, hex};

/// What a file operation gives.
type Outcome<T> = Result<T, StoreError>;

/// The records below one directory. Cheap: nothing is opened yet.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The records below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether anything has ever been remembered.
    #[must_use]
    pub fn is_there(&self) -> bool {
        file::is_dir(&self.dir)
    }

    /// Waits for the lock of a network.
    ///
    /// # Errors
    /// It was not free by the deadline.
    pub fn lock_network(&self, network: &NetworkId, deadline: Instant) -> Outcome<Lock> {
        self.lock(network.as_str(), deadline)
    }

    /// The lock of a network, if nobody has it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn try_lock_network(&self, network: &NetworkId) -> Outcome<Option<Lock>> {
        self.try_lock(network.as_str())
    }

    /// Waits for the lock of an attachment.
    ///
    /// # Errors
    /// It was not free by the deadline.
    pub fn lock_attachment(&self, attachment: &Attachment, deadline: Instant) -> Outcome<Lock> {
        self.lock(&attachment_key(attachment), deadline)
    }

    /// Waits for the lock of something that is neither: a `kind` of things, and which one. It is
    /// taken after an attachment's.
    ///
    /// # Errors
    /// It was not free by the deadline.
    pub fn lock_other(&self, kind: &str, which: &str, deadline: Instant) -> Outcome<Lock> {
        self.lock(&short_digest(&format!("{kind}\0{which}")), deadline)
    }

    /// Removes the file of a network's lock if nobody holds it: whoever held it was killed.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn sweep_lock(&self, network: &NetworkId) -> Outcome<()> {
        if self.lock_file(network.as_str()).exists() {
            drop(self.try_lock(network.as_str())?);
        }
        Ok(())
    }

    /// The same for all locks.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn sweep_locks(&self) -> Outcome<()> {
        for path in file::entries(&self.dir.join("locks"))? {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                drop(self.try_lock(name)?);
            }
        }
        Ok(())
    }

    /// Removes what a crash left of the record of an attachment that has none. The caller holds the
    /// attachment's lock.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn sweep_endpoint(&self, network: &NetworkId, attachment: &Attachment) -> Outcome<()> {
        file::remove_half_written(&self.endpoint_file(network.as_str(), attachment))
    }

    /// The same for all records that nobody is about to write.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn sweep_records(&self) -> Outcome<()> {
        for network in self.network_dirs()? {
            let id = network.file_name().and_then(|id| id.to_str());
            for record in file::half_written(&network)? {
                self.sweep_record(&record, id)?;
            }
            // They are named after the lock under which they are written.
            for record in file::half_written(&network.join("endpoints"))? {
                let key = record.file_stem().and_then(|key| key.to_str());
                self.sweep_record(&record, key)?;
            }
        }
        Ok(())
    }

    fn sweep_record(&self, record: &Path, lock: Option<&str>) -> Outcome<()> {
        if let Some(name) = lock
            && let Some(_lock) = self.try_lock(name)?
        {
            file::remove_half_written(record)?;
        }
        Ok(())
    }

    fn try_lock(&self, name: &str) -> Outcome<Option<Lock>> {
        match self.lock(name, Instant::now()) {
            Err(error) if error.code() == ErrorCode::TRY_AGAIN => Ok(None),
            other => other.map(Some),
        }
    }

    fn lock_file(&self, name: &str) -> PathBuf {
        self.dir.join("locks").join(name)
    }

    fn lock(&self, name: &str, deadline: Instant) -> Outcome<Lock> {
        Lock::acquire(&self.lock_file(name), deadline)
    }

    fn network_dir(&self, network: &str) -> PathBuf {
        self.dir.join("networks").join(network)
    }

    fn network_file(&self, network: &NetworkId) -> PathBuf {
        self.network_dir(network.as_str()).join("network.json")
    }

    fn endpoint_file(&self, network: &str, attachment: &Attachment) -> PathBuf {
        let name = format!("{}.json", attachment_key(attachment));
        self.network_dir(network).join("endpoints").join(name)
    }

    fn garbage_file(&self, network: &NetworkId, endpoint: &EndpointId) -> PathBuf {
        let name = format!("{endpoint}.json");
        self.network_dir(network.as_str())
            .join("garbage")
            .join(name)
    }

    /// The record of a network.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn network(&self, network: &NetworkId) -> Outcome<Option<NetworkRecord>> {
        file::read(&self.network_file(network))
    }

    /// The records of all networks, and what could not be read.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn networks(&self) -> Outcome<Vec<Outcome<NetworkRecord>>> {
        let mut all = Vec::new();
        for dir in self.network_dirs()? {
            all.extend(file::read(&dir.join("network.json")).transpose());
        }
        Ok(all)
    }

    /// Which networks there is anything of, their own records or others'.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn network_ids(&self) -> Outcome<Vec<NetworkId>> {
        let dirs = self.network_dirs()?.into_iter();
        let names = dirs.filter_map(|dir| dir.file_name()?.to_str().and_then(NetworkId::parse));
        Ok(names.collect())
    }

    fn network_dirs(&self) -> Outcome<Vec<PathBuf>> {
        file::entries(&self.dir.join("networks"))
    }

    /// Writes the record of a network.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_network(&self, record: &NetworkRecord) -> Outcome<()> {
        file::write(&self.network_file(&record.id), record)
    }

    /// Removes the record of a network.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_network(&self, network: &NetworkId) -> Outcome<()> {
        file::remove(&self.network_file(network))?;
        let dir = self.network_dir(network.as_str());
        for empty in [dir.join("endpoints"), dir.join("garbage"), dir] {
            file::remove_empty_dir(&empty)?;
        }
        Ok(())
    }

    /// Whether no endpoint is on the network, nor what is left of one.
    ///
    /// # Errors
    /// The directories cannot be read.
    pub fn is_unused(&self, network: &NetworkId) -> Outcome<bool> {
        let dir = self.network_dir(network.as_str());
        Ok(file::list(&dir.join("endpoints"))?.is_empty()
            && file::list(&dir.join("garbage"))?.is_empty())
    }

    /// The record of an attachment's endpoint on whatever network, `likely` first: the
    /// configuration may have been edited since.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn endpoint(
        &self,
        likely: &NetworkId,
        attachment: &Attachment,
    ) -> Outcome<Option<EndpointRecord>> {
        if let Some(found) = file::read(&self.endpoint_file(likely.as_str(), attachment))? {
            return Ok(Some(found));
        }
        let name = format!("{}.json", attachment_key(attachment));
        for dir in self.network_dirs()? {
            if let Some(found) = file::read(&dir.join("endpoints").join(&name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The records of a network's endpoints, and what could not be read.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn endpoints(&self, network: &NetworkId) -> Outcome<Vec<Outcome<EndpointRecord>>> {
        self.records(network, "endpoints")
    }

    /// The records of what is left of endpoints, and what could not be read.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn garbage(&self, network: &NetworkId) -> Outcome<Vec<Outcome<EndpointRecord>>> {
        self.records(network, "garbage")
    }

    fn records(&self, network: &NetworkId, kind: &str) -> Outcome<Vec<Outcome<EndpointRecord>>> {
        let dir = self.network_dir(network.as_str()).join(kind);
        let mut all = Vec::new();
        for name in file::list(&dir)? {
            all.extend(file::read(&dir.join(format!("{name}.json"))).transpose());
        }
        Ok(all)
    }

    /// Writes the record of an endpoint.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_endpoint(&self, record: &EndpointRecord) -> Outcome<()> {
        let attachment = Attachment::from(&record.attachment);
        file::write(
            &self.endpoint_file(record.network.as_str(), &attachment),
            record,
        )
    }

    /// Writes the record of an endpoint that is complete. After a power loss the one before it may be
    /// there again: it owes the same, and no sandbox has survived that it could be complete in.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn complete_endpoint(&self, record: &EndpointRecord) -> Outcome<()> {
        let attachment = Attachment::from(&record.attachment);
        file::write_whole(
            &self.endpoint_file(record.network.as_str(), &attachment),
            record,
        )
    }

    /// Removes the record of an endpoint.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_endpoint(&self, record: &EndpointRecord) -> Outcome<()> {
        let attachment = Attachment::from(&record.attachment);
        file::remove(&self.endpoint_file(record.network.as_str(), &attachment))
    }

    /// Keeps what is left of an endpoint, so that its attachment can have another one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_garbage(&self, record: &EndpointRecord) -> Outcome<()> {
        file::write(&self.garbage_file(&record.network, &record.id), record)
    }

    /// Whether there is something left of an endpoint with this id.
    #[must_use]
    pub fn has_garbage(&self, network: &NetworkId, endpoint: &EndpointId) -> bool {
        self.garbage_file(network, endpoint)
            .symlink_metadata()
            .is_ok()
    }

    /// Forgets what was left of an endpoint.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_garbage(&self, record: &EndpointRecord) -> Outcome<()> {
        file::remove(&self.garbage_file(&record.network, &record.id))
    }

    /// Puts an attachment's unreadable record aside, so that it is in nobody's way, and returns
    /// where to.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(&self, broken: &Path) -> Outcome<PathBuf> {
        let mut aside = broken.as_os_str().to_owned();
        aside.push(".broken");
        std::fs::rename(broken, &aside)
            .map_err(|source| StoreError::io("put aside", broken, source))?;
        Ok(aside.into())
    }
}

/// The name of an attachment's files: attachments can have longer names than files.
#[must_use]
pub fn attachment_key(attachment: &Attachment) -> String {
    let Attachment {
        network,
        container_id,
        ifname,
    } = attachment;
    short_digest(&format!("{network}\0{container_id}\0{ifname}"))
}

fn short_digest(text: &str) -> String {
    hex(&Sha256::digest(text)).chars().take(32).collect()
}

#[cfg(test)]
mod tests;
