//! Every system call and every request to the kernel of a command fails once, for the plugins of the default
//! chains: with each error that fits the call, with the kernel's refusal of a single netlink request, with an
//! answer that is lost, and with a list that changed while it was read.
//!
//! What comes of it is success with all that an undisturbed run gives, or one document that says what failed
//! and why, and a machine as before.
//!
//! A run takes a share: see [`Share`]. `TENON_FAULTS=all` takes everything, with `--profile long` of nextest;
//! `TENON_FAULTS=10` one fault of every tenth call; `TENON_FAULTS_TURN=N` others, which a failure names.
#![cfg(target_arch = "x86_64")]

use tenon_tests::faults::{Command, Share, make, run};

/// Of how many calls one fails in an ordinary run.
const ADD: usize = 5;
const DEL: usize = 8;
const CHECK: usize = 20;
const GC: usize = 20;

/// As much less of the scenes whose commands make several times as many calls as others: two drivers, each
/// with records of its own that are synced.
const LARGE: [&str; 1] = ["cnm-shim"];
const LESS: usize = 4;

fn try_out(scene: &str, command: Command, every: usize) {
    let every = if LARGE.contains(&scene) {
        every * LESS
    } else {
        every
    };
    let tally = run(command, Share::wanted(every), &|| make(scene));
    eprintln!("{scene} {command:?}: {tally}");
}

fn lists_are_read_again(scene: &str, command: Command, family: &str) {
    let tally = run(command, Share::Lists, &|| make(scene));
    eprintln!("{scene} {command:?}: {tally}");
    assert_ne!(tally.overcome(&format!("interrupted {family}")), 0);
}

#[test]
fn a_list_of_links_or_addresses_that_changed_is_read_again() {
    lists_are_read_again("loopback", Command::Add, "rtnetlink");
}

#[test]
fn a_list_of_rules_that_changed_is_read_again() {
    lists_are_read_again("portmap", Command::Del, "netfilter");
}

macro_rules! scenes {
    ($($name:ident = $scene:literal),+ $(,)?) => {
        mod whatever_fails_an_add_is_whole_or_nothing {
            $(#[test] fn $name() { super::try_out($scene, super::Command::Add, super::ADD); })+
        }
        mod whatever_fails_a_del_leaves_nothing_or_says_what {
            $(#[test] fn $name() { super::try_out($scene, super::Command::Del, super::DEL); })+
        }
        mod whatever_fails_a_check_changes_nothing {
            $(#[test] fn $name() { super::try_out($scene, super::Command::Check, super::CHECK); })+
        }
    };
}

macro_rules! collected {
    ($($name:ident = $scene:literal),+ $(,)?) => {
        mod whatever_fails_a_gc_leaves_nothing_or_says_what {
            $(#[test] fn $name() { super::try_out($scene, super::Command::Gc, super::GC); })+
        }
    };
}

scenes! {
    bridge = "bridge",
    bridge_with_an_executed_ipam = "bridge-executed",
    bridge_with_masquerading = "bridge-masquerade",
    bridge_with_masquerading_and_an_executed_ipam = "bridge-masquerade-executed",
    bridge_of_both_families = "bridge-dual",
    bridge_with_another_attachment = "bridge-beside-another",
    host_local = "host-local",
    host_local_with_an_index = "host-local-indexed",
    portmap = "portmap",
    firewall = "firewall",
    firewall_with_iptables = "firewall-iptables",
    firewall_that_copies_what_iptables_made = "firewall-copied",
    firewall_that_chooses_its_backend = "firewall-unnamed",
    bandwidth = "bandwidth",
    tuning = "tuning",
    loopback = "loopback",
    cnm_shim = "cnm-shim",
}

// Not bandwidth: the qdiscs of the host's end go with that end, which is the main plugin's to collect.
collected! {
    bridge_with_another_attachment = "bridge-beside-another",
    host_local_with_an_index = "host-local-indexed",
    portmap = "portmap",
    firewall = "firewall",
    firewall_that_copies_what_iptables_made = "firewall-copied",
    cnm_shim = "cnm-shim",
}
