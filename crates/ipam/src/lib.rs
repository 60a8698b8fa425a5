//! Addresses: which ones a config offers, which one is next, and who holds which.
//!
//! The pure half is arithmetic: [`Range`] and [`RangeSet`] validate what a config says by the
//! reference's rules, [`Candidates`] walks the addresses in the order in which they are offered,
//! and [`allocate()`] picks one for each set. It sees leases only through the [`Store`] seam, so
//! that it is tested without a file on [`MemoryStore`].
//!
//! The other half is [`LeaseStore`]: leases as files, in the directory layout of the reference's
//! `host-local` plugin and under the same lock, so that both can work on one directory at once.
//! Where there are many, an index of them saves reading them all; the files stay what counts.
//! [`lock_file`] is that lock for whoever else keeps files.

mod addr;
mod allocate;
mod blocks;
mod candidates;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod lease;
mod memory;
mod range;
mod store;

pub use addr::{bits_of, predecessor, successor};
pub use allocate::{AllocateError, AllocateFailure, Grant, SetError, allocate};
pub use blocks::{Bitmap, Block};
pub use candidates::Candidates;
pub use lease::{Holding, Lease, Store, Survey};
pub use memory::MemoryStore;
pub use range::{Range, RangeError, RangeField, RangeSet, RangeSetError, RangeSpec};
pub use store::{Holder, LeaseDir, LeaseStore, LockedStore, Removed, StoreError, lock_file};
