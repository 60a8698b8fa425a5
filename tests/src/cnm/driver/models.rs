//! Drivers that people use, as far as their ways are known: what the test driver has to be set to in
//! order to look like one of them to a controller.

use serde_json::json;

use super::Builder;
use super::http::Framing;
use super::method::Method;
use super::style::{
    Accepts, Capabilities, Failures, Gateway, InterfaceForm, MadeAt, PoolGateway, ROUTED_GATEWAY,
    ROUTED_GATEWAY6, RemovedAt, Repeats, Route, Style, SuppliedMac, Wiring,
};

/// A driver to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Calico's libnetwork plugin: routed, addresses of full length, both gateways link-local, also
    /// the IPv6 one of an endpoint without IPv6; takes only networks of its own IPAM.
    Calico,
    /// cilium-docker: routed, IPv6 mandatory, the IPv4 default as a static route.
    Cilium,
    /// Contiv: closes connections, says failures twice, chooses MAC addresses.
    Contiv,
    /// kuryr-libnetwork: requires MAC addresses, is strict about ids and sandbox keys.
    Kuryr,
    /// OVN's overlay driver: only a network driver, which refuses what it has done already.
    Ovn,
    /// Weave Net: supplies a MAC address even where there is one, has no gateway.
    Weave,
}

impl Builder {
    /// Sets capabilities and style to those of a driver that people use.
    #[must_use]
    pub fn like(self, model: Model) -> Self {
        self.capabilities(|can| can_like(can, model))
            .style(|style| behave_like(style, model))
    }
}

fn can_like(can: &mut Capabilities, model: Model) {
    match model {
        Model::Calico => {
            "global".clone_into(&mut can.scope);
            can.address_spaces =
                ["CalicoLocalAddressSpace", "CalicoGlobalAddressSpace"].map(str::to_owned);
        }
        Model::Contiv => {
            "global".clone_into(&mut can.scope);
            can.address_spaces = [String::new(), String::new()];
        }
        Model::Kuryr => can.requires_mac = true,
        Model::Ovn => {
            "global".clone_into(&mut can.scope);
            can.implements = vec!["NetworkDriver".to_owned()];
        }
        Model::Weave => {
            "global".clone_into(&mut can.scope);
            can.address_spaces = ["weavelocal", "weaveglobal"].map(str::to_owned);
        }
        Model::Cilium => {}
    }
}

fn behave_like(style: &mut Style, model: Model) {
    match model {
        Model::Calico => calico(style),
        Model::Cilium => cilium(style),
        Model::Contiv => contiv(style),
        Model::Kuryr => {
            style.accepts = Accepts::Kuryr;
            style.disable_gateway_service = true;
        }
        Model::Ovn => ovn(style),
        Model::Weave => weave(style),
    }
}

fn calico(style: &mut Style) {
    style.accepts = Accepts::Calico;
    style.wiring = Wiring::Routed;
    style.made_at = MadeAt::Join;
    style.removed_at = RemovedAt::Leave;
    style.interface = InterfaceForm::AllKeys;
    style.full_length = true;
    style.pool_gateway = PoolGateway::Text("0.0.0.0/0".to_owned());
    "cali".clone_into(&mut style.dst_prefix);
    style.gateway = Gateway::Text(ROUTED_GATEWAY.to_owned());
    style.gateway6 = Gateway::Text(ROUTED_GATEWAY6.to_owned());
    style.routes = vec![
        Route::connected(&format!("{ROUTED_GATEWAY}/32")),
        Route::connected(&format!("{ROUTED_GATEWAY6}/128")),
    ];
    style.oper_info = None;
}

fn cilium(style: &mut Style) {
    style.accepts = Accepts::Cilium;
    style.failures = Failures::Text;
    style.wiring = Wiring::Routed;
    style.interface = InterfaceForm::AllKeys;
    style.full_length = true;
    "cilium".clone_into(&mut style.dst_prefix);
    style.gateway = Gateway::Text(String::new());
    style.gateway6 = Gateway::Text(ROUTED_GATEWAY6.to_owned());
    style.routes = vec![
        Route::connected(&format!("{ROUTED_GATEWAY6}/128")),
        Route::connected(&format!("{ROUTED_GATEWAY}/32")),
        Route::via("0.0.0.0/0", ROUTED_GATEWAY),
    ];
    style.disable_gateway_service = true;
}

fn contiv(style: &mut Style) {
    style.framing = Framing::Close;
    style.failures = Failures::Twice;
    style.repeats = Repeats::Succeed;
    style.supplies.mac = SuppliedMac::IfEmpty;
}

fn ovn(style: &mut Style) {
    style.accepts = Accepts::Ovn;
    style.failures = Failures::Status200;
    style.framing = Framing::Http10;
    "application/json".clone_into(&mut style.content_type);
    style.missing = vec![
        Method::ProgramExternalConnectivity,
        Method::RevokeExternalConnectivity,
    ];
    style.made_at = MadeAt::Join;
    style.removed_at = RemovedAt::Leave;
    style.supplies.mac = SuppliedMac::IfEmpty;
    style.gateway = Gateway::Text(String::new());
    style.gateway6 = Gateway::Text(String::new());
    style.oper_info = Some(json!({"ip_address": null, "mac_address": null, "veth_outside": null}));
}

fn weave(style: &mut Style) {
    style.repeats = Repeats::Succeed;
    style.missing = vec![
        Method::ProgramExternalConnectivity,
        Method::RevokeExternalConnectivity,
    ];
    style.supplies.mac = SuppliedMac::Always;
    style.pool_gateway = PoolGateway::OfPool;
    "ethwe".clone_into(&mut style.dst_prefix);
    style.gateway = Gateway::Text(String::new());
    style.gateway6 = Gateway::Text(String::new());
    style.routes = vec![Route::connected("224.0.0.0/4")];
}
