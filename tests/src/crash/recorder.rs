//! Writes down what a plugin changes on a disk, by its system calls.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cni_testkit::Runner;
use nix::libc::{self, c_long};
use nix::unistd::Pid;

use super::disk::{Change, FileId, Tree};
use super::tracer::{self, Traced};

/// The changes below some directories.
#[derive(Debug)]
pub(super) struct Recorder {
    roots: Vec<PathBuf>,
    /// As it was before.
    pub(super) before: Tree,
    pub(super) changes: Vec<Change>,
    now: Tree,
    /// The permissions of directories.
    pub(super) modes: BTreeMap<PathBuf, u32>,
    /// Files without a name, by what `/proc` calls them.
    unnamed: BTreeMap<PathBuf, FileId>,
    next: FileId,
    begun: BTreeMap<Pid, Call>,
}

/// A system call, with what of its arguments is gone when it ends.
#[derive(Debug)]
struct Call {
    nr: c_long,
    args: [u64; 6],
    paths: [PathBuf; 2],
    bytes: Vec<u8>,
    position: usize,
}

impl Recorder {
    /// Of these directories as they are now, and of those above them.
    pub(super) fn new(roots: &[&str]) -> Self {
        let mut recorder = Self {
            roots: roots.iter().map(PathBuf::from).collect(),
            before: Tree::default(),
            changes: Vec::new(),
            now: Tree::default(),
            modes: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            next: 0,
            begun: BTreeMap::new(),
        };
        for root in recorder.roots.clone() {
            for above in root.ancestors().skip(1) {
                recorder.before.names.insert(above.to_owned(), None);
            }
            recorder.load(&root);
        }
        recorder.now = recorder.before.clone();
        recorder
    }

    fn load(&mut self, path: &Path) {
        if path.is_dir() {
            self.before.names.insert(path.to_owned(), None);
            self.note_mode(path);
            for entry in fs::read_dir(path).unwrap() {
                self.load(&entry.unwrap().path());
            }
        } else if let Ok(content) = fs::read(path) {
            let file = self.new_file();
            self.before.names.insert(path.to_owned(), Some(file));
            self.before.contents.insert(file, content);
        }
    }

    /// Runs a plugin to its end.
    pub(super) fn run(&mut self, call: &Runner) -> Traced {
        tracer::watch(call, &mut |pid, info| match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                if let Some(begun) = Call::read(pid, info) {
                    self.begun.insert(pid, begun);
                }
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                if let Some(call) = self.begun.remove(&pid)
                    && let Some(result) = result(info)
                {
                    self.note(pid, &call, result);
                }
            }
            _ => {}
        })
    }

    fn note_mode(&mut self, dir: &Path) {
        let mode = dir.metadata().unwrap().permissions().mode();
        self.modes.insert(dir.to_owned(), mode & 0o7777);
    }

    fn new_file(&mut self) -> FileId {
        self.next += 1;
        self.next
    }

    fn is_ours(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    fn change(&mut self, change: Change) {
        self.now.make(&change);
        self.changes.push(change);
    }

    /// What a successful call did.
    fn note(&mut self, pid: Pid, call: &Call, result: i64) {
        let [first, second] = &call.paths;
        if ![first, second].iter().any(|path| self.is_ours(path)) {
            return;
        }
        match call.nr {
            libc::SYS_open | libc::SYS_openat => self.note_open(pid, call, result),
            libc::SYS_mkdir | libc::SYS_mkdirat => {
                self.note_mode(first);
                self.change(Change::MakeDir(first.clone()));
            }
            libc::SYS_unlink | libc::SYS_rmdir | libc::SYS_unlinkat => {
                self.change(Change::Remove(first.clone()));
            }
            libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => {
                self.change(Change::Rename(first.clone(), second.clone()));
            }
            libc::SYS_link | libc::SYS_linkat => {
                let file = self.file_at(first).unwrap();
                self.change(Change::Name(second.clone(), file));
            }
            libc::SYS_write | libc::SYS_pwrite64 => {
                let file = self.file_at(first).unwrap();
                let bytes = call.bytes[..usize::try_from(result).unwrap()].to_vec();
                self.change(Change::Write(file, call.position, bytes));
            }
            libc::SYS_fsync | libc::SYS_fdatasync => match self.file_at(first) {
                Some(file) => self.change(Change::SyncFile(file)),
                None => self.change(Change::SyncDir(first.clone())),
            },
            _ => {}
        }
    }

    fn note_open(&mut self, pid: Pid, call: &Call, fd: i64) {
        let flags = call.args[usize::from(call.nr == libc::SYS_openat) + 1];
        let has =
            |flag: i32| flags & u64::from(flag.cast_unsigned()) == u64::from(flag.cast_unsigned());
        let path = path_of_fd(pid, u64::try_from(fd).unwrap());
        if has(libc::O_TMPFILE) {
            let file = self.new_file();
            self.unnamed.insert(path, file);
        } else if has(libc::O_CREAT) && !self.now.names.contains_key(&path) {
            let file = self.new_file();
            self.change(Change::Name(path, file));
        } else if has(libc::O_TRUNC) {
            let file = self.file_at(&path).unwrap();
            self.change(Change::Truncate(file));
        }
    }

    fn file_at(&self, path: &Path) -> Option<FileId> {
        let named = self.now.names.get(path).copied().flatten();
        named.or_else(|| self.unnamed.get(path).copied())
    }
}

impl Call {
    /// Those that change files, or sync them.
    fn read(pid: Pid, info: &libc::ptrace_syscall_info) -> Option<Self> {
        let nr = c_long::try_from(tracer::nr(info)).ok()?;
        let args = tracer::args(info);
        let text = |at: usize| text_at(pid, args[at]);
        let below = |fd: usize, path: usize| path_below(pid, args[fd], &text(path));
        let absolute = |path: usize| path_below(pid, AT_CWD, &text(path));
        let none = PathBuf::new;
        let paths = match nr {
            libc::SYS_open | libc::SYS_mkdir | libc::SYS_unlink | libc::SYS_rmdir => {
                [absolute(0), none()]
            }
            libc::SYS_openat | libc::SYS_mkdirat | libc::SYS_unlinkat => [below(0, 1), none()],
            libc::SYS_rename | libc::SYS_link => [absolute(0), absolute(1)],
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => {
                [follow(pid, below(0, 1)), below(2, 3)]
            }
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_fsync | libc::SYS_fdatasync => {
                [path_of_fd(pid, args[0]), none()]
            }
            _ => return None,
        };
        let writes = [libc::SYS_write, libc::SYS_pwrite64].contains(&nr);
        Some(Self {
            nr,
            args,
            paths,
            bytes: if writes {
                bytes_at(pid, args[1], args[2])
            } else {
                Vec::new()
            },
            position: match nr {
                libc::SYS_write => position(pid, args[0]),
                libc::SYS_pwrite64 => usize::try_from(args[3]).unwrap(),
                _ => 0,
            },
        })
    }
}

/// As a system call gets it: an int.
const AT_CWD: u64 = libc::AT_FDCWD.cast_unsigned() as u64;

fn result(info: &libc::ptrace_syscall_info) -> Option<i64> {
    // SAFETY: the union's member is the exit's when `op` says so, which the caller has looked at.
    #[expect(unsafe_code, reason = "the kernel's answer is a union")]
    let exit = unsafe { info.u.exit };
    (exit.is_error == 0).then_some(exit.sval)
}

fn path_below(pid: Pid, fd: u64, path: &Path) -> PathBuf {
    let dir = match fd & u64::from(u32::MAX) {
        AT_CWD => fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
        fd => path_of_fd(pid, fd),
    };
    // The components make `.` disappear.
    dir.join(path).components().collect()
}

/// The file that an open descriptor's magic link leads to.
fn follow(pid: Pid, path: PathBuf) -> PathBuf {
    match path.strip_prefix("/proc/self/fd") {
        Ok(fd) => path_of_fd(pid, fd.to_str().unwrap().parse().unwrap()),
        Err(_) => path,
    }
}

fn path_of_fd(pid: Pid, fd: u64) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default()
}

fn position(pid: Pid, fd: u64) -> usize {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let position = info.lines().find_map(|line| line.strip_prefix("pos:"));
    position.map_or(0, |text| text.trim().parse().unwrap())
}

fn bytes_at(pid: Pid, address: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    memory.read_exact_at(&mut bytes, address).unwrap();
    bytes
}

fn text_at(pid: Pid, address: u64) -> PathBuf {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut bytes = vec![0; libc::PATH_MAX as usize];
    // It may be shorter than that to the end of what is mapped.
    let length = memory.read_at(&mut bytes, address).unwrap_or(0);
    let text = bytes[..length].split(|byte| *byte == 0).next().unwrap();
    PathBuf::from(String::from_utf8(text.to_vec()).unwrap())
}
