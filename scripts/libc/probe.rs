//! Whether a program of the standard library runs on the C library that it is linked with here: memory,
//! files, threads, processes, panics. `scripts/build` asks before it builds.

use std::process::{Command, exit};
use std::{fs, panic, thread};

fn main() {
    panic::set_hook(Box::new(|_| {}));
    let unwound = panic::catch_unwind(|| {
        let _dropped = vec![1];
        panic!()
    });
    let file = fs::metadata("/proc/self/exe").map(|file| file.len());
    let from_thread = thread::spawn(|| fs::read_dir("/").map(Iterator::count)).join();
    let child = Command::new("/bin/true").status();
    let refused = Command::new("/nonexistent").status();
    let words = std::io::Error::from_raw_os_error(95).to_string();
    let works = unwound.is_err()
        && file.is_ok_and(|length| length > 0)
        && from_thread.is_ok_and(|entries| entries.is_ok_and(|count| count > 0))
        && child.is_ok_and(|status| status.success())
        && refused.is_err()
        && words.starts_with("Operation not supported");
    exit(i32::from(!works));
}
