//! What is measured.

mod network;
mod table;

pub(crate) use network::{BRIDGE, HOST_LOCAL, Network, VERSION, mapping, merged};
pub(crate) use table::CASES;

use crate::leases::Filled;

/// One kind of work.
#[derive(Debug)]
pub(crate) struct Case {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// What the tables call it.
    pub(crate) title: &'static str,
    /// How many pairs of runs are taken unless told otherwise: fewer where one takes long.
    pub(crate) pairs: u16,
    pub(crate) work: Work,
}

/// What is done, again and again.
#[derive(Debug)]
pub(crate) enum Work {
    /// VERSION of a plugin: nothing but its start.
    Version { plugin: &'static str },
    /// ADD and DEL of leases, among so many.
    Reserve(Filled),
    /// ADD for all containers, then DEL for all.
    Attach(Network),
    /// ADD for so many containers at once, then DEL for all at once.
    Crowd { count: u16, network: Network },
    /// What the kernel alone would take, and ADD.
    Floor,
    /// What Docker does when a container is connected to a network, and `cnm-shim` instead of it.
    Join,
    /// ADD and DEL of portmap for one port more, up to so many, and connections to the last one.
    Publish { ports: u16 },
}

impl Case {
    /// What the command line says about it.
    pub(crate) fn help(&self) -> String {
        let title = self.title;
        match self.work {
            Work::Version { plugin } => format!("VERSION of {plugin}: its start, nothing else"),
            Work::Reserve(_) | Work::Attach(_) | Work::Crowd { .. } => {
                format!("ADD and DEL of {title}")
            }
            Work::Floor => format!("ADD of {title}, against the kernel's own work"),
            Work::Join => format!("{title}: cnm-shim against dockerd"),
            Work::Publish { .. } => format!("ADD and DEL of {title}, and connections to it"),
        }
    }

    /// Whether two builds of our own can be compared in it.
    pub(crate) fn compares_builds(&self) -> bool {
        !matches!(self.work, Work::Join | Work::Floor)
    }
}
