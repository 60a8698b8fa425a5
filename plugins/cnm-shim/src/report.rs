//! What is worth telling, though it is no failure.

use cni_plugin::remark;
use cni_types::{CniError, ErrorCode};

/// Tells people; the runtime keeps standard error in its log.
pub(crate) fn notes(notes: &[String]) {
    for note in notes {
        remark(note);
    }
}

/// Tells the runtime.
pub(crate) fn strictly(notes: Vec<String>) -> Result<(), CniError> {
    let errors = notes.into_iter();
    CniError::collect(errors.map(|note| CniError::new(ErrorCode::DRIVER, note)))
}
