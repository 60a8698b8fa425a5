//! firewalld, private to a test: Debian's daemon on a bus of its own, in the test's host namespace.
//! Both run in a process namespace that ends with the test, with `/etc/firewalld` and `/var/log` in
//! memory.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use cni_testkit::{CommandOutput, World, require, wait_for};

use crate::jail::Jail;

/// The bus's socket: the system's, in the test's private `/run`.
pub const SOCKET: &str = "/run/dbus/system_bus_socket";

/// Everybody may say everything: there is nobody but the test.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// A bus, without firewalld at first.
#[derive(Debug)]
pub struct Bus<'world> {
    world: &'world World,
    children: Vec<Child>,
    jail: Option<Jail>,
    log: PathBuf,
}

impl<'world> Bus<'world> {
    /// Starts a bus.
    pub fn start(world: &'world World) -> Self {
        require("dbus-daemon");
        for private in ["/etc", "/var/log"] {
            world.shadow(private);
        }
        fs::create_dir_all("/run/dbus").unwrap();
        let config = world.file("bus.conf", BUS);
        let mut bus = Self {
            world,
            children: Vec::new(),
            jail: Some(Jail::new()),
            log: world.dir().join("firewalld.log"),
        };
        let config = format!("--config-file={}", config.display());
        bus.spawn("dbus-daemon", &[&config, "--nofork", "--nopidfile"]);
        wait_for("the bus", Duration::from_secs(10), || {
            fs::exists(SOCKET).unwrap()
        });
        bus
    }

    /// Starts a bus, and firewalld on it, as Debian configures it.
    pub fn with_firewalld(world: &'world World) -> Self {
        let mut bus = Self::start(world);
        bus.start_firewalld();
        bus
    }

    /// Starts firewalld and waits until it says that it runs.
    pub fn start_firewalld(&mut self) {
        require("firewalld");
        self.spawn("firewalld", &["--nofork", "--nopid"]);
        wait_for("firewalld", Duration::from_secs(30), || {
            self.try_firewall_cmd(&["--state"]).code == 0
        });
    }

    /// Lets firewalld make the chains of a zone, which it keeps from the zone's first use on.
    pub fn use_zone(&self, zone: &str) {
        let zone = format!("--zone={zone}");
        for what in ["--add-source=198.51.100.1", "--remove-source=198.51.100.1"] {
            self.firewall_cmd(&[&zone, what]);
        }
    }

    /// What `firewall-cmd` says, which has to succeed.
    pub fn firewall_cmd(&self, args: &[&str]) -> String {
        let output = self.try_firewall_cmd(args);
        assert_eq!(output.code, 0, "firewall-cmd {args:?}: {}", output.stderr);
        output.stdout.trim().to_owned()
    }

    /// What `firewall-cmd` says, whatever comes of it.
    pub fn try_firewall_cmd(&self, args: &[&str]) -> CommandOutput {
        require("firewall-cmd");
        self.world.host().try_command("firewall-cmd", args)
    }

    fn spawn(&mut self, program: &str, args: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let jail = self.jail.as_ref().unwrap();
        let child = jail
            .command(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.push(child);
    }
}

impl Drop for Bus<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("what the bus and firewalld said:\n{log}");
        }
        // The jail ends them; this only collects our own children.
        drop(self.jail.take());
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}
