//! The list of intended differences from the reference plugins, `docs/differences.md`, as the
//! suites cite it.

use cni_testkit::Suite;

const LIST: &str = include_str!("../../docs/differences.md");

/// The ids of all rows: the first cell of each, in backquotes.
pub fn ids() -> Vec<&'static str> {
    let rows = LIST.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

/// Whether a test has to expect the reference's behaviour of row `id` and not ours. Panics when
/// there is no such row: a difference that is not written down is a bug.
#[track_caller]
pub fn differs(suite: &Suite, id: &str) -> bool {
    assert!(ids().contains(&id), "docs/differences.md has no row `{id}`");
    suite.is_reference()
}

/// The command that row `id` gives, in a block of its own below a line that names the row:
/// what follows `$ ` in the lines of the block.
pub fn commands(id: &str) -> Vec<&'static str> {
    let block = format!("```sh {id}");
    let lines = LIST.lines().skip_while(|line| *line != block).skip(1);
    lines.take_while(|line| *line != "```").collect()
}
