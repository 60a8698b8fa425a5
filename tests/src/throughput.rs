//! How fast one namespace sends to another: TCP, as containers do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cni_testkit::Netns;

/// For how long bytes are counted.
const PERIOD: Duration = Duration::from_secs(2);

/// Nothing here takes that long, unless nothing gets through.
const STALLED: Duration = Duration::from_secs(10);

/// How often a rate is measured before it counts as too low: a machine with other things to do can
/// only make it lower.
const TRIES: u32 = 3;

/// The bits per second that arrive at `address` of `to`, as a receiver sees them: without headers,
/// from when `skip` bytes have come, which are more than a burst and all that queues hold.
pub fn measure(from: &Netns, to: &Netns, address: &str, skip: usize) -> f64 {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| from.run(|| send(target)));
        let (stream, _) = listener.accept().unwrap();
        receive(stream, skip)
    })
}

/// Measures until it is within 15 % of `bits` per second, or has been too low too often.
#[track_caller]
pub fn assert_rate(bits: u32, mut measure: impl FnMut() -> f64) {
    let wanted = f64::from(bits);
    let mut seen = Vec::new();
    for _try in 0..TRIES {
        let rate = measure();
        eprintln!("{rate:.0} bits/s of {bits}, {:.1} %", 100.0 * rate / wanted);
        seen.push(rate);
        assert!(rate < wanted * 1.15, "{seen:.0?} bits/s instead of {bits}");
        if rate > wanted * 0.85 {
            return;
        }
    }
    panic!("{seen:.0?} bits/s instead of {bits}");
}

/// Sends until the receiver has had enough.
fn send(to: SocketAddr) {
    let mut stream = TcpStream::connect_timeout(&to, STALLED).unwrap();
    stream.set_write_timeout(Some(STALLED)).unwrap();
    let block = [0; 16 << 10];
    while stream.write_all(&block).is_ok() {}
}

fn receive(mut stream: TcpStream, skip: usize) -> f64 {
    stream.set_read_timeout(Some(STALLED)).unwrap();
    let mut block = vec![0; 64 << 10];
    let mut read = || match stream.read(&mut block) {
        Ok(0) => panic!("the sender has gone"),
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::Interrupted => 0,
        Err(error) => panic!("nothing arrives: {error}"),
    };
    let mut skipped = 0;
    while skipped < skip {
        skipped += read();
    }
    let start = Instant::now();
    let mut count = 0_u32;
    let mut last = Duration::ZERO;
    while last < PERIOD {
        count = count.saturating_add(u32::try_from(read()).unwrap());
        last = start.elapsed();
    }
    f64::from(count) * 8.0 / last.as_secs_f64()
}
