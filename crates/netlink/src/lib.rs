//! Everything the plugins ask of the kernel's routing subsystem.
//!
//! One blocking [`Socket`] for each namespace; it needs no entering once it is open. What is to be
//! changed is a [`Change`], a value that can be printed, sent alone or sent with others. Requests
//! are made with rtnetlink's builders; replies are read here, see `frame.rs`.

mod address;
mod announce;
mod batch;
mod change;
mod error;
mod forwarding;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod gone;
mod link;
pub mod localnet;
mod mac;
mod ns;
mod qdisc;
mod route;
mod socket;
pub mod sysctl;
mod wait;
mod wire;

pub use address::{Address, Dad, add_address, delete_address};
pub use announce::{advertise, gratuitous_arp};
pub use batch::Reply;
pub use change::{BatchError, Change};
pub use error::{Cause, NetlinkError, Op};
pub use forwarding::Protocol;
pub use frame::Malformed;
pub use gone::Departures;
pub use link::{
    BridgeInfo, BridgePort, CreateBridge, CreateIfb, CreateLink, CreateVeth, Ipv4Conf, Link,
    LinkId, LinkKind, OperState, PortFlags, VethEnd, VethPair, VlanRange, VlanSide, add_alt_name,
    add_vlans, delete_alt_name, delete_group, delete_link, delete_vlans, move_link, rename_link,
    set_alias, set_alias_and_leave_group, set_all_multicast, set_down, set_group, set_ipv4_conf,
    set_mac, set_master, set_mtu, set_port, set_promiscuous, set_tx_queue_len, set_up, set_up_with,
};
pub use mac::{random_bytes, random_mac};
pub use ns::{NetNs, NetNsError, NetNsId, NetNsSocketError, OsError};
pub use qdisc::{
    Feature, Filter, Hook, Psched, PschedError, Qdisc, Tbf, add_ingress, add_redirect, add_tbf,
    delete_filter, delete_ingress, delete_tbf,
};
pub use route::{MAIN_TABLE, Route, RouteFilter, SCOPE_LINK};
pub use socket::{DEFAULT_TIMEOUT, Socket};
