//! What must hold when something fails once: an ADD is whole or nothing, a DEL leaves nothing or says what,
//! whichever call it is.

mod campaign;
mod chains;
mod scene;
mod share;
mod verdict;

pub use campaign::{Command, Tally, run};
pub use chains::make;
pub use scene::Scene;
pub use share::Share;
