use super::*;

fn wanted(addresses: &[&str]) -> Wanted {
    Wanted {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        admin: "CNI-ADMIN".to_owned(),
        bridge: None,
        isolated: false,
        copied: false,
    }
}

fn isolated(addresses: &[&str]) -> Wanted {
    Wanted {
        bridge: Some("cni0".to_owned()),
        isolated: true,
        ..wanted(addresses)
    }
}

/// What the reference makes, among what Docker and kube-proxy make.
const SAVED: &str = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.1.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.1.0.5/32 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"#;

/// The same with a policy.
const POLICED: &str = r#"*filter
:FORWARD ACCEPT [0:0]
:CNI-ISOLATION-STAGE-1 - [0:0]
:CNI-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-1
-A CNI-ISOLATION-STAGE-1 -i cni0 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)" -j DROP
-A CNI-ISOLATION-STAGE-1 -i cni0 ! -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j RETURN
-A CNI-ISOLATION-STAGE-2 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j DROP
-A CNI-ISOLATION-STAGE-2 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
COMMIT
"#;

#[test]
fn the_first_add_makes_chains_and_rules_in_order() {
    let input = Filter::default().restore_for_add(&isolated(&["10.1.0.5"]));
    assert_eq!(
        input.unwrap(),
        r#"*filter
-N CNI-FORWARD
-N CNI-ADMIN
-N CNI-ISOLATION-STAGE-1
-N CNI-ISOLATION-STAGE-2
-I FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-I CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.1.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.1.0.5/32 -j ACCEPT
-I FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-1
-I CNI-ISOLATION-STAGE-1 -i cni0 ! -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
-I CNI-ISOLATION-STAGE-1 -i cni0 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)" -j DROP
-A CNI-ISOLATION-STAGE-1 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
-I CNI-ISOLATION-STAGE-2 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j DROP
-A CNI-ISOLATION-STAGE-2 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
COMMIT
"#
    );
}

/// What is read from text has no samples; from `nf_tables`, none but those of its own addresses.
#[test]
fn what_is_shared_is_not_copied_nor_what_nothing_is_like() {
    let copied = |filter: &Filter, wanted: &Wanted| {
        filter.copies(wanted, crate::iptables::Family::V4.filter())
    };
    let wanted = Wanted {
        copied: true,
        ..wanted(&["10.1.0.5"])
    };
    assert_eq!(copied(&Filter::default(), &wanted), None);
    let filter = Filter::of_text(SAVED);
    assert_eq!(copied(&filter, &wanted), Some(Vec::new()));
    let another = Wanted {
        addresses: vec!["10.1.0.6".parse().unwrap()],
        ..wanted
    };
    assert_eq!(copied(&filter, &another), None);
}

#[test]
fn what_is_there_is_not_made_again() {
    let filter = Filter::of_text(SAVED);
    assert_eq!(filter.restore_for_add(&wanted(&["10.1.0.5"])), None);
    assert_eq!(
        filter
            .restore_for_add(&wanted(&["10.1.0.5", "10.1.0.6"]))
            .unwrap(),
        "*filter
-A CNI-FORWARD -d 10.1.0.6/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.1.0.6/32 -j ACCEPT
COMMIT
"
    );
}

/// Whatever the reference's release has written behind `ingressPolicy:`.
#[test]
fn policies_are_recognised_with_each_of_the_references_comments() {
    assert_eq!(Filter::of_text(POLICED).missing(&isolated(&[])).len(), 2);
    let renamed = POLICED.replace("same-bridge)", "same-bridge|isolated)");
    assert_eq!(Filter::of_text(&renamed).missing(&isolated(&[])).len(), 2);
}

/// Somebody flushed FORWARD and only the policy's jump came back.
#[test]
fn accepts_never_come_before_policies() {
    let input = Filter::of_text(POLICED).restore_for_add(&wanted(&["10.1.0.5"]));
    let input = input.unwrap();
    assert!(
        input.contains("-I FORWARD 2 -m comment --comment \"CNI firewall plugin rules\""),
        "{input}"
    );
}

#[test]
fn the_last_accept_takes_the_chains_with_it() {
    let filter = Filter::of_text(SAVED);
    let own = ["10.1.0.5".parse().unwrap()];
    assert_eq!(
        filter.close(&own, true).restore(),
        r#"*filter
-D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-F CNI-FORWARD
-F CNI-ADMIN
-X CNI-FORWARD
-X CNI-ADMIN
COMMIT
"#
    );
    let alone = "*filter
-D CNI-FORWARD -d 10.1.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-D CNI-FORWARD -s 10.1.0.5/32 -j ACCEPT
COMMIT
";
    assert_eq!(filter.close(&own, false).restore(), alone);
    // Somebody else relies on the chains.
    for foreign in [
        "-A CNI-ADMIN -s 192.0.2.0/24 -j DROP",
        "-A CNI-FORWARD -p icmp -j ACCEPT",
        "-A CNI-FORWARD -s 10.1.0.6/32 -j ACCEPT",
        "-A DOCKER-USER -j CNI-FORWARD",
        "-A DOCKER-USER -g CNI-ADMIN",
        "-A FORWARD -i eth0 -j CNI-FORWARD",
        "-A FORWARD -j CNI-FORWARD",
    ] {
        let saved = SAVED.replace("COMMIT", &format!("{foreign}\nCOMMIT"));
        let removal = Filter::of_text(&saved).close(&own, true);
        assert_eq!(removal.restore(), alone, "{foreign}");
    }
}

#[test]
fn where_no_accept_is_nothing_goes() {
    let filter = Filter::of_text(SAVED);
    for other in ["10.1.0.6", "fd00::5"] {
        assert!(filter.close(&[other.parse().unwrap()], true).is_empty());
    }
    let nobody = |_: &str| false;
    assert!(Filter::of_text(POLICED).release(&nobody, false).is_empty());
    assert!(Filter::default().release(&|_| true, false).is_empty());
}

#[test]
fn the_last_policy_takes_the_stages_with_it() {
    let is_bridge = |name: &str| name == "cni0";
    assert_eq!(
        Filter::of_text(POLICED)
            .release(&is_bridge, false)
            .restore(),
        r#"*filter
-D FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-1
-F CNI-ISOLATION-STAGE-1
-F CNI-ISOLATION-STAGE-2
-X CNI-ISOLATION-STAGE-1
-X CNI-ISOLATION-STAGE-2
COMMIT
"#
    );
    let other = "-A CNI-ISOLATION-STAGE-2 -o cni1 -m comment --comment \"CNI firewall plugin rules (ingressPolicy: same-bridge)\" -j DROP\nCOMMIT";
    let removal = Filter::of_text(&POLICED.replace("COMMIT", other)).release(&is_bridge, false);
    assert_eq!(removal.lines.len(), 3);
    assert_eq!(removal.chains, Vec::<String>::new());
    let inside = Filter::of_text(POLICED).release(&is_bridge, true);
    assert_eq!(inside.lines.len(), 1);
}
