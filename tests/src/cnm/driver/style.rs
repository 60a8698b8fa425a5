//! How a driver behaves: all that differs between the drivers that exist.

use serde_json::{Value, json};

use super::http::Framing;
use super::method::Method;

/// What the driver says of itself.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The subsystems of `Plugin.Activate`.
    pub implements: Vec<String>,
    /// `Scope`: `local` or `global`.
    pub scope: String,
    /// `ConnectivityScope`; empty leaves it to the scope.
    pub connectivity_scope: String,
    /// `GwAllocChecker`; `None` leaves the key out, as drivers older than Engine 28 do. The value
    /// is what `GwAllocCheck` answers: whether to skip the gateway of IPv4 and of IPv6.
    pub gateway_check: Option<[bool; 2]>,
    /// `RequiresMACAddress` of the IPAM driver.
    pub requires_mac: bool,
    /// `RequiresRequestReplay` of the IPAM driver.
    pub requires_replay: bool,
    /// The default address spaces, local and global.
    pub address_spaces: [String; 2],
}

/// How the driver answers and works.
#[derive(Debug, Clone)]
pub struct Style {
    /// The form of replies.
    pub framing: Framing,
    /// The `Content-Type` of replies; empty leaves it out.
    pub content_type: String,
    /// How failures are said.
    pub failures: Failures,
    /// What is answered for ids that the driver does not know, or knows already.
    pub repeats: Repeats,
    /// Calls that the driver does not have: 404.
    pub missing: Vec<Method>,
    /// What the driver refuses beyond what makes no sense.
    pub accepts: Accepts,
    /// How endpoints are connected.
    pub wiring: Wiring,
    /// When the pair of links is made.
    pub made_at: MadeAt,
    /// When it is removed.
    pub removed_at: RemovedAt,
    /// The link that Join offers.
    pub src_name: SrcName,
    /// `DstPrefix` of Join.
    pub dst_prefix: String,
    /// `DstName` of Join; empty leaves it out.
    pub dst_name: String,
    /// `Gateway` of Join.
    pub gateway: Gateway,
    /// `GatewayIPv6` of Join.
    pub gateway6: Gateway,
    /// `StaticRoutes` of Join.
    pub routes: Vec<Route>,
    /// `DisableGatewayService` of Join.
    pub disable_gateway_service: bool,
    /// What `CreateEndpoint` fills in where the request has nothing.
    pub supplies: Supplies,
    /// The form of `Interface` in the reply to `CreateEndpoint`.
    pub interface: InterfaceForm,
    /// The gateway in the reply to `RequestPool`.
    pub pool_gateway: PoolGateway,
    /// Whether the IPAM driver hands out addresses of full length (/32 and /128).
    pub full_length: bool,
    /// `Value` of `EndpointOperInfo`; with `None` the whole reply is `null`.
    pub oper_info: Option<Value>,
}

/// How failures are said where no fault says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failures {
    /// 500 with `{"Err": ...}`, and `Error` as well from the IPAM driver.
    #[default]
    Status500,
    /// 200 with `{"Err": ...}` from the network driver and `{"Error": ...}` from the IPAM driver.
    Status200,
    /// 400 with plain text, as cilium-docker.
    Text,
    /// 200 with the same document twice, as Contiv.
    Twice,
}

/// What a driver refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accepts {
    /// Everything that makes sense.
    #[default]
    Anything,
    /// As Calico: networks only of its own IPAM and without options, pools without options and
    /// sub-pools, and no addresses for gateways.
    Calico,
    /// As Kuryr: only ids and sandbox keys of the form that Docker gives them.
    Kuryr,
    /// As OVN: networks only with an IPv4 gateway.
    Ovn,
    /// As cilium-docker: endpoints only with an IPv6 address.
    Cilium,
}

/// How endpoints are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wiring {
    /// The host's ends are ports of the network's bridge, which has the gateways' addresses.
    #[default]
    Bridged,
    /// As Calico and Cilium: the host routes to every endpoint's address over its own pair. The
    /// host's end has [`ROUTED_GATEWAY`] and [`ROUTED_GATEWAY6`].
    Routed,
}

/// The IPv4 gateway of every endpoint that is routed.
pub const ROUTED_GATEWAY: &str = "169.254.1.1";

/// The IPv6 gateway of every endpoint that is routed.
pub const ROUTED_GATEWAY6: &str = "fe80::ecee:eeff:feee:eeee";

/// What is answered to a call that was done before, or for something unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeats {
    /// A failure, as OVN.
    #[default]
    Fail,
    /// Success.
    Succeed,
}

/// When an endpoint's links are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MadeAt {
    /// As Kuryr and Weave do.
    #[default]
    CreateEndpoint,
    /// As Calico and OVN do.
    Join,
}

/// When an endpoint's links are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RemovedAt {
    /// As Kuryr and Weave do. The controller has the link back by then.
    #[default]
    DeleteEndpoint,
    /// As Calico and OVN do, whether the controller has the link back or not.
    Leave,
    /// The driver leaves them to the controller.
    Never,
}

/// Which link Join offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SrcName {
    /// The container's end of the pair.
    #[default]
    Made,
    /// No `InterfaceName` at all.
    Absent,
    /// `"InterfaceName": null`.
    Null,
    /// Another name, which need not exist.
    Other(String),
}

/// Which gateway Join names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Gateway {
    /// That of `CreateNetwork`, if it had one.
    #[default]
    OfNetwork,
    /// This text; empty is none.
    Text(String),
}

/// A route as Join tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// In CIDR form.
    pub destination: String,
    /// The address of a next hop (type 0); `None` is a connected route (type 1).
    pub next_hop: Option<String>,
}

/// What the driver fills in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supplies {
    /// The MAC address.
    pub mac: SuppliedMac,
    /// IPv4 addresses out of this pool, in CIDR form.
    pub pool: Option<String>,
    /// IPv6 addresses out of this pool, in CIDR form.
    pub pool6: Option<String>,
}

/// Whether the driver fills in the MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SuppliedMac {
    /// It does not.
    #[default]
    Never,
    /// When the request has none, as it may.
    IfEmpty,
    /// Even when the request has one, as Weave does and must not.
    Always,
}

/// How `CreateEndpoint` says what was filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InterfaceForm {
    /// An object of what was filled in, maybe `{}`.
    #[default]
    Supplied,
    /// An object of all three keys, empty where nothing was filled in.
    AllKeys,
    /// `null`, or an object where something was filled in.
    Null,
    /// No key, or an object where something was filled in.
    Absent,
}

/// The gateway that `RequestPool` tells in its `Data`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PoolGateway {
    /// None: the controller asks for an address.
    #[default]
    Unsaid,
    /// This one, in CIDR form.
    Text(String),
    /// The pool's own address, which Weave gives for none.
    OfPool,
}

impl Route {
    /// Through a gateway.
    pub fn via(destination: &str, next_hop: &str) -> Self {
        Self {
            destination: destination.to_owned(),
            next_hop: Some(next_hop.to_owned()),
        }
    }

    /// On the link.
    pub fn connected(destination: &str) -> Self {
        Self {
            destination: destination.to_owned(),
            next_hop: None,
        }
    }

    pub(super) fn json(&self) -> Value {
        match &self.next_hop {
            Some(hop) => json!({"Destination": self.destination, "RouteType": 0, "NextHop": hop}),
            None => json!({"Destination": self.destination, "RouteType": 1, "NextHop": ""}),
        }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            implements: vec!["NetworkDriver".to_owned(), "IpamDriver".to_owned()],
            scope: "local".to_owned(),
            connectivity_scope: String::new(),
            gateway_check: None,
            requires_mac: false,
            requires_replay: false,
            address_spaces: ["tlocal".to_owned(), "tglobal".to_owned()],
        }
    }
}

impl Default for Style {
    fn default() -> Self {
        Self {
            framing: Framing::default(),
            content_type: "application/vnd.docker.plugins.v1.2+json".to_owned(),
            failures: Failures::default(),
            repeats: Repeats::default(),
            missing: Vec::new(),
            accepts: Accepts::default(),
            wiring: Wiring::default(),
            made_at: MadeAt::default(),
            removed_at: RemovedAt::default(),
            src_name: SrcName::default(),
            dst_prefix: "eth".to_owned(),
            dst_name: String::new(),
            gateway: Gateway::default(),
            gateway6: Gateway::default(),
            routes: Vec::new(),
            disable_gateway_service: false,
            supplies: Supplies::default(),
            interface: InterfaceForm::default(),
            pool_gateway: PoolGateway::default(),
            full_length: false,
            oper_info: Some(json!({})),
        }
    }
}
