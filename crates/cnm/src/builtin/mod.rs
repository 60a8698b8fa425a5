//! The drivers that libnetwork has inside itself, behind the same traits as those that serve HTTP.
//!
//! - [`ipam`][]: IPAM drivers `default` and `null`.
//!
//! They work without a daemon: what they have to remember is in files, and every call finds there
//! what earlier ones left, whoever made them. A failure is a
//! [`Cause::Failed`](crate::Cause::Failed) that holds a [`CniError`](cni_types::CniError), with its
//! code, the chain of its causes and a hint.

mod files;
pub mod ipam;
