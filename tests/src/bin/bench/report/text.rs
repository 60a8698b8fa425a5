//! What docs/benchmarks.md says around its tables.

pub(super) const INTRODUCTION: &str = "\
`scripts/bench` takes these figures on your machine, `scripts/bench --write` writes this page. Read the
ratios: absolute times are those of one machine.
";

pub(super) const TARGETS: &str = "\
What was aimed at before any of it was built: ratios Tenon / reference, except where the line says otherwise.
";

pub(super) const BARS: &str = "\
![Time of Tenon as a share of the reference's, for each operation](benchmarks/ratios.svg)
";

pub(super) const LEASES: &str = "\
The first ADD after somebody else has changed the directory of leases has to look at all of them; `first ADD`
is that one. The reference does so every time.

![Time of ADD and DEL against the number of leases](benchmarks/leases.svg)
";

pub(super) const CROWDS: &str = "\
As many processes as said are started without waiting for each other. The time is that from the first start until the
last one has ended, divided by their number.
";

pub(super) const CROWD_PLOTS: &str = "\
![Time until all have ended, against their number](benchmarks/at-once.svg)

![The same with ipMasq](benchmarks/at-once-ipmasq.svg)
";

pub(super) const FLOORS: &str = "\
How far Tenon is from what no plugin can do without, whatever it is written in: the start of a process that does
nothing, and for ADD the kernel's own work (a link with both ends where they belong, an address, a default route, by two
sends) and the start of as many processes as Tenon's ADD has.
";

pub(super) const PARTS: &str = "What that consists of:\n";

pub(super) const LASTED: &str = "\
A plugin may answer before the kernel has let go of what was removed, and leave the wait for that to a process of its
own. The time until that one has ended as well, where there was one:
";

pub(super) const NOTHING_LASTED: &str =
    "No plugin left a process running that had not ended with it.\n";

pub(super) const DOCKER: &str = "\
A container joins a network and leaves it: by `docker network connect` and `disconnect`, asked for with one request to
the Engine's API or with Docker's own client, and by `cnm-shim` in dockerd's place. The remote driver is one program that
serves both, and says how long it took.
";

pub(super) const CONNECTIONS: &str = "\
How long a client of another machine waits for a TCP connection to the port that was published last,
with so many published. Each port is another container's.
";

pub(super) const WORK: &str = "\
What one operation takes: reference / Tenon, each with everything that it starts. The plugin itself and
the main thread of each process are counted, page faults are those that need no disk. Memory is the largest
resident size of any one process.
";

pub(super) const HOW: &str = "\
- A pair is one run of the reference and one of Tenon on the same work; who goes first changes with every
  pair. The ratio is the median of the ratios Tenon / reference within pairs, with its quartiles; the tables say
  how many pairs there are, fewer where a run takes long. p99 is the nearest rank: with 100 pairs or fewer the slowest run.
- A run lasts from before its process is made until the process has ended and its stdout was read to the
  end, as a runtime waits for it. All runs happened in one sitting, with warm caches: some runs of each case come first and
  are not counted.
- Both suites' programs are copied to the same disk in the same way before anything is measured. A file that a
  linker or a package manager has just written has its pages in smaller pieces and starts some 50 µs later, whoever's it is.
- What a run leaves running is waited for before the next one starts, whichever side that is, so nobody shares the machine
  with the other's rest. Where rules of the packet filter change, 100 ms pass before each run of either side, in which
  the kernel finishes what it does about the other's.
- Each side has a network namespace as its host, a bridge, and a directory of leases on a disk, of its own.
  The containers' namespaces are made beforehand. One more container is attached all the time.
- All containers are added first and then deleted; DEL gets the result of ADD as `prevResult`. After each
  half, the numbers of links and leases must be right, so that no plugin wins by doing nothing.
- With many at once, all of them and their DELs are one run, and the numbers are checked after each half of every run.
- host-local's leases are there before, as files like its own. ADD and DEL take turns, and after each the file of the
  lease must be there or gone. The directory is changed by making and removing a file that is no lease.
- The bridge is a gateway (`isGateway`), and has addresses of 10.88.0.0/16 and, with IPv6, of fd88::/64.
- `ipMasq` of the reference runs iptables, Tenon's is an nf_tables transaction. Foreign rules are in an nf_tables table
  of their own, in a chain that forwarded packets go through.
- The yardstick of a start is the fastest of the empty programs that can be built here, whatever its language and its C
  library: static, with an empty `main`. They get the same pipes as a plugin.
- The floor of ADD is the time of the kernel's work, sockets included, in a process that runs already, and the time of that
  empty program for each process of Tenon's ADD.
- Docker's state and that of `cnm-shim` are on the same disk. dockerd runs with `--iptables=false`, so neither bridge
  masquerades. The container that joins is the same all the time, one more is on each network.
- podman's chain is its default network, `bridge`, `portmap`, `firewall` and `tuning` with version 0.4.0,
  for containers that publish a TCP port. Its time is that of its plugins, one after the other.
- The last port's ADD and DEL are done again and again. Those before it are published by the plugin; the reference's by
  `iptables-restore`, with the rules that the plugin has made for the first one, made over for each.
- Client, host and container are namespaces. A run is 100 connections, one after the other, whose mean it
  is; each is a new one to the packet filter.
- System calls, page faults, processes, threads and memory are counted in one more run under ptrace(2), not a timed one.
";
