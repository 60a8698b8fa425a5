//! A remote CNM driver for tests: `NetworkDriver` and `IpamDriver` over HTTP on a unix socket, and on
//! TCP where asked. It really connects: every network is a bridge, every endpoint a veth pair, in
//! the network namespace of the thread that starts it. It keeps every request, behaves in each of
//! the ways in which real drivers differ, and fails in each of the ways in which they fail.
//!
//! ```no_run
//! use cni_testkit::World;
//! use tenon_tests::cnm::driver::{Driver, Fault, MadeAt, Method};
//!
//! let world = World::new();
//! let driver = Driver::named("tenon")
//!     .capabilities(|can| can.requires_mac = true)
//!     .style(|style| style.made_at = MadeAt::Join)
//!     .start(); // at /run/docker/plugins/tenon.sock
//! driver.fault_nth(Method::Join, 1, Fault::err("no more"));
//! // ... run what is tested ...
//! assert_eq!(driver.count(Method::DeleteEndpoint), 1);
//! driver.assert_empty();
//! ```
//!
//! What it does not know it refuses, unless [`Style::repeats`] says otherwise, and it reads requests
//! strictly: an order of calls that a driver could not live with fails here.

mod accepts;
mod body;
mod fault;
mod http;
mod ipam;
mod links;
mod method;
mod models;
mod network;
mod record;
mod server;
mod state;
mod stream;
mod style;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use fault::Fault;
pub use http::Framing;
pub use method::Method;
pub use models::Model;
pub use record::Request;
pub use state::{Endpoint, Network};
pub use style::{
    Accepts, Capabilities, Failures, Gateway, InterfaceForm, MadeAt, PoolGateway, ROUTED_GATEWAY,
    ROUTED_GATEWAY6, RemovedAt, Repeats, Route, SrcName, Style, SuppliedMac, Supplies, Wiring,
};

use fault::Rule;
use server::{Shared, lock};
use state::State;
use stream::Listener;

/// Where Docker looks for plugins' sockets.
pub const PLUGIN_DIR: &str = "/run/docker/plugins";

/// A running driver. Dropping it ends it, and removes the links it has made.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    socket: PathBuf,
    tcp: Option<SocketAddr>,
}

/// A driver to be started.
#[derive(Debug)]
pub struct Builder {
    state: State,
    socket: PathBuf,
    tcp: Option<SocketAddr>,
    talkative: bool,
}

impl Builder {
    /// Another directory for the socket than [`PLUGIN_DIR`].
    #[must_use]
    pub fn plugin_dir(mut self, dir: &Path) -> Self {
        self.socket = dir.join(self.socket.file_name().unwrap_or_default());
        self
    }

    /// Another path for the socket, as that of daemon-managed plugins.
    #[must_use]
    pub fn socket(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.socket);
        self
    }

    /// Also on TCP at 127.0.0.1, see [`Driver::tcp`].
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        self
    }

    /// Other capabilities than the default ones.
    #[must_use]
    pub fn capabilities(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.state.capabilities);
        self
    }

    /// Another behaviour than the default one.
    #[must_use]
    pub fn style(mut self, change: impl FnOnce(&mut Style)) -> Self {
        change(&mut self.state.style);
        self
    }

    /// Says on standard error what is asked and answered.
    #[must_use]
    pub fn talkative(mut self) -> Self {
        self.talkative = true;
        self
    }

    /// Starts it in the calling thread's namespaces; it can be connected to afterwards.
    pub fn start(self) -> Driver {
        let tcp = self.tcp.map(bind_tcp);
        let driver = Driver {
            shared: Arc::new(Shared::new(self.state, self.talkative)),
            socket: self.socket,
            tcp: tcp.as_ref().map(|tcp| tcp.local_addr().unwrap()),
        };
        driver.listen(tcp);
        driver
    }
}

impl Driver {
    /// A driver whose socket is `<name>.sock` in [`PLUGIN_DIR`].
    pub fn named(name: &str) -> Builder {
        Builder {
            state: State::default(),
            socket: Path::new(PLUGIN_DIR).join(format!("{name}.sock")),
            tcp: None,
            talkative: false,
        }
    }

    /// The path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `unix://` and the socket's path.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Where it listens on TCP, if it does.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        lock(&self.shared.requests).clear();
    }

    /// The names of all calls so far.
    pub fn calls(&self) -> Vec<String> {
        let requests = lock(&self.shared.requests);
        requests.iter().map(|one| one.name().to_owned()).collect()
    }

    /// How long it was busy with the requests so far.
    pub fn busy(&self) -> Duration {
        let requests = lock(&self.shared.requests);
        requests.iter().map(|request| request.took).sum()
    }

    /// How often a method was called.
    pub fn count(&self, method: Method) -> usize {
        let requests = lock(&self.shared.requests);
        let of_method = |request: &&Request| request.method() == Some(method);
        requests.iter().filter(of_method).count()
    }

    /// The last call of a method; panics when there was none.
    #[track_caller]
    pub fn last(&self, method: Method) -> Request {
        let mut requests = self.requests();
        requests.retain(|request| request.method() == Some(method));
        requests
            .pop()
            .unwrap_or_else(|| panic!("no call of {method}, only {:?}", self.calls()))
    }

    /// The networks that there are.
    pub fn networks(&self) -> Vec<Network> {
        lock(&self.shared.state)
            .networks
            .values()
            .cloned()
            .collect()
    }

    /// The endpoints that there are.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        lock(&self.shared.state)
            .endpoints
            .values()
            .cloned()
            .collect()
    }

    /// The IPAM driver's pools, in CIDR form.
    pub fn pools(&self) -> Vec<String> {
        lock(&self.shared.state).ipam.pools()
    }

    /// The addresses that the IPAM driver has given out, gateways among them.
    pub fn reserved(&self) -> Vec<String> {
        lock(&self.shared.state).ipam.reserved()
    }

    /// Panics when there is an endpoint, a network, a pool or a reserved address.
    #[track_caller]
    pub fn assert_empty(&self) {
        assert_eq!(self.endpoints(), []);
        assert_eq!(self.networks(), []);
        assert_eq!(self.reserved(), Vec::<String>::new());
        assert_eq!(self.pools(), Vec::<String>::new());
    }

    /// Answers every call of a method so, until [`Driver::clear_faults`].
    pub fn fault(&self, method: Method, fault: Fault) {
        lock(&self.shared.rules).push(Rule::new(method, 0, fault));
    }

    /// Answers the `nth` call of a method so, counted from 1 and from now on.
    pub fn fault_nth(&self, method: Method, nth: usize, fault: Fault) {
        assert!(nth > 0, "calls are counted from 1");
        lock(&self.shared.rules).push(Rule::new(method, nth, fault));
    }

    /// Waits until a call is left without an answer, by [`Fault::hang`]: with its work done, if the
    /// fault is one [`Fault::with_work`]. For killing a client at that very moment.
    #[track_caller]
    pub fn wait_for_a_hanging_call(&self) {
        let limit = Duration::from_secs(20);
        assert!(
            self.shared.wait_for_a_hanging_call(limit),
            "no call hangs: {:?}",
            self.calls()
        );
    }

    /// Answers rightly again. A dead driver stays dead.
    pub fn clear_faults(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Behaves differently from now on.
    pub fn style(&self, change: impl FnOnce(&mut Style)) {
        change(&mut lock(&self.shared.state).style);
    }

    /// Says otherwise of itself from now on.
    pub fn capabilities(&self, change: impl FnOnce(&mut Capabilities)) {
        change(&mut lock(&self.shared.state).capabilities);
    }

    /// Ends connections and refuses new ones; the socket's file stays, as after a crash.
    pub fn die(&self) {
        self.shared.close();
    }

    /// Whether connections are refused.
    pub fn is_down(&self) -> bool {
        !self.shared.is_listening()
    }

    /// Listens again after its death, with all its memory.
    pub fn revive(&self) {
        self.shared.close();
        self.listen(self.tcp.map(bind_tcp));
    }

    fn listen(&self, tcp: Option<TcpListener>) {
        let unix = server::bind(&self.socket)
            .unwrap_or_else(|error| panic!("bind {}: {error}", self.socket.display()));
        let both = tcp.map(Listener::Tcp).into_iter().chain([unix]);
        self.shared.listen(both.collect());
    }

    /// Restarts without its networks, endpoints and pools; their links stay.
    pub fn restart_without_memory(&self) {
        self.shared.close();
        lock(&self.shared.state).forget();
        self.revive();
    }
}

fn bind_tcp(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).unwrap_or_else(|error| panic!("bind {address}: {error}"))
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.join();
        lock(&self.shared.state).remove_links();
        let _ = std::fs::remove_file(&self.socket);
    }
}
