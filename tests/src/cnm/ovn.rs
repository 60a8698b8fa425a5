//! Debian's CNM driver for OVN, private to a test: Open vSwitch with its userspace datapath, OVN's
//! databases and daemons, and the driver as it is packaged, all in the test's host namespace, with
//! their files in the test's private `/run` and `/etc`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use cni_testkit::{World, require, wait_for};
use serde_json::Value;

use crate::cnm::controller::Controller;
use crate::cnm::driver::Method;
use crate::http::Client;
use crate::jail::Jail;

/// The driver's name: it announces itself in `/etc/docker/plugins/openvswitch.spec`.
pub const NAME: &str = "openvswitch";

/// Where the driver listens.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 5000);

/// The socket of the database server, the default one of Open vSwitch's tools. One server holds all
/// three databases.
const DATABASE: &str = "unix:/run/openvswitch/db.sock";

const SCHEMAS: &[(&str, &str)] = &[
    ("conf.db", "/usr/share/openvswitch/vswitch.ovsschema"),
    ("nb.db", "/usr/share/ovn/ovn-nb.ovsschema"),
    ("sb.db", "/usr/share/ovn/ovn-sb.ovsschema"),
];

/// A running driver with all that it needs.
#[derive(Debug)]
pub struct Ovn {
    jail: Option<Jail>,
    children: Vec<Child>,
    logs: Logs,
}

/// Shows the logs when a test ends in a panic.
#[derive(Debug)]
struct Logs(PathBuf);

impl Ovn {
    /// Starts everything.
    pub fn start(world: &World) -> Self {
        for tool in [
            "ovsdb-server",
            "ovsdb-tool",
            "ovs-vswitchd",
            "ovs-vsctl",
            "ovn-northd",
            "ovn-controller",
            "ovn-nbctl",
            "ovn-docker-overlay-driver",
        ] {
            require(tool);
        }
        let dir = world.dir().join("ovn");
        for made in [&dir, Path::new("/run/openvswitch"), Path::new("/run/ovn")] {
            fs::create_dir_all(made).unwrap();
        }
        world.shadow("/etc");
        let mut ovn = Self {
            jail: Some(Jail::new()),
            children: Vec::new(),
            logs: Logs(dir.clone()),
        };
        ovn.start_databases(&dir);
        ovn.start_daemons();
        ovn.start_driver();
        ovn
    }

    /// A client of the driver.
    pub fn client(&self) -> Client {
        Client::tcp(SocketAddr::from(ADDRESS))
    }

    /// The logical switches, one for each network.
    pub fn switches(&self) -> Vec<String> {
        self.names("Logical_Switch")
    }

    /// The logical ports, one for each endpoint.
    pub fn ports(&self) -> Vec<String> {
        self.names("Logical_Switch_Port")
    }

    /// Panics when there is a switch, a port, or a link in the bridge.
    #[track_caller]
    pub fn assert_empty(&self) {
        self.assert_forgotten();
        // On a busy machine Open vSwitch lags behind what the driver has told it.
        wait_for("no link in br-int", Duration::from_secs(10), || {
            self.run("ovs-vsctl", &["list-ports", "br-int"]).is_empty()
        });
    }

    /// Panics when there is a switch or a port. Links in the bridge stay with the driver where a namespace
    /// has taken them along: it leaves off when it cannot delete a link that is gone.
    #[track_caller]
    pub fn assert_forgotten(&self) {
        assert_eq!(self.ports(), Vec::<String>::new());
        assert_eq!(self.switches(), Vec::<String>::new());
    }

    fn names(&self, table: &str) -> Vec<String> {
        let database = format!("--db={DATABASE}");
        let names = ["--bare", "--columns=name", "find", table];
        let text = self.run("ovn-nbctl", &[&[database.as_str()], &names[..]].concat());
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn start_databases(&mut self, dir: &Path) {
        let mut arguments = vec!["--remote=punix:/run/openvswitch/db.sock".to_owned()];
        for (name, schema) in SCHEMAS {
            let file = dir.join(name).display().to_string();
            self.run("ovsdb-tool", &["create", &file, schema]);
            arguments.push(file);
        }
        self.spawn("ovsdb-server", &arguments);
        wait_for("the databases", Duration::from_secs(10), || {
            Path::new("/run/openvswitch/db.sock").exists()
        });
        let ids = [
            "external_ids:system-id=host",
            "external_ids:ovn-encap-type=geneve",
            "external_ids:ovn-encap-ip=127.0.0.1",
            "external_ids:ovn-bridge-datapath-type=netdev",
        ];
        let servers = ["ovn-remote", "ovn-nb"].map(|key| format!("external_ids:{key}={DATABASE}"));
        let mut set = vec!["--no-wait", "init", "--", "set", "Open_vSwitch", "."];
        set.extend(ids);
        set.extend(servers.iter().map(String::as_str));
        self.run("ovs-vsctl", &set);
    }

    fn start_daemons(&mut self) {
        self.spawn("ovs-vswitchd", &[DATABASE.to_owned()]);
        let [nb, sb] = ["nb", "sb"].map(|db| format!("--ovn{db}-db={DATABASE}"));
        self.spawn("ovn-northd", &[nb, sb]);
        // The driver takes over a bridge that is there; its own would want the kernel's datapath.
        let bridge = "--timeout=20 add-br br-int -- set bridge br-int datapath_type=netdev \
            external_ids:bridge-id=br-int other-config:disable-in-band=true fail-mode=secure";
        self.run("ovs-vsctl", &bridge.split(' ').collect::<Vec<_>>());
        self.spawn("ovn-controller", &[DATABASE.to_owned()]);
    }

    fn start_driver(&mut self) {
        let wrapper = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/ovn_driver.py");
        self.spawn("/usr/bin/python3", &[wrapper.display().to_string()]);
        let controller = Controller::new(self.client());
        wait_for("the driver", Duration::from_secs(20), || {
            let answer = controller.try_call(Method::Activate, &Value::Null);
            answer.is_ok_and(|answer| answer.status == 200)
        });
    }

    fn spawn(&mut self, program: &str, arguments: &[String]) {
        let name = program.rsplit('/').next().unwrap_or(program);
        let log = File::create(self.logs.0.join(format!("{name}.log"))).unwrap();
        let child = self
            .jail()
            .command(program)
            .args(arguments)
            // Python that is not Debian's own, and its settings, stay out of this.
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.jail().command(program).args(arguments).output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn jail(&self) -> &Jail {
        self.jail.as_ref().unwrap()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                eprintln!("{}:\n{text}", path.display());
            }
        }
    }
}

impl Drop for Ovn {
    fn drop(&mut self) {
        // The jail ends it all; this only collects our own children.
        drop(self.jail.take());
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}
