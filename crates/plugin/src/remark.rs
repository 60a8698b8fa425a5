//! What people may want to read in the runtime's log, and nobody has to.

use std::fmt::Display;
use std::io::Write as _;

/// Writes a line to stderr. Its reader may be gone, a runtime that was restarted or has lost patience: that
/// is no reason to stop, as `eprintln!` would.
pub fn remark(text: impl Display) {
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}
