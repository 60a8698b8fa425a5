//! Calls at the same time.

use cni_testkit::{Outcome, Runner};

/// All of them started before any is waited for. The outcomes are in the order of the calls.
///
/// # Panics
/// If one of the runs does.
pub fn run_at_once(calls: &[Runner]) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let started: Vec<_> = calls
            .iter()
            .map(|call| scope.spawn(|| call.run()))
            .collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    })
}
