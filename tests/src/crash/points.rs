//! At which of its system calls a plugin is killed.

/// The environment variable that takes all of them (`all`), or so many of each command of each plugin.
const HOW_MANY: &str = "TENON_CRASH_POINTS";

/// So many unless told: what leaves the whole of the tests' time to others.
const FEW: u32 = 3;

/// The points out of `count`: all, or (`times` as many as usual) evenly spread ones, beginning somewhere that depends on `seed`.
pub(super) fn choose(count: u32, times: u32, seed: u32) -> Vec<u32> {
    evenly(count, how_many().saturating_mul(times), seed)
}

/// The states of a disk out of `count`: many times as many, since each costs less.
pub(super) fn choose_states(count: u32) -> Vec<u32> {
    evenly(count, how_many().saturating_mul(20), 0)
}

fn how_many() -> u32 {
    match std::env::var(HOW_MANY) {
        Ok(all) if all == "all" => u32::MAX,
        Ok(number) => number
            .parse()
            .unwrap_or_else(|_| panic!("{HOW_MANY}={number}: neither `all` nor a number")),
        Err(_) => FEW,
    }
}

fn evenly(count: u32, wanted: u32, seed: u32) -> Vec<u32> {
    let step = count.div_ceil(wanted).max(1);
    (1 + seed % step..=count)
        .step_by(usize::try_from(step).unwrap())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_all_and_few_are_spread() {
        assert_eq!(evenly(4, u32::MAX, 7), [1, 2, 3, 4]);
        assert_eq!(evenly(10, 3, 0), [1, 5, 9]);
        assert_eq!(evenly(10, 3, 6), [3, 7]);
        assert_eq!(evenly(0, 3, 1), Vec::<u32>::new());
    }
}
