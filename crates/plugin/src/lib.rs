//! The skeleton that every plugin binary runs in.
//!
//! A plugin implements [`Plugin`] and its `main` is made by [`entry!`]. The skeleton reads the request,
//! negotiates the version, refuses its own namespace *before* acting, calls the handler, and
//! writes exactly one reply, whatever happens, a panic included. Handlers return results and
//! never print.
//!
//! An ADD registers with [`Undo`] how each of its steps is reverted. When it fails, in the handler
//! or as late as in writing the reply, the skeleton runs these backwards, so that the machine is
//! as it was before.

pub mod arena;
mod deadline;
mod delegate;
pub mod exec;
pub mod linked;
mod remark;
mod request;
mod skeleton;
pub mod start;
mod undo;

pub use deadline::Deadline;
pub use delegate::{Delegate, RunningAdd};
pub use remark::remark;
pub use request::{AttachmentRequest, DelRequest, GcRequest, Request};
pub use skeleton::{Host, Plugin, PluginInfo, main, run};
pub use undo::Undo;
