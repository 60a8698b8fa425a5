//! The floor: what an ADD takes that does nothing but what the kernel has to be asked for, and what
//! programs take that do nothing at all.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cni_testkit::{Netns, World};
use tenon_tests::floor::{Attachment, attach};

use crate::attach::{SPARE, UNTIMED, attached};
use crate::case::{BRIDGE, Case};
use crate::pairs::{OURS, Pairs};
use crate::run::{Call, Took};
use crate::sitting::{Figures, Sitting, WARM_UP};

/// The bridge's address, and every container's gateway.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const PREFIX: u8 = 16;
/// Containers' addresses are counted from here.
const CONTAINERS: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 0);
/// So are the indices of links on the host, where nobody else's are.
const LINKS: u32 = 2_000_000;

/// The programs to compare with.
#[derive(Debug)]
pub(crate) struct Programs {
    floor: PathBuf,
    /// The yardstick: an empty `main` in the language of the plugins, built as they are.
    empty: PathBuf,
    /// For comparison, where there is a C compiler.
    empty_c: Option<PathBuf>,
}

/// Something that the floor consists of.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) title: &'static str,
    /// Milliseconds.
    pub(crate) times: Vec<f64>,
}

impl Programs {
    /// Copies what was built beside this program into `directory`, where the plugins' copies are.
    pub(crate) fn prepare(directory: &Path) -> Result<Self> {
        let built = std::env::current_exe().context("find this program")?;
        let copy = |name: &str| {
            let copy = directory.join(name);
            fs::copy(built.with_file_name(name), &copy).with_context(|| format!("copy {name}"))?;
            Ok::<_, anyhow::Error>(copy)
        };
        Ok(Self {
            floor: copy("bench-floor")?,
            empty: copy("bench-empty")?,
            empty_c: compile_empty(directory),
        })
    }

    /// The program that does nothing.
    pub(crate) fn empty(&self) -> Call {
        Call::of_program(&self.empty)
    }
}

/// None without a compiler, or without a C library to link statically.
fn compile_empty(directory: &Path) -> Option<PathBuf> {
    let (linked, copy) = (directory.join("linked"), directory.join("empty-c"));
    let mut cc = Command::new("cc")
        .args(["-x", "c", "-", "-O2", "-static", "-s", "-o"])
        .arg(&linked)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let source = b"int main(void) { return 0; }\n";
    cc.stdin.take()?.write_all(source).ok()?;
    let compiled = cc.wait().ok()?.success();
    // A copy like the others: a linker's output has its pages in smaller pieces.
    (compiled && fs::copy(&linked, &copy).is_ok()).then_some(copy)
}

/// ADD of bridge with host-local, against the kernel's work and the start of as many processes.
pub(crate) fn take(sitting: &Sitting<'_>, case: &Case) -> Result<Figures> {
    let Some(programs) = sitting.programs else {
        return Ok(Figures::default());
    };
    let pairs = sitting.pairs(case, "ADD, and the kernel's own work");
    let host = Host::new(sitting.world, 2 * (pairs + WARM_UP))?;
    let mut ours = attached(sitting, sitting.suites[OURS], &BRIDGE, pairs)?;
    let [added, _] = ours.trace(SPARE)?;
    let mut parts = Parts {
        // One of them does the kernel's work.
        idle: added.processes.saturating_sub(1),
        ..Parts::default()
    };
    for run in 0..WARM_UP {
        Parts::default().run(programs, &host, pairs + run)?;
    }
    let added = Pairs::take(pairs, |side, pair| {
        if side == OURS {
            ours.add(UNTIMED + pair)
        } else {
            parts.run(programs, &host, pair).map(Took::just)
        }
    })?;
    ours.expect_attached(1 + pairs)?;
    host.expect_attached()?;
    Ok(Figures {
        floors: vec![added.row(case.operation("ADD"), None)],
        parts: parts.named(),
        ..Figures::default()
    })
}

/// How long each part took, run by run.
#[derive(Debug, Default)]
struct Parts {
    /// How many processes of an ADD have nothing to do with the kernel's work.
    idle: u32,
    kernel: Vec<Duration>,
    process: Vec<Duration>,
    empty: Vec<Duration>,
    empty_c: Vec<Duration>,
}

impl Parts {
    /// One run of each; returns the floor of an ADD with as many processes as ours has.
    fn run(&mut self, programs: &Programs, host: &Host, run: usize) -> Result<Duration> {
        let (process, _) = host.netns.run(|| host.call(programs, 2 * run)?.timed())?;
        let (empty, _) = programs.empty().timed()?;
        if let Some(program) = &programs.empty_c {
            let (took, _) = Call::of_program(program).timed()?;
            self.empty_c.push(took.answer);
        }
        self.kernel.push(host.attach(2 * run + 1)?);
        self.process.push(process.answer);
        self.empty.push(empty.answer);
        Ok(process.answer + empty.answer * self.idle)
    }

    fn named(self) -> Vec<Part> {
        let parts = [
            (
                "a container's link, address and route, in a process that runs already",
                self.kernel,
            ),
            ("the same as a process of its own", self.process),
            ("an empty program in Rust", self.empty),
            ("an empty program in C", self.empty_c),
        ];
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        parts
            .into_iter()
            .filter(|(_, times)| !times.is_empty())
            .map(|(title, times)| Part {
                title,
                times: times.into_iter().map(milliseconds).collect(),
            })
            .collect()
    }
}

/// A host with a bridge, and containers without a link.
#[derive(Debug)]
struct Host {
    netns: Netns,
    bridge: u32,
    containers: Vec<Netns>,
}

impl Host {
    fn new(world: &World, count: usize) -> Result<Self> {
        let netns = world.container("floor-host");
        netns.ip("link add cni-bench0 type bridge");
        netns.ip(&format!("addr add {GATEWAY}/{PREFIX} dev cni-bench0"));
        netns.ip("link set cni-bench0 up");
        let link = netns.link("cni-bench0").context("find the bridge")?;
        let index = link.get("ifindex").and_then(serde_json::Value::as_u64);
        Ok(Self {
            bridge: u32::try_from(index.context("no index")?)?,
            containers: (0..count)
                .map(|index| world.container(&format!("floor-{index}")))
                .collect(),
            netns,
        })
    }

    fn wanted(&self, index: usize) -> Result<Attachment<'_>> {
        let container = self.containers.get(index).context("no such container")?;
        let number = u32::try_from(index).context("too many containers")?;
        Ok(Attachment {
            netns: container.path(),
            bridge: self.bridge,
            index: LINKS + number,
            address: Ipv4Addr::from(u32::from(CONTAINERS) + number),
            prefix: PREFIX,
            gateway: GATEWAY,
        })
    }

    /// By a process.
    fn call(&self, programs: &Programs, index: usize) -> Result<Call> {
        let wanted = self.wanted(index)?;
        let call = Call::of_program(&programs.floor)
            .argument(wanted.netns)
            .argument(wanted.bridge.to_string())
            .argument(wanted.index.to_string())
            .argument(wanted.address.to_string())
            .argument(wanted.prefix.to_string());
        Ok(call.argument(wanted.gateway.to_string()))
    }

    /// By this process: how long the work took.
    fn attach(&self, index: usize) -> Result<Duration> {
        let wanted = self.wanted(index)?;
        let timed = || {
            let start = Instant::now();
            attach(&wanted).map(|()| start.elapsed())
        };
        self.netns
            .run(timed)
            .context("attach a container by the fewest messages")
    }

    /// Makes sure that all have a link.
    fn expect_attached(&self) -> Result<()> {
        let links = self.netns.link_names();
        let ends = links.iter().filter(|link| link.starts_with("veth")).count();
        let wanted = self.containers.len();
        ensure!(
            ends == wanted,
            "the floor has {ends} veth pairs, not {wanted}"
        );
        Ok(())
    }
}
