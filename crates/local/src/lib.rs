//! Where a process is, who else of ours is there, and what is left to those that live on: what needs
//! neither netlink nor files.

pub mod detach;
pub mod keeper;
pub mod meeting;
pub mod netns;
