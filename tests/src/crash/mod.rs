//! Plugins of a chain that are killed at their system calls, and the machine after what comes next.

mod case;
mod disk;
mod points;
mod power;
mod recorder;
mod scene;
mod tracer;

pub use case::{Case, Crashed, Next};
pub use disk::Names;
pub use scene::{NEIGHBOUR, POD};
