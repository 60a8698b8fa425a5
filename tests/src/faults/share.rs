//! Which faults a run takes.

use crate::inject::{Call, Fault, Kind, faults_of};

/// The variable that asks for another share than the tests' own: `all`, or of how many calls one.
const SHARE: &str = "TENON_FAULTS";

/// The variable that asks for other calls and faults: any number. Without it each run takes the same, so that
/// what fails is the change and not the draw.
const TURN: &str = "TENON_FAULTS_TURN";

/// A part of all faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Everything.
    All,
    /// All lists that change while they are read.
    Lists,
    /// Of every so manieth call one fault, another one from call to call.
    Some {
        /// Of how many calls one is taken.
        every: usize,
        /// Which calls, and which of their faults.
        turn: usize,
    },
}

impl Share {
    /// What is asked for, or else faults of every `every`th call.
    pub fn wanted(every: usize) -> Self {
        let every = match std::env::var(SHARE) {
            Ok(all) if all == "all" => return Self::All,
            Ok(number) => parse(SHARE, &number),
            Err(_) => every,
        };
        let turn = std::env::var(TURN).map_or(1, |turn| parse(TURN, &turn));
        Self::Some { every, turn }
    }

    /// The faults of these calls.
    pub fn of(self, calls: &[Call]) -> Vec<Fault> {
        let each = calls.iter().map(faults_of);
        match self {
            Self::All => each.flatten().collect(),
            Self::Lists => each
                .flatten()
                .filter(|fault| fault.kind == Kind::Interrupted)
                .collect(),
            Self::Some { every, turn } => {
                let can_fail = each.filter(|faults| !faults.is_empty()).enumerate();
                can_fail
                    .filter(|(at, _)| (at + turn) % every == 0)
                    .map(|(at, mut faults)| faults.swap_remove((at + turn) / every % faults.len()))
                    .collect()
            }
        }
    }
}

fn parse(variable: &str, value: &str) -> usize {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.unwrap_or_else(|| panic!("{variable} has to be a number from 1 on: {value:?}"))
}
