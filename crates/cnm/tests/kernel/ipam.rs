//! Default pools and the host's own routes.

use cni_cnm::IpamDriver as _;
use cni_cnm::builtin::ipam::DefaultIpam;
use cni_cnm::wire::ipam::RequestPoolRequest;
use cni_testkit::World;

use crate::support::soon;

#[test]
fn a_default_pool_keeps_clear_of_the_hosts_routes() {
    let world = World::new();
    world.shadow("/etc");
    std::fs::write("/etc/resolv.conf", "nameserver 172.19.0.53\n").unwrap();
    let ipam = DefaultIpam::of_host(&world.dir().join("ipam"));
    let pool = || {
        let request = RequestPoolRequest {
            address_space: "LocalDefault".into(),
            ..RequestPoolRequest::default()
        };
        ipam.request_pool(&request, soon()).unwrap().pool
    };
    world.host().ip("link add up0 type veth peer name other");
    world.host().ip("link set up0 up");
    world.host().ip("addr add 172.17.0.1/16 dev up0");
    world.host().ip("route add default via 172.17.0.2");
    world.host().ip("route add 172.20.5.0/24 via 172.17.0.2");
    assert_eq!(pool(), "172.18.0.0/16");
    assert_eq!(pool(), "172.21.0.0/16");
}
