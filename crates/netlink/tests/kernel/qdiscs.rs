//! Queueing disciplines, filters, and the links of kind ifb that go with them.

use cni_netlink::{
    CreateIfb, Feature, Hook, LinkId, Op, Psched, Tbf, add_ingress, add_redirect, add_tbf,
    delete_filter, delete_ingress, delete_link, delete_tbf, random_mac, set_alias,
};
use cni_types::MacAddr;

use crate::{Pair, get, ifname, ip_tool, words};

/// What `tc` of iproute2 prints, and what it has to be able to do.
fn tc(pair: &Pair, args: &str) -> String {
    let run = || {
        std::process::Command::new("tc")
            .args(args.split(' '))
            .output()
    };
    let output = pair.host_ns.run(run).unwrap().unwrap();
    assert!(output.status.success(), "tc {args}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// 8 Mbit/s with a burst of 100 kB.
fn bucket() -> Tbf {
    let ticks = Psched::read().unwrap().ticks(100_000);
    Tbf {
        rate: 1_000_000,
        limit: 125_000,
        buffer: u32::try_from(ticks).unwrap(),
    }
}

fn ifb(pair: &Pair, name: &str) -> (LinkId, MacAddr) {
    let wanted = CreateIfb {
        name: ifname(name),
        mac: random_mac(),
        mtu: 1400,
        group: None,
    };
    (pair.host.create_ifb(&wanted).unwrap(), wanted.mac)
}

#[test]
fn a_token_bucket_is_what_tc_shows_and_what_is_read_back() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    assert_eq!(pair.host.qdisc(&veth, Hook::Root).unwrap(), None, "noqueue");
    pair.host.request(&add_tbf(&veth, &bucket())).unwrap();
    let shown = tc(&pair, "-j qdisc show dev veth0");
    for part in [
        r#""kind":"tbf","handle":"1:""#,
        r#""rate":1000000,"burst":100000,"lat":25000"#,
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let found = pair.host.qdisc(&veth, Hook::Root).unwrap().unwrap();
    assert_eq!(found.tbf, Some(bucket()));
    assert_eq!(found.to_string(), "tbf 1:");

    pair.host.request(&delete_tbf(&veth)).unwrap();
    assert_eq!(pair.host.qdisc(&veth, Hook::Root).unwrap(), None);
    let error = pair.host.request(&delete_tbf(&veth)).unwrap_err();
    assert!(error.is_gone(), "{error:?}");
}

#[test]
fn rates_of_more_than_32_bits_reach_the_kernel() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    let fast = Tbf {
        rate: 5_000_000_000,
        limit: u32::MAX,
        ..bucket()
    };
    pair.host.request(&add_tbf(&veth, &fast)).unwrap();
    let found = pair.host.qdisc(&veth, Hook::Root).unwrap().unwrap();
    assert_eq!(found.tbf, Some(fast));
    let shown = tc(&pair, "-j qdisc show dev veth0");
    assert!(shown.contains(r#""rate":5000000000"#), "{shown}");
}

#[test]
fn what_somebody_else_has_put_there_is_neither_replaced_nor_deleted() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    for foreign in ["handle 1: htb", "handle 7: htb"] {
        tc(&pair, &format!("qdisc add dev veth0 root {foreign}"));
        // Without what it has let through meanwhile.
        let show = || {
            let shown = tc(&pair, "qdisc show dev veth0");
            shown
                .split(" direct_packets_stat")
                .next()
                .unwrap()
                .to_owned()
        };
        let before = show();
        let error = pair.host.request(&add_tbf(&veth, &bucket())).unwrap_err();
        assert!(error.is_exists() && error.op == Op::AddQdisc, "{error:?}");
        let error = pair.host.request(&delete_tbf(&veth)).unwrap_err();
        assert!(error.is_gone(), "{error:?}");
        let found = pair.host.qdisc(&veth, Hook::Root).unwrap().unwrap();
        assert_eq!(found.tbf, None);
        assert_eq!(found.kind, "htb");
        assert_eq!(show(), before);
        tc(&pair, "qdisc del dev veth0 root");
    }
    tc(&pair, "qdisc add dev veth0 clsact");
    let error = pair.host.request(&add_ingress(&veth)).unwrap_err();
    assert!(error.is_exists(), "{error:?}");
    let error = pair.host.request(&delete_ingress(&veth)).unwrap_err();
    assert!(error.is_gone(), "{error:?}");
    let found = pair.host.qdisc(&veth, Hook::Ingress).unwrap().unwrap();
    assert_eq!(found.to_string(), "clsact ffff:");
}

#[test]
fn a_bucket_that_holds_nothing_is_refused_with_a_hint() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    let empty = Tbf {
        buffer: 0,
        ..bucket()
    };
    let error = pair.host.request(&add_tbf(&veth, &empty)).unwrap_err();
    assert_eq!(error.to_string(), "failed to create qdisc tbf dev veth0");
    assert!(words(&error).starts_with("Invalid argument"), "{error:?}");
    assert!(error.hint().unwrap().contains("burst"));
    assert_eq!(pair.host.qdisc(&veth, Hook::Root).unwrap(), None);
}

#[test]
fn an_ifb_is_made_with_all_it_needs() {
    let pair = Pair::new();
    let (made, mac) = ifb(&pair, "ifb.1");
    let link = get(&pair.host, &made);
    assert!(link.is_kind("ifb") && link.is_up());
    assert_eq!((link.mac, link.mtu), (Some(mac), 1400));
    let shown = ip_tool(&pair.host_ns, "-j link show dev ifb.1");
    // iproute2 leaves a queue length of 0 out.
    assert!(!shown.contains("txqlen"), "{shown}");
    let again = CreateIfb {
        name: ifname("ifb.1"),
        mac,
        mtu: 1500,
        group: None,
    };
    assert!(pair.host.create_ifb(&again).unwrap_err().is_exists());

    pair.host.request(&set_alias(&made, "whose")).unwrap();
    pair.veth();
    let of_kind = pair.host.links_of_kind("ifb").unwrap();
    assert_eq!(of_kind.len(), 1);
    assert_eq!(of_kind[0].id(), made);
    assert_eq!(of_kind[0].alias.as_deref(), Some("whose"));
    assert_eq!(pair.host.links_of_kind("vxlan").unwrap(), []);
}

#[test]
fn what_a_link_receives_is_redirected() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    let (to, _) = ifb(&pair, "ifb.1");
    assert_eq!(pair.host.ingress_filters(&veth).unwrap(), []);
    let error = pair.host.request(&add_redirect(&veth, &to)).unwrap_err();
    assert_eq!(error.op, Op::AddFilter, "there is no ingress qdisc yet");
    assert_eq!(
        error.to_string(),
        "failed to create filter from veth0 to ifb.1"
    );

    pair.host.request(&add_ingress(&veth)).unwrap();
    pair.host.request(&add_redirect(&veth, &to)).unwrap();
    let filters = pair.host.ingress_filters(&veth).unwrap();
    assert_eq!(filters.len(), 1, "{filters:?}");
    assert_eq!(filters[0].redirects_to, Some(to.index));
    assert!(filters[0].takes_all);
    assert_eq!(filters[0].to_string(), "u32 pref 1");
    let shown = tc(&pair, "filter show dev veth0 ingress");
    assert!(
        shown.contains("match 00000000/00000000 at 0")
            && shown.contains("(Egress Redirect to device ifb.1) stolen"),
        "{shown}"
    );

    pair.host.request(&delete_ingress(&veth)).unwrap();
    assert_eq!(pair.host.ingress_filters(&veth).unwrap(), []);
    assert_eq!(pair.host.qdisc(&veth, Hook::Ingress).unwrap(), None);
    let error = pair.host.request(&delete_ingress(&veth)).unwrap_err();
    assert!(error.is_gone(), "{error:?}");
}

#[test]
fn one_filter_goes_and_the_others_stay() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    let (to, _) = ifb(&pair, "ifb.1");
    pair.host.request(&add_ingress(&veth)).unwrap();
    pair.host.request(&add_redirect(&veth, &to)).unwrap();
    for theirs in [
        "all prio 1 u32 match ip dst 192.0.2.1",
        "ip prio 9 u32 match u32 0 0",
    ] {
        let filter = format!("filter add dev veth0 ingress protocol {theirs} flowid 1:1");
        tc(&pair, &filter);
    }
    let filters = pair.host.ingress_filters(&veth).unwrap();
    assert_eq!(filters.len(), 3, "{filters:?}");
    let (ours, theirs): (Vec<_>, Vec<_>) = filters
        .into_iter()
        .partition(|filter| filter.redirects_to == Some(to.index));
    assert_eq!(ours.len(), 1);
    assert!(theirs.iter().all(|filter| !filter.takes_all));
    pair.host.request(&delete_filter(&veth, &ours[0])).unwrap();
    assert_eq!(pair.host.ingress_filters(&veth).unwrap(), theirs);
    let error = pair
        .host
        .request(&delete_filter(&veth, &ours[0]))
        .unwrap_err();
    assert!(error.is_gone(), "{error:?}");
}

#[test]
fn a_link_that_is_gone_has_no_qdiscs() {
    let pair = Pair::new();
    let veth = pair.veth().host;
    pair.host.request(&delete_link(&veth)).unwrap();
    for at in [Hook::Root, Hook::Ingress] {
        assert_eq!(pair.host.qdisc(&veth, at).unwrap(), None);
    }
    assert_eq!(pair.host.ingress_filters(&veth).unwrap(), []);
    for change in [delete_tbf(&veth), delete_ingress(&veth)] {
        assert!(pair.host.request(&change).unwrap_err().is_gone());
    }
    assert!(
        !pair
            .host
            .request(&add_ingress(&veth))
            .unwrap_err()
            .is_unsupported()
    );
}

/// The answers are those of a kernel that has them, since the other tests need them.
#[test]
fn asking_what_the_kernel_can_do_changes_nothing() {
    let pair = Pair::new();
    let all = [Feature::Ifb, Feature::Tbf, Feature::Ingress];
    let look = || {
        [
            ip_tool(&pair.host_ns, "-d link show"),
            tc(&pair, "qdisc show"),
        ]
    };
    let before = look();
    assert_eq!(pair.host.missing(&all).unwrap(), []);
    assert_eq!(look(), before);
    // What is on `lo` already is no reason to say no.
    tc(&pair, "qdisc add dev lo root handle 5: htb");
    tc(&pair, "qdisc add dev lo clsact");
    let before = look();
    assert_eq!(pair.host.missing(&all).unwrap(), []);
    assert_eq!(look(), before);
}
