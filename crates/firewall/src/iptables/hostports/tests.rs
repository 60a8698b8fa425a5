use super::*;
use crate::portmap::{Mapping, MarkBit, Masquerade};

fn attachment() -> Attachment {
    Attachment {
        network: "net".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

fn mapping(host_ip: Option<&str>, ports: [u16; 2], protocol: &str) -> Mapping {
    let [host_port, container_port] = ports.map(|port| port.try_into().unwrap());
    Mapping {
        host_ip: host_ip.map(|address| address.parse().unwrap()),
        host_port,
        container_port,
        protocol: protocol.parse().unwrap(),
    }
}

fn ports(mappings: Vec<Mapping>) -> HostPorts {
    let addresses = ["10.1.0.5/16", "fd00:1::5/64"].map(|text| text.parse().unwrap());
    HostPorts::new(Publication::new(addresses.to_vec(), mappings))
}

fn restore(ports: &HostPorts, family: Family, saved: &str) -> Option<String> {
    let lines = saved::read(saved);
    let wanted = wanted(&attachment(), ports, family).unwrap();
    let stale = compare(&lines, &wanted, ports, family).unwrap();
    wanted.restore(saved, &lines, &stale)
}

/// What Debian's reference plugin made, printed by `iptables-save -t nat` 1.8.9.
const REFERENCE: &str = r#"*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-DN-623e1c388032b20529218 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-623e1c388032b20529218 -s 10.1.0.0/16 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.5:80
-A CNI-DN-623e1c388032b20529218 -s 10.1.0.0/16 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -s 127.0.0.1/32 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.1.0.5:5353
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 8080,8084 -j CNI-DN-623e1c388032b20529218
-A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 53 -j CNI-DN-623e1c388032b20529218
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
"#;

/// The mappings of [`REFERENCE`].
fn of_reference() -> HostPorts {
    ports(vec![
        mapping(None, [8080, 80], "tcp"),
        mapping(Some("192.0.2.1"), [53, 5353], "udp"),
        mapping(Some("2001:db8::1"), [8084, 84], "tcp"),
    ])
}

#[test]
fn the_first_add_is_one_table() {
    let expected = r#"*nat
-N CNI-HOSTPORT-DNAT
-N CNI-HOSTPORT-SETMARK
-N CNI-HOSTPORT-MASQ
:CNI-DN-623e1c388032b20529218 - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-I POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-623e1c388032b20529218 -s fd00:1::/64 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:1::5]:80
-A CNI-DN-623e1c388032b20529218 -s fd00:1::/64 -d 2001:db8::1/128 -p tcp -m tcp --dport 8084 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -d 2001:db8::1/128 -p tcp -m tcp --dport 8084 -j DNAT --to-destination [fd00:1::5]:84
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 8080,8084 -j CNI-DN-623e1c388032b20529218
COMMIT
"#;
    assert_eq!(restore(&of_reference(), Family::V6, "").unwrap(), expected);
}

#[test]
fn what_the_reference_made_is_not_made_again() {
    assert_eq!(restore(&of_reference(), Family::V4, REFERENCE), None);
}

#[test]
fn each_line_that_is_lost_is_missed_and_made_again() {
    let lines: Vec<&str> = REFERENCE
        .lines()
        .filter(|line| line.starts_with("-A "))
        .collect();
    for lost in lines {
        let saved = REFERENCE.replace(&format!("{lost}\n"), "");
        let ports = of_reference();
        let wanted = wanted(&attachment(), &ports, Family::V4).unwrap();
        let missing = wanted.missing(&saved::read(&saved)).len();
        assert_eq!(missing, 1, "{lost}");
        let input = restore(&ports, Family::V4, &saved).unwrap();
        // Those of the own chain are all made again, since it is flushed.
        let made = |rule: &str| {
            let rule = rule.strip_prefix("-A").unwrap();
            ["-A", "-I"].map(|how| input.contains(&format!("{how}{rule}\n")))
        };
        let by_ports = lost.contains("--dports 8080,8084");
        assert!(by_ports || made(lost).contains(&true), "{lost}\n{input}");
        assert!(!input.contains("-N "), "{input}");
    }
}

#[test]
fn a_changed_mapping_takes_the_place_of_the_old_one() {
    let changed = ports(vec![mapping(None, [9090, 80], "tcp")]);
    let input = restore(&changed, Family::V4, REFERENCE).unwrap();
    assert_eq!(
        input,
        r#"*nat
:CNI-DN-623e1c388032b20529218 - [0:0]
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 8080,8084 -j CNI-DN-623e1c388032b20529218
-D CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 53 -j CNI-DN-623e1c388032b20529218
-A CNI-DN-623e1c388032b20529218 -s 10.1.0.0/16 -p tcp -m tcp --dport 9090 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -s 127.0.0.1/32 -p tcp -m tcp --dport 9090 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-623e1c388032b20529218 -p tcp -m tcp --dport 9090 -j DNAT --to-destination 10.1.0.5:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"c1\"" -m multiport --dports 9090 -j CNI-DN-623e1c388032b20529218
COMMIT
"#
    );
}

/// Another container's address.
fn elsewhere(mappings: Vec<Mapping>) -> (Attachment, HostPorts) {
    let addresses = vec!["10.1.0.6/16".parse().unwrap()];
    let two = Attachment {
        container_id: "c2".parse().unwrap(),
        ..attachment()
    };
    (two, HostPorts::new(Publication::new(addresses, mappings)))
}

fn compared(mappings: Vec<Mapping>, condition: &[&str]) -> Result<Vec<String>, Cause> {
    let (two, ports) = elsewhere(mappings);
    let ports = HostPorts {
        condition_v4: condition.iter().map(|&word| word.to_owned()).collect(),
        ..ports
    };
    let wanted = wanted(&two, &ports, Family::V4).unwrap();
    compare(&saved::read(REFERENCE), &wanted, &ports, Family::V4)
}

#[test]
fn a_port_of_another_container_is_taken() {
    for (taken, name) in [
        (
            mapping(None, [8080, 80], "tcp"),
            "8080/tcp of any IPv4 address",
        ),
        (
            mapping(Some("192.0.2.9"), [8080, 80], "tcp"),
            "8080/tcp of 192.0.2.9",
        ),
        (mapping(None, [53, 53], "udp"), "53/udp of any IPv4 address"),
        (
            mapping(Some("192.0.2.1"), [53, 53], "udp"),
            "53/udp of 192.0.2.1",
        ),
    ] {
        let error = compared(vec![taken], &[]).expect_err(name);
        let text = format!("port {name} is taken by net: net, id: c1");
        assert_eq!(error.to_string(), text);
        // Where there are conditions, it is for them to tell the two apart.
        assert_eq!(
            compared(vec![taken], &["-i", "eth1"]).unwrap(),
            Vec::<String>::new()
        );
    }
    let free = vec![
        mapping(None, [8080, 80], "udp"),
        mapping(None, [8081, 80], "tcp"),
        mapping(Some("192.0.2.9"), [53, 53], "udp"),
    ];
    assert_eq!(compared(free, &[]).unwrap(), Vec::<String>::new());
}

#[test]
fn a_chain_that_leads_to_ones_own_address_was_left_behind_and_goes() {
    let (two, _) = elsewhere(Vec::new());
    let own = ports(vec![mapping(None, [8080, 81], "tcp")]);
    let lines = saved::read(REFERENCE);
    let wanted = wanted(&two, &own, Family::V4).unwrap();
    let stale = compare(&lines, &wanted, &own, Family::V4).unwrap();
    assert_eq!(stale, ["CNI-DN-623e1c388032b20529218"]);
    let input = wanted.restore(REFERENCE, &lines, &stale).unwrap();
    assert!(
        input.contains("\n-X CNI-DN-623e1c388032b20529218\n"),
        "{input}"
    );
    assert_eq!(
        input.matches("\n-D CNI-HOSTPORT-DNAT ").count(),
        2,
        "{input}"
    );
}

#[test]
fn long_runs_of_ports_share_rules_and_short_ones_have_the_references() {
    let run = |count: u16| {
        let each = |at| mapping(None, [8000 + at, 9000 + at], "tcp");
        ports((0..count).map(each).collect())
    };
    let long = restore(&run(100), Family::V4, "").unwrap();
    let rules: Vec<&str> = long.lines().filter(|line| line.contains("8000")).collect();
    let [.., to_container, entry] = rules[..] else {
        panic!("{long}");
    };
    let target = "--dport 8000:8099 -j DNAT --to-destination 10.1.0.5:9000-9099/8000";
    assert!(to_container.ends_with(target), "{to_container}");
    assert!(entry.contains(" --dports 8000:8099 "), "{entry}");
    assert_eq!(rules.len(), 4, "{long}");
    let short = restore(&run(15), Family::V4, "").unwrap();
    assert_eq!(short.matches(" -j DNAT ").count(), 15, "{short}");
    let line = short
        .lines()
        .find(|line| line.contains("--dports"))
        .unwrap();
    assert!(line.contains(" --dports 8000,8001,8002,"), "{line}");
    // A gap, on either side, ends a run; and a rule has room for fifteen ports.
    let mut gaps = run(40);
    gaps.publication.mappings.remove(20);
    gaps.publication.mappings[30].container_port = 7.try_into().unwrap();
    let gaps = restore(&gaps, Family::V4, "").unwrap();
    let dports: Vec<&str> = gaps
        .lines()
        .filter_map(|line| line.split_once("--dports "))
        .filter_map(|(_, rest)| rest.split(' ').next())
        .collect();
    assert_eq!(
        dports,
        [
            "8000:8019,8021,8022,8023,8024,8025,8026,8027,8028,8029,8030,8031,8032,8033",
            "8034,8035,8036,8037,8038,8039",
        ]
    );
}

#[test]
fn each_key_has_its_rules() {
    let with = |change: fn(&mut HostPorts)| {
        let mut ports = ports(vec![mapping(None, [8080, 80], "tcp")]);
        change(&mut ports);
        restore(&ports, Family::V4, "").unwrap()
    };
    let never = with(|ports| ports.publication.masquerade = Masquerade::Never);
    assert!(
        !never.contains("MARK") && !never.contains("MASQ"),
        "{never}"
    );
    let always = with(|ports| ports.publication.masquerade = Masquerade::Always);
    let mark =
        "\n-A CNI-DN-623e1c388032b20529218 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n";
    assert_eq!(always.matches("-j CNI-HOSTPORT-SETMARK").count(), 1);
    assert!(always.contains(mark), "{always}");
    let bit = with(|ports| ports.publication.mark = MarkBit::new(5).unwrap());
    assert!(!bit.contains("CNI-HOSTPORT-SETMARK"), "{bit}");
    assert_eq!(
        bit.matches(" -j MARK --set-xmark 0x20/0x20\n").count(),
        2,
        "{bit}"
    );
    assert!(bit.contains(" --mark 0x20/0x20 -j MASQUERADE\n"), "{bit}");
    let external = with(|ports| ports.set_mark_chain = Some("KUBE-MARK-MASQ".to_owned()));
    assert_eq!(
        external.matches(" -j KUBE-MARK-MASQ\n").count(),
        2,
        "{external}"
    );
    assert!(!external.contains("CNI-HOSTPORT-MASQ"), "{external}");
    let condition = with(|ports| {
        ports.condition_v4 = ["!", "-s", "192.0.2.0/24", "--comment", "a b"]
            .map(str::to_owned)
            .to_vec();
    });
    let words = " --dports 8080 ! -s 192.0.2.0/24 --comment \"a b\" -j CNI-DN-";
    assert!(condition.contains(words), "{condition}");
}

#[test]
fn an_entry_counts_whatever_iptables_makes_of_its_condition() {
    let saved = REFERENCE.replace(
        "-A CNI-HOSTPORT-DNAT -p",
        "-A CNI-HOSTPORT-DNAT ! -s 192.0.2.0/24 -p",
    );
    let mut conditional = of_reference();
    conditional.condition_v4 = ["!", "-s", "192.0.2.0/24"].map(str::to_owned).to_vec();
    assert_eq!(restore(&conditional, Family::V4, &saved), None);
    assert!(
        saved::read(&saved)
            .iter()
            .any(|line| { line.entry.as_ref().is_some_and(|entry| entry.conditional) })
    );
}

#[test]
fn containers_are_found_by_comment_and_chain() {
    let found = |text: &str, network: &str| -> Vec<String> {
        let containers = containers(&saved::read(text), &network.parse().unwrap());
        let ids = containers
            .iter()
            .map(|found| found.container_id.to_string());
        ids.collect()
    };
    assert_eq!(found(REFERENCE, "net"), ["c1"]);
    assert_eq!(found(REFERENCE, "ne"), Vec::<String>::new());
    // Somebody's rule with the comment of another container.
    let foreign = REFERENCE.replace("id: \\\"c1", "id: \\\"c9");
    assert_eq!(found(&foreign, "net"), Vec::<String>::new());
}

#[test]
fn the_guard_is_made_once() {
    let whole = restore_for_guard("").unwrap();
    assert_eq!(
        whole,
        r#"*raw
-N CNI-HOSTPORT-GUARD
-A CNI-HOSTPORT-GUARD -d 127.0.0.0/8 ! -i lo -m comment --comment "CNI portfwd loopback guard" -j DROP
-A PREROUTING -m comment --comment "CNI portfwd loopback guard" -j CNI-HOSTPORT-GUARD
COMMIT
"#
    );
    let saved = whole.replace("-N CNI-HOSTPORT-GUARD", ":CNI-HOSTPORT-GUARD - [0:0]");
    assert_eq!(restore_for_guard(&saved), None);
    let [_, jump] = guard_rules();
    let flushed = saved.replace(&jump, "");
    assert_eq!(
        restore_for_guard(&flushed),
        Some(format!("*raw\n{jump}\nCOMMIT\n"))
    );
}
