//! `ipMasq` on the real kernel.
#![allow(missing_docs)]
mod support;
use cni_firewall::{Nft, masquerade};
use support::*;
#[test]
fn first() {
    in_private_netns(|| {
        let mut nft = Nft::open().unwrap();
        let a = attachment("net", "c1", "eth0");
        let ips = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        masquerade::add(&mut nft, &a, &ips).unwrap();
        println!("{}", ruleset());
        println!("{:?}", masquerade::check(&mut nft, &a, &ips).unwrap());
        masquerade::add(&mut nft, &a, &ips).unwrap();
        masquerade::remove(&mut nft, &a, Some(&ips)).unwrap();
        println!("{}", ruleset());
        assert_eq!(ruleset(), "");
    });
}
