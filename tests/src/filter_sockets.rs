//! Netfilter's netlink sockets of a network namespace.

/// `NETLINK_NETFILTER`
const NETFILTER: &str = "12";

/// How many are open in the calling thread's namespace, whoever has them.
///
/// # Panics
/// The kernel does not list them.
pub fn count() -> usize {
    let list = std::fs::read_to_string("/proc/thread-self/net/netlink");
    let list = list.unwrap();
    list.lines().filter(|line| is_of_filter(line)).count()
}

/// `sk Eth Pid ...`; the kernel's own has no `Pid`.
fn is_of_filter(line: &str) -> bool {
    let mut columns = line.split_whitespace().skip(1);
    columns.next() == Some(NETFILTER) && columns.next() != Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_and_those_of_others_are_left_out() {
        let lines = [
            "sk               Eth Pid        Groups   Rmem",
            "0000000055b77813 12  0          00000000 0",
            "0000000055b77814 0   4711       00000000 0",
            "0000000055b77815 12  4711       00000000 0",
        ];
        assert_eq!(lines.map(is_of_filter), [false, false, false, true]);
    }
}
