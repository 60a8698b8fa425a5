//! The index of one network's leases as a file, and when it is believed.
//!
//! Under the lock, after the last change of an operation, the directory of the leases gets a time
//! of modification that is no clock's: the marker. Whoever makes, links, renames or removes anything
//! there overwrites it. The index notes the marker, and is believed while the directory has it.
//! docs/decisions/014 tells why that is enough, and what a crash leaves.

mod file;
mod home;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni_types::FastPaths;
use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, futimens};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};
use nix::sys::time::TimeSpec;

pub(super) use self::file::FilePages;
use self::home::Home;
use super::dir::LeaseDir;
use crate::index::{Census, Header, Identity, Index, Pages as _, Stamp, Unusable};

/// Whether there is to be an index, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    root: PathBuf,
    /// An index is made of so many leases. Making and removing one takes 0.25 ms, and with so many each
    /// ADD and each DEL saves a tenth of that.
    build_from: u64,
    /// It is removed when there are fewer.
    keep_from: u64,
}

impl Policy {
    /// `None` for no index at all.
    pub(super) fn of(fast_paths: FastPaths) -> Option<Self> {
        Self::at(Path::new(home::ROOT), fast_paths)
    }

    pub(super) fn at(root: &Path, fast_paths: FastPaths) -> Option<Self> {
        let (build_from, keep_from) = match fast_paths {
            FastPaths::Never => return None,
            FastPaths::WherePaying => (8, 4),
            FastPaths::Always => (1, 1),
        };
        Some(Self {
            root: root.to_owned(),
            build_from,
            keep_from,
        })
    }
}

/// Looks after the index during one operation, under the lock.
#[derive(Debug)]
pub(super) struct Keeper {
    policy: Option<Policy>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked yet.
    Unopened,
    /// In step with the directory, our own changes included.
    InStep(Live),
    /// A file that is not in step, to be written anew or removed.
    Stale(Slot),
    /// There is none, or none that could be used.
    Missing,
}

/// Where the index of one directory is.
#[derive(Debug)]
struct Slot {
    home: Home,
    name: String,
}

/// An index in step.
#[derive(Debug)]
pub(super) struct Live {
    slot: Slot,
    index: Index<FilePages>,
    /// The file has no header yet.
    is_new: bool,
}

impl Keeper {
    pub(super) fn new(policy: Option<Policy>) -> Self {
        let state = State::Unopened;
        Self { policy, state }
    }

    /// Takes the index out for the time of a change. Whoever does not put it back, because the change
    /// failed half-way, leaves a directory without its marker, and so an index that nobody believes.
    pub(super) fn take(&mut self, dir: &LeaseDir) -> Option<Live> {
        if matches!(self.state, State::Unopened) {
            self.state = self.look(dir);
        }
        match std::mem::replace(&mut self.state, State::Missing) {
            State::InStep(live) => Some(live),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Puts the index back after telling it something, or asking it. It is removed if it turns out to
    /// be wrong, full or unreadable: then the answer is `None`.
    pub(super) fn put_back<T>(
        &mut self,
        mut live: Live,
        tell: impl FnOnce(&mut Index<FilePages>) -> Result<T, Unusable>,
    ) -> Option<T> {
        if let Ok(answer) = tell(live.index()) {
            self.state = State::InStep(live);
            return Some(answer);
        }
        live.slot.remove();
        None
    }

    /// What the index says, if there is one in step.
    pub(super) fn ask<T>(
        &mut self,
        dir: &LeaseDir,
        question: impl FnOnce(&mut Index<FilePages>) -> Result<T, Unusable>,
    ) -> Option<T> {
        let live = self.take(dir)?;
        self.put_back(live, question)
    }

    /// Removes an index that was found wrong.
    pub(super) fn distrust(&mut self) {
        if let State::InStep(live) = std::mem::replace(&mut self.state, State::Missing) {
            live.slot.remove();
        }
    }

    fn look(&self, dir: &LeaseDir) -> State {
        let Some(policy) = &self.policy else {
            return State::Missing;
        };
        // On most machines there is none, and this is the one call that finds it out.
        let Ok(home) = Home::open(&policy.root) else {
            return State::Missing;
        };
        let Ok((identity, stamp)) = look_at(dir, home.boot()) else {
            return State::Missing;
        };
        let Ok((slot, mut pages)) = Slot::open(home, identity, OFlag::empty()) else {
            return State::Missing;
        };
        let header = pages.read(0).ok();
        match header.and_then(|page| Header::from_page(page, identity, stamp)) {
            Some(header) => State::InStep(Live {
                slot,
                index: Index::new(pages, header),
                is_new: false,
            }),
            None => State::Stale(slot),
        }
    }

    /// Whether it would be worth while to keep the keys of a scan.
    pub(super) fn is_wanted(&self) -> bool {
        self.policy.is_some()
    }

    /// After a scan: makes an index of what it found, if that are leases enough.
    pub(super) fn adopt(&mut self, dir: &LeaseDir, census: &mut Census) {
        let Some(policy) = &self.policy else {
            return;
        };
        if matches!(self.state, State::Unopened) {
            self.state = self.look(dir);
        }
        let old = match std::mem::replace(&mut self.state, State::Missing) {
            State::Stale(slot) | State::InStep(Live { slot, .. }) => Some(slot),
            State::Unopened | State::Missing => None,
        };
        let enough = match old {
            Some(_) => policy.keep_from,
            None => policy.build_from,
        };
        if census.is_complete() && census.leases() as u64 >= enough {
            if let Ok(live) = Live::build(&policy.root, dir, census) {
                self.state = State::InStep(live);
            }
        } else if let Some(slot) = old {
            slot.remove();
        } else if census.leases() == 0 {
            // What a crash left between a directory and the index that it was to hold.
            Home::remove_if_empty(&policy.root);
        }
    }

    /// At the end of an operation, still under the lock: writes what has changed. `go_on` is asked
    /// before each step; not going on is what a crash does.
    pub(super) fn commit(&mut self, dir: &LeaseDir, go_on: impl FnMut() -> bool) {
        let State::InStep(mut live) = std::mem::replace(&mut self.state, State::Missing) else {
            return;
        };
        if !live.is_new && live.index.pages().next_changed().is_none() {
            return;
        }
        let keep_from = self.policy.as_ref().map_or(0, |policy| policy.keep_from);
        if live.index.header().leases() < keep_from || live.write(dir, go_on).is_err() {
            live.slot.remove();
        }
    }
}

impl Slot {
    fn open(
        home: Home,
        Identity { dev, ino, .. }: Identity,
        if_missing: OFlag,
    ) -> Result<(Self, FilePages), Unusable> {
        let name = format!("{dev:x}-{ino}");
        let pages = FilePages::new(home.file(&name, if_missing)?);
        Ok((Self { home, name }, pages))
    }

    fn remove(&self) {
        self.home.remove(&self.name);
    }
}

impl Live {
    pub(super) fn index(&mut self) -> &mut Index<FilePages> {
        &mut self.index
    }

    /// The file exists from here on, but says nothing before [`Self::write`].
    fn build(root: &Path, dir: &LeaseDir, census: &mut Census) -> Result<Self, Unusable> {
        if !keeps_times(dir)? {
            return Err(Unusable);
        }
        let mut image = census.build()?;
        let home = Home::create(root)?;
        let (identity, _stamp) = look_at(dir, home.boot())?;
        let (slot, mut pages) = Slot::open(home, identity, OFlag::O_CREAT)?;
        if pages.replace(image.pages().as_slice()).is_err() {
            slot.remove();
            return Err(Unusable);
        }
        Ok(Self {
            slot,
            index: Index::new(pages, *image.header()),
            is_new: true,
        })
    }

    /// The order is what makes a crash harmless: until the very last step the header says nothing,
    /// or something that is not true of the directory.
    fn write(&mut self, dir: &LeaseDir, mut go_on: impl FnMut() -> bool) -> Result<(), Unusable> {
        let mut step = |done: Result<(), Unusable>| done.map(|()| go_on());
        let header = *self.index.header();
        let pages = self.index.pages();
        if !step(Ok(()))? || !step(pages.void())? {
            return Ok(());
        }
        while let Some(page) = pages.next_changed() {
            if !step(pages.write_back(page))? {
                return Ok(());
            }
        }
        let marker = marker();
        if !step(mark(dir, marker))? {
            return Ok(());
        }
        let (identity, stamp) = look_at(dir, self.slot.home.boot())?;
        if stamp.mtime != marker {
            // Times are not kept that exactly here, or somebody minds no lock.
            return Err(Unusable);
        }
        pages.write_header(&header.to_page(identity, stamp))
    }
}

/// Which directory this is, and when it was changed last.
fn look_at(dir: &LeaseDir, boot: u64) -> Result<(Identity, Stamp), Unusable> {
    let stat = fstat(dir.fd())?;
    let identity = Identity {
        dev: stat.st_dev,
        ino: stat.st_ino,
        boot,
    };
    let stamp = Stamp {
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        ctime: (stat.st_ctime, stat.st_ctime_nsec),
    };
    Ok((identity, stamp))
}

/// Whether the directory is on a filesystem of which it is known that every change of an entry sets
/// the time at once, and for everybody to see. A network filesystem, say, may show old times.
fn keeps_times(dir: &LeaseDir) -> Result<bool, Unusable> {
    let kept = [
        EXT4_SUPER_MAGIC,
        XFS_SUPER_MAGIC,
        BTRFS_SUPER_MAGIC,
        TMPFS_MAGIC,
    ];
    Ok(kept.contains(&fstatfs(dir.fd())?.filesystem_type()))
}

/// Seconds and nanoseconds. The kernel gives the present, in ticks or finer, and nobody else gives
/// anything; this is a second ago.
fn marker() -> (i64, i64) {
    let past = SystemTime::now().checked_sub(Duration::from_secs(1));
    let since = past.and_then(|past| past.duration_since(UNIX_EPOCH).ok());
    let since = since.unwrap_or_default();
    (since.as_secs().cast_signed(), since.subsec_nanos().into())
}

fn mark(dir: &LeaseDir, (seconds, nanoseconds): (i64, i64)) -> Result<(), Unusable> {
    let marker = TimeSpec::new(seconds, nanoseconds);
    Ok(futimens(dir.fd(), &TimeSpec::UTIME_OMIT, &marker)?)
}
