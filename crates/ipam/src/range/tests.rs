use super::*;

fn spec(subnet: &str, start: &str, end: &str, gateway: &str) -> RangeSpec {
    let addr = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    RangeSpec {
        subnet: subnet.parse().unwrap(),
        start: addr(start),
        end: addr(end),
        gateway: addr(gateway),
    }
}

fn range(subnet: &str, start: &str, end: &str) -> Range {
    Range::new(&spec(subnet, start, end, "")).unwrap()
}

#[test]
fn what_is_left_out_is_filled_in() {
    for (subnet, start, end, gateway) in [
        ("192.0.2.0/24", "192.0.2.1", "192.0.2.254", "192.0.2.1"),
        ("192.0.2.0/25", "192.0.2.1", "192.0.2.126", "192.0.2.1"),
        ("192.0.2.12/30", "192.0.2.13", "192.0.2.14", "192.0.2.13"),
        ("192.0.2.0/31", "192.0.2.0", "192.0.2.1", "192.0.2.1"),
        ("0.0.0.0/0", "0.0.0.1", "255.255.255.254", "0.0.0.1"),
        (
            "2001:db8:1::/64",
            "2001:db8:1::1",
            "2001:db8:1:0:ffff:ffff:ffff:ffff",
            "2001:db8:1::1",
        ),
        (
            "2001:db8::4/126",
            "2001:db8::5",
            "2001:db8::7",
            "2001:db8::5",
        ),
        (
            "2001:db8::4/127",
            "2001:db8::4",
            "2001:db8::5",
            "2001:db8::5",
        ),
        (
            "::/0",
            "::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::1",
        ),
    ] {
        let range = range(subnet, "", "");
        let got = [range.start(), range.end(), range.gateway()].map(|addr| addr.to_string());
        assert_eq!(got, [start, end, gateway], "{subnet}");
    }
}

#[test]
fn what_is_given_is_kept() {
    let given = Range::new(&spec("10.0.0.0/24", "10.0.0.0", "10.0.0.255", "10.9.9.9")).unwrap();
    assert_eq!(given.to_string(), "10.0.0.0-10.0.0.255");
    assert_eq!(given.gateway().to_string(), "10.9.9.9");
    assert_eq!(given.size(), 256);
    let mapped = Range::new(&spec(
        "10.0.0.0/24",
        "::ffff:10.0.0.9",
        "",
        "::ffff:10.0.0.2",
    ))
    .unwrap();
    assert_eq!(mapped.start().to_string(), "10.0.0.9");
    assert_eq!(mapped.gateway().to_string(), "10.0.0.2");
}

fn assert_refused(table: &[(&str, &str, &str, &str)]) {
    for (subnet, start, end, text) in table {
        let error = Range::new(&spec(subnet, start, end, "")).unwrap_err();
        assert_eq!(error.to_string(), *text);
    }
}

#[test]
fn subnets_are_refused_in_the_references_words() {
    let host_bits = "Network has host bits set. For a subnet mask of length";
    assert_refused(&[
        (
            "10.0.0.0/32",
            "",
            "",
            "Network 10.0.0.0/32 too small to allocate from",
        ),
        (
            "fd00::/128",
            "",
            "",
            "Network fd00::/128 too small to allocate from",
        ),
        (
            "192.0.2.12/24",
            "",
            "",
            &format!("{host_bits} 24 the network address is 192.0.2.0"),
        ),
        (
            "fd00:1::f/64",
            "",
            "",
            &format!("{host_bits} 64 the network address is fd00:1::"),
        ),
        (
            "10.0.0.1/31",
            "",
            "",
            &format!("{host_bits} 31 the network address is 10.0.0.0"),
        ),
    ]);
}

#[test]
fn bounds_are_refused_in_the_references_words() {
    let net = "192.0.2.0/24";
    let start = |addr: &str| format!("RangeStart {addr} not in network {net}");
    let end = |addr: &str| format!("RangeEnd {addr} not in network {net}");
    assert_refused(&[
        (net, "192.0.3.0", "", &start("192.0.3.0")),
        (net, "", "192.0.4.0", &end("192.0.4.0")),
        (net, "fd00::1", "", &start("fd00::1")),
        (net, "", "fd00::1", &end("fd00::1")),
        // The reference checks the start against the end, where one is given, before the end.
        (net, "192.0.2.50", "192.0.2.40", &start("192.0.2.50")),
        (net, "192.0.2.50", "192.0.1.9", &start("192.0.2.50")),
        (net, "192.0.2.50", "192.0.3.9", &end("192.0.3.9")),
        (net, "", "192.0.2.0", &end("192.0.2.0")),
        // This one the reference takes, and hands out other subnets' addresses.
        (net, "192.0.2.255", "", &start("192.0.2.255")),
    ]);
}

#[test]
fn membership_counts_bounds_and_family() {
    let range = range("192.0.2.0/24", "192.0.2.40", "192.0.2.50");
    for (addr, inside) in [
        ("192.0.2.39", false),
        ("192.0.2.40", true),
        ("192.0.2.50", true),
        ("192.0.2.51", false),
        ("192.0.3.45", false),
        ("::c000:22d", false),
    ] {
        assert_eq!(range.contains(addr.parse().unwrap()), inside, "{addr}");
    }
}

#[test]
fn overlap_looks_at_the_addresses_not_at_the_subnets() {
    let table = [
        (("10.0.0.0/24", "", ""), ("10.0.0.0/24", "", ""), true),
        (("10.0.0.0/24", "", ""), ("10.0.1.0/24", "", ""), false),
        (("10.0.0.0/20", "", ""), ("10.0.1.0/24", "", ""), true),
        (
            ("10.0.0.0/24", "", "10.0.0.50"),
            ("10.0.0.0/24", "10.0.0.51", ""),
            false,
        ),
        (
            ("10.0.0.0/24", "", "10.0.0.50"),
            ("10.0.0.0/24", "10.0.0.50", ""),
            true,
        ),
        (("10.0.0.0/24", "", ""), ("2001:db8::/64", "", ""), false),
        (("2001:db8::/48", "", ""), ("2001:db8::/64", "", ""), true),
    ];
    for (a, b, overlap) in table {
        let (a, b) = (range(a.0, a.1, a.2), range(b.0, b.1, b.2));
        assert_eq!(a.overlaps(&b), overlap, "{a} {b}");
        assert_eq!(b.overlaps(&a), overlap, "{b} {a}");
    }
}

#[test]
fn sets_are_checked_in_the_references_order() {
    let v4 = spec("10.0.0.0/24", "", "", "");
    let v6 = spec("fd00::/64", "", "", "");
    let bad = spec("10.0.0.1/24", "", "", "");
    for (specs, text, place) in [
        (&[][..], "empty range set", None),
        (
            &[v4, v6],
            "mixed address families",
            Some((1, RangeField::Subnet)),
        ),
        (
            &[v4, v4],
            "subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.0.254 overlap",
            Some((1, RangeField::Subnet)),
        ),
        (
            &[v6, bad],
            "Network has host bits set. For a subnet mask of length 24 the network address is 10.0.0.0",
            Some((1, RangeField::Subnet)),
        ),
    ] {
        let error = RangeSet::new(specs).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.place()), (text, place));
    }
}

#[test]
fn capacity_leaves_the_gateways_out() {
    for (specs, capacity) in [
        (&[spec("10.0.0.0/24", "", "", "")][..], 253),
        (&[spec("10.0.0.0/24", "", "", "10.0.1.1")], 254),
        (&[spec("10.0.0.0/24", "10.0.0.10", "10.0.0.19", "")], 10),
        (&[spec("10.0.0.0/31", "", "", "")], 1),
        (&[spec("10.0.0.0/31", "", "", "10.9.0.1")], 2),
        (
            &[spec(
                "::/0",
                "::",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "",
            )],
            u128::MAX - 1,
        ),
        (
            &[
                spec("10.0.0.0/24", "10.0.0.1", "10.0.0.9", ""),
                spec("10.0.0.0/24", "10.0.0.11", "10.0.0.19", ""),
            ],
            17,
        ),
    ] {
        assert_eq!(
            RangeSet::new(specs).unwrap().capacity(),
            capacity,
            "{specs:?}"
        );
    }
}

#[test]
fn a_set_prints_as_the_reference_prints_it() {
    let set = RangeSet::new(&[
        spec("10.0.0.0/29", "", "", ""),
        spec("10.0.1.0/29", "", "", ""),
    ])
    .unwrap();
    assert_eq!(set.to_string(), "10.0.0.1-10.0.0.6,10.0.1.1-10.0.1.6");
}
