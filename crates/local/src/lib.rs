//! Where a process is, and who else of ours is there: what needs neither netlink nor files.

pub mod meeting;
pub mod netns;
