//! How a failed ADD is taken back.

use std::fmt;

use cni_types::CniError;

use crate::remark;

type Step = Box<dyn FnOnce() -> Result<(), CniError>>;

/// The steps that take back what has been done so far, run last first.
///
/// Dropping it without [`Undo::commit`] runs the steps too, so that no early return can forget
/// them.
#[derive(Default)]
pub struct Undo {
    steps: Vec<(String, Step)>,
}

impl Undo {
    /// Nothing to take back yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers how to take back what was just done, or what may be half done from now on.
    /// `what` continues "could not ", as in "delete veth1234".
    pub fn push(
        &mut self,
        what: impl Into<String>,
        step: impl FnOnce() -> Result<(), CniError> + 'static,
    ) {
        self.steps.push((what.into(), Box::new(step)));
    }

    /// The work stands; nothing will be taken back.
    pub fn commit(mut self) {
        self.steps.clear();
    }

    /// Takes everything back and tells `error` together with what could not be taken back.
    #[must_use]
    pub fn fail(mut self, error: CniError) -> CniError {
        self.run().into_iter().fold(error, CniError::and)
    }

    fn run(&mut self) -> Vec<String> {
        let mut leftovers = Vec::new();
        while let Some((what, step)) = self.steps.pop() {
            if let Err(error) = step() {
                leftovers.push(format!("left behind, could not {what}: {error}"));
            }
        }
        leftovers
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for leftover in self.run() {
            remark(leftover);
        }
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.steps.iter().map(|(what, _)| what))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::ErrorCode;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn recorded(names: &[&'static str]) -> (Undo, Rc<RefCell<Vec<&'static str>>>) {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut undo = Undo::new();
        for name in names {
            let (log, name) = (Rc::clone(&log), *name);
            undo.push(name, move || {
                log.borrow_mut().push(name);
                if name == "stuck" {
                    Err(CniError::new(ErrorCode::KERNEL, "busy"))
                } else {
                    Ok(())
                }
            });
        }
        (undo, log)
    }

    #[test]
    fn a_failure_runs_all_steps_backwards_and_reports_the_stuck_ones() {
        let (undo, log) = recorded(&["a", "stuck", "c"]);
        let error = undo.fail(CniError::new(ErrorCode::IO, "add failed"));
        assert_eq!(*log.borrow(), ["c", "stuck", "a"]);
        assert_eq!(error.msg, "add failed");
        assert_eq!(error.details, "left behind, could not stuck: busy");
    }

    #[test]
    fn a_commit_runs_none() {
        let (undo, log) = recorded(&["a"]);
        undo.commit();
        assert!(log.borrow().is_empty());
    }

    #[test]
    fn a_drop_runs_all() {
        let (undo, log) = recorded(&["a", "b"]);
        drop(undo);
        assert_eq!(*log.borrow(), ["b", "a"]);
    }
}
