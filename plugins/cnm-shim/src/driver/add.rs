//! ADD.

use std::path::PathBuf;
use std::rc::Rc;

use cni_cnm::controller::spec::{EndpointSpec, FamilySpec, Limits, NetworkSpec, SandboxSpec};
use cni_cnm::controller::{Connected, Controller, Policy};
use cni_cnm::sandbox::{SandboxError, key};
use cni_cnm::store::Lock;
use cni_plugin::{AttachmentRequest, Delegate, RunningAdd, Undo};
use cni_types::{Attachment, CniError, CniResult, IpCidr, SpecVersion};

use super::result::{self, Given};
use crate::config::{DriverConfig, KeyStyle, Settings};
use crate::drivers::{Waiting, controller};
use crate::error::ShimError;
use crate::report;

/// Makes the attachment.
pub(crate) fn add(
    request: &AttachmentRequest,
    config: &DriverConfig,
    settings: &Settings,
    undo: &mut Undo,
) -> Result<CniResult, CniError> {
    let limits = settings.limits();
    let adding = Adding {
        request,
        config,
        settings,
        controller: Rc::new(controller(&settings.data_dir, Waiting::Bounded)),
        limits,
    };
    let lock = Rc::new(adding.controller.lock(&request.attachment, limits.total)?);
    adding.require_room()?;
    let delegate = adding.start_delegate(undo)?;
    match delegate {
        None => {
            let connected = adding.connect(&Given::default(), lock, undo)?;
            Ok(adding.result(&connected, &Given::default()))
        }
        Some(mut running) => {
            let told = running.result()?;
            let given = Given::of(&told)?;
            let connected = adding.connect(&given, lock, undo)?;
            running.finish(&told)?;
            Ok(adding.result(&connected, &given))
        }
    }
}

struct Adding<'a> {
    request: &'a AttachmentRequest,
    config: &'a DriverConfig,
    settings: &'a Settings,
    controller: Rc<Controller>,
    limits: Limits,
}

impl Adding<'_> {
    fn attachment(&self) -> &Attachment {
        &self.request.attachment
    }

    /// Nobody is asked for anything before it is known that there is room.
    fn require_room(&self) -> Result<(), CniError> {
        let sandboxes = self.controller.sandboxes();
        let sandbox = sandboxes.identify(&self.request.netns)?;
        sandbox.only(self.request.netns_id)?;
        let id = self.config.network.id();
        self.controller.clear(&id, self.attachment(), self.limits)?;
        let name = &self.attachment().ifname;
        if sandboxes.is_free(&self.request.netns, name)? {
            return Ok(());
        }
        Err(SandboxError::NameTaken(name.clone()).into())
    }

    fn start_delegate(&self, undo: &mut Undo) -> Result<Option<RunningAdd>, CniError> {
        let Some(plugin) = &self.config.delegate else {
            return Ok(None);
        };
        let request = &self.request.request;
        Delegate::find(request, plugin)?
            .start_add(request.delegate_deadline(), undo)
            .map(Some)
    }

    /// The path that drivers are told, if it is not `CNI_NETNS` itself.
    fn key(&self) -> Option<PathBuf> {
        let of_docker = self.config.key_style == KeyStyle::Docker;
        of_docker.then(|| key::path(&self.attachment().container_id))
    }

    fn connect(
        &self,
        given: &Given,
        lock: Rc<Lock>,
        undo: &mut Undo,
    ) -> Result<Connected, CniError> {
        let network = self.network(given);
        self.push_undo(&network, lock, undo);
        let wishes = &self.config.wishes;
        let endpoint = EndpointSpec {
            attachment: self.attachment().clone(),
            sandbox: SandboxSpec {
                path: self.request.netns.clone(),
                id: self.request.netns_id,
                key: self.key(),
            },
            mac: wishes.mac,
            wanted: wishes.ips.clone(),
            given: given.addresses(),
            routes: given.routes.clone(),
            options: wishes.endpoint_options.clone(),
            ports: wishes.ports.clone(),
            default_route: wishes.default_route,
            ids: self.config.ids,
        };
        Ok(self.controller.connect(&network, &endpoint, self.limits)?)
    }

    /// What is known of the subnets of addresses that a CNI plugin has given, where the config says
    /// nothing: some drivers make no network without.
    fn network(&self, given: &Given) -> NetworkSpec {
        let mut network = self.config.network.clone();
        for (ipv6, family) in [(false, &mut network.v4), (true, &mut network.v6)] {
            let address = given.ips.iter().find(|ip| ip.address.is_ipv6() == ipv6);
            if let (None, Some(ip)) = (family.subnet, address) {
                *family = FamilySpec {
                    subnet: Some(ip.address.subnet()),
                    gateway: ip.gateway,
                    ..FamilySpec::default()
                };
            }
        }
        network.enable_ipv6 |= given.addresses().iter().any(IpCidr::is_ipv6);
        network
    }

    /// One way leads out of every failure, a panic too: the record says what there is to take back.
    fn push_undo(&self, network: &NetworkSpec, lock: Rc<Lock>, undo: &mut Undo) {
        let (controller, settings) = (Rc::clone(&self.controller), self.settings.clone());
        let (id, attachment) = (network.id(), self.attachment().clone());
        undo.push("take the endpoint back", move || {
            let _held = lock;
            let limits = settings.limits().undo();
            let policy = Policy {
                takes_back: true,
                ..Policy::default()
            };
            let departure = controller.disconnect(&id, &attachment, policy, limits)?;
            match departure.down {
                Some(error) => Err(ShimError::Owed(error.into()).into()),
                None => report::strictly(departure.notes),
            }
        });
    }

    fn result(&self, connected: &Connected, given: &Given) -> CniResult {
        result::plan(&result::Attached {
            connected,
            given,
            sandbox: &self.request.netns,
            dns: self.config.wishes.dns.as_ref(),
            // The key exists since 1.1.0.
            tells_mtu: self.request.request.version >= SpecVersion::V1_1_0,
        })
    }
}
