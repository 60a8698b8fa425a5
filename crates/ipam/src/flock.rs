//! flock(2) with a deadline.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Locks a file for the caller alone. It stays locked until it is closed. `None` if it was not free
/// by the deadline.
///
/// # Errors
/// The file cannot be locked at all.
pub fn lock_by(file: File, deadline: Instant) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => wait_for(file, deadline),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// flock(2) has no deadline, so a thread waits in it. After the deadline nobody listens to that
/// thread any more: should it get the lock after all, it closes the file, which frees the lock;
/// should the process end before, the thread ends with it.
fn wait_for(file: File, deadline: Instant) -> io::Result<Option<File>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("lock".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            let locked = loop {
                match file.lock() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            // If nobody listens, the file is dropped here, and with it the lock.
            let _nobody = sender.send(locked.map(|()| file));
        })?;
    let remaining = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(remaining) {
        Ok(result) => result.map(Some),
        Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the waiter is gone")),
    }
}
