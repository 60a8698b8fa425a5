//! The floor: what an ADD takes that does nothing but what the kernel has to be asked for, and what
//! programs take that do nothing at all.

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
use crate::placed::place;
use crate::run::{Call, Took};
use crate::sitting::{Figures, Sitting, WARM_UP};

/// The bridge's address, and every container's gateway.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const PREFIX: u8 = 16;
/// Containers' addresses are counted from here.
const CONTAINERS: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 0);
/// So are the indices of links on the host, where nobody else's are.
const LINKS: u32 = 2_000_000;

/// How many starts of each empty program tell which one is the fastest.
const TRIALS: usize = 40;

/// The programs to compare with.
#[derive(Debug)]
pub(crate) struct Programs {
    floor: PathBuf,
    /// In various languages; the fastest one, which is the yardstick, comes first.
    empty: Vec<Empty>,
}

/// A program that does nothing.
#[derive(Debug)]
struct Empty {
    title: &'static str,
    program: PathBuf,
}

/// Something that the floor consists of.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) title: &'static str,
    /// Milliseconds.
    pub(crate) times: Vec<f64>,
}

impl Programs {
    /// Copies what was built beside this program into `directory`, where the plugins' copies are, and
    /// compiles what there are compilers for.
    pub(crate) fn prepare(directory: &Path) -> Result<Self> {
        let built = std::env::current_exe().context("find this program")?;
        let copy = |name: &str| {
            let copy = directory.join(name);
            place(&built.with_file_name(name), &copy)?;
            Ok::<_, anyhow::Error>(copy)
        };
        let in_c = [
            ("cc", "an empty program in C"),
            ("musl-gcc", "an empty program in C, with musl"),
        ];
        let mut empty = vec![Empty {
            title: "an empty program in Rust",
            program: copy("bench-empty")?,
        }];
        empty.extend(in_c.into_iter().filter_map(|(compiler, title)| {
            let program = compile_empty(compiler, directory)?;
            Some(Empty { title, program })
        }));
        Ok(Self {
            floor: copy("bench-floor")?,
            empty: fastest_first(empty)?,
        })
    }

    /// The program that does nothing and starts fastest.
    pub(crate) fn empty(&self) -> Result<Call> {
        let fastest = self.empty.first().context("no empty program")?;
        Ok(Call::of_program(&fastest.program))
    }
}

/// None without that compiler, or without a C library to link statically.
fn compile_empty(compiler: &str, directory: &Path) -> Option<PathBuf> {
    let linked = directory.join("linked");
    let copy = directory.join(format!("empty-by-{compiler}"));
    let mut running = Command::new(compiler)
        .args(["-x", "c", "-", "-O2", "-static", "-s", "-o"])
        .arg(&linked)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let source = b"int main(void) { return 0; }\n";
    running.stdin.take()?.write_all(source).ok()?;
    let succeeded = running.wait().ok()?.success();
    // A copy like the others: a linker's output has its pages in smaller pieces.
    (succeeded && place(&linked, &copy).is_ok()).then_some(copy)
}

/// By turns, so that all meet the same machine.
fn fastest_first(programs: Vec<Empty>) -> Result<Vec<Empty>> {
    let mut tried: Vec<(Empty, Vec<Duration>)> = programs
        .into_iter()
        .map(|program| (program, Vec::new()))
        .collect();
    for _trial in 0..TRIALS {
        for (empty, times) in &mut tried {
            let (took, _) = Call::of_program(&empty.program).timed()?;
            times.push(took.answer);
        }
    }
    for (_, times) in &mut tried {
        times.sort();
    }
    tried.sort_by_key(|(_, times)| times.get(TRIALS / 2).copied());
    Ok(tried.into_iter().map(|(empty, _)| empty).collect())
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
    for run in 0..WARM_UP {
        Parts::new(programs).run(&host, pairs + run)?;
    }
    let mut parts = Parts::new(programs);
    let added = Pairs::take(pairs, |side, pair| {
        if side == OURS {
            return ours.add(UNTIMED + pair);
        }
        let (kernel, start) = parts.run(&host, pair)?;
        Ok(Took::just(kernel + start * added.processes))
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
#[derive(Debug)]
struct Parts<'a> {
    programs: &'a Programs,
    kernel: Vec<Duration>,
    process: Vec<Duration>,
    /// Of each empty program.
    empty: Vec<Vec<Duration>>,
}

impl<'a> Parts<'a> {
    fn new(programs: &'a Programs) -> Self {
        Self {
            programs,
            kernel: Vec::new(),
            process: Vec::new(),
            empty: vec![Vec::new(); programs.empty.len()],
        }
    }

    /// One run of each; how long the kernel's work took, and the start of a process.
    fn run(&mut self, host: &Host, run: usize) -> Result<(Duration, Duration)> {
        let kernel = host.attach(2 * run + 1)?;
        self.kernel.push(kernel);
        let (start, _) = self.programs.empty()?.timed()?;
        for (empty, times) in self.programs.empty.iter().zip(&mut self.empty) {
            let (took, _) = Call::of_program(&empty.program).timed()?;
            times.push(took.answer);
        }
        let process = host.call(self.programs, 2 * run)?;
        let (took, _) = host.netns.run(|| process.timed())?;
        self.process.push(took.answer);
        Ok((kernel, start.answer))
    }

    fn named(self) -> Vec<Part> {
        let kernel = "a container's link, address and route, in a process that runs already";
        let work = [
            (kernel, self.kernel),
            ("the same as a process of its own, in Rust", self.process),
        ];
        let titles = self.programs.empty.iter().map(|empty| empty.title);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        work.into_iter()
            .chain(titles.zip(self.empty))
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
