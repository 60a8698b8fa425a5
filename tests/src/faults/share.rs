//! Which faults a run takes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::inject::{Call, Fault, Kind, faults_of};

/// The variable that asks for another share than the tests' own: `all`, or of how many calls one.
const SHARE: &str = "TENON_FAULTS";

/// The variable that asks for another turn than today's.
const TURN: &str = "TENON_FAULTS_TURN";

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

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
        /// Which calls, and which of their faults: a number that goes up from day to day.
        turn: usize,
    },
}

impl Share {
    /// What is asked for, or else today's faults of every `every`th call.
    pub fn wanted(every: usize) -> Self {
        let every = match std::env::var(SHARE) {
            Ok(all) if all == "all" => return Self::All,
            Ok(number) => parse(SHARE, &number),
            Err(_) => every,
        };
        let turn = std::env::var(TURN).map_or_else(|_| today(), |turn| parse(TURN, &turn));
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

fn today() -> usize {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    usize::try_from(now.as_secs() / SECONDS_OF_A_DAY).unwrap()
}
