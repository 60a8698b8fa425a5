//! Nothing: what it costs to start and end a program at all. `scripts/bench` measures it.

fn main() {}
