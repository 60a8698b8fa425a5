//! The `driver` backend: the shim is the controller, and calls a CNM driver.

mod add;
mod check;
mod remove;
mod result;

pub(crate) use self::add::add;
pub(crate) use self::check::check;
pub(crate) use self::remove::{collect, remove, status};
