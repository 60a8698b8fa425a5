//! The binary, called as a runtime calls it. The reference's, where it is installed
//! (`containernetworking-plugins`), is called beside it.

mod commands;
mod crash;
mod differential;
mod faults;
mod fixture;
mod mixed;
