//! What a disk may hold after a power loss: of the changes that were made, those that were synced, and any of
//! the others. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file, whatever its names are.
pub(super) type FileId = u64;

/// What can be seen of a tree: names with contents, `None` being directories.
pub(super) type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Names and contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tree {
    /// `None` is a directory.
    pub(super) names: BTreeMap<PathBuf, Option<FileId>>,
    pub(super) contents: BTreeMap<FileId, Vec<u8>>,
}

/// One of the changes that a plugin makes, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    MakeDir(PathBuf),
    /// A file, or an empty directory.
    Remove(PathBuf),
    /// Another name for a file, or its first.
    Name(PathBuf, FileId),
    Rename(PathBuf, PathBuf),
    Write(FileId, usize, Vec<u8>),
    Truncate(FileId),
    /// Its content is on the disk from here on.
    SyncFile(FileId),
    /// The names in it are.
    SyncDir(PathBuf),
}

impl Change {
    fn is_kept_by(&self, sync: &Self) -> bool {
        let is_in = |path: &Path, dir: &Path| path.parent() == Some(dir);
        match (self, sync) {
            (Self::Write(file, ..) | Self::Truncate(file), Self::SyncFile(synced)) => {
                file == synced
            }
            (
                Self::MakeDir(path) | Self::Remove(path) | Self::Name(path, _),
                Self::SyncDir(dir),
            ) => is_in(path, dir),
            (Self::Rename(_, to), Self::SyncDir(dir)) => is_in(to, dir),
            _ => false,
        }
    }

    fn is_of_name(&self) -> bool {
        !self.is_sync() && !matches!(self, Self::Write(..) | Self::Truncate(_))
    }

    fn is_sync(&self) -> bool {
        matches!(self, Self::SyncFile(_) | Self::SyncDir(_))
    }
}

impl Tree {
    /// Makes a change, unless what it is to be made to is not there: an earlier one was lost.
    pub(super) fn make(&mut self, change: &Change) {
        match change {
            Change::MakeDir(path) if self.has_parent(path) => {
                self.names.entry(path.clone()).or_insert(None);
            }
            Change::Name(path, file) if self.has_parent(path) => {
                self.names.insert(path.clone(), Some(*file));
                self.contents.entry(*file).or_default();
            }
            Change::Remove(path) if self.is_empty(path) => {
                self.names.remove(path);
            }
            Change::Rename(from, to) if self.has_parent(to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Change::Write(file, at, bytes) => {
                let content = self.contents.entry(*file).or_default();
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Truncate(file) => self.contents.entry(*file).or_default().clear(),
            _ => {}
        }
    }

    fn is_empty(&self, path: &Path) -> bool {
        !self.names.keys().any(|name| name.parent() == Some(path))
    }

    fn has_parent(&self, path: &Path) -> bool {
        path.parent()
            .is_some_and(|parent| self.names.get(parent) == Some(&None))
    }

    /// All of it.
    pub(super) fn seen(&self) -> Files {
        let content = |file: &FileId| self.contents.get(file).cloned().unwrap_or_default();
        let names = self.names.iter();
        names
            .map(|(path, file)| (path.clone(), file.as_ref().map(content)))
            .collect()
    }
}

/// What a file system does with names that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Any may be lost.
    InNoOrder,
    /// The last ones are lost: there is a journal, as of ext4 and XFS.
    InOrder,
}

/// The changes that a power loss may take, as indices, when it comes after the first `end` of them.
fn losses(changes: &[Change], end: usize, names: Names) -> Vec<BTreeSet<usize>> {
    /// So many are tried in every combination.
    const ALL: usize = 8;
    let done = &changes[..end];
    let is_kept = |at: usize| done[at..].iter().any(|later| done[at].is_kept_by(later));
    let loose: Vec<usize> = (0..end)
        .filter(|&at| !done[at].is_sync() && !is_kept(at))
        .filter(|&at| names == Names::InNoOrder || !done[at].is_of_name())
        .collect();
    // Those before the last few are kept together, or lost together with some of them.
    let (old, new) = loose.split_at(loose.len().saturating_sub(ALL));
    let mut all = Vec::new();
    for which in 0..1_u32 << new.len() {
        let lost = new.iter().enumerate();
        let lost = lost.filter(|(bit, _)| which & (1 << bit) != 0);
        let lost: BTreeSet<usize> = lost.map(|(_, at)| *at).collect();
        all.push(lost.iter().chain(old).copied().collect());
        all.push(lost);
    }
    all.extend(old.iter().map(|at| BTreeSet::from([*at])));
    all
}

/// All that the disk may hold after a power loss at any time, each once.
pub(super) fn after_power_loss(before: &Tree, changes: &[Change], names: Names) -> Vec<Files> {
    let mut all = BTreeSet::new();
    for end in 0..=changes.len() {
        for lost in losses(changes, end, names) {
            let mut tree = before.clone();
            let kept = changes[..end].iter().enumerate();
            for (_, change) in kept.filter(|(at, _)| !lost.contains(at)) {
                tree.make(change);
            }
            all.insert(tree.seen());
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before() -> Tree {
        let mut tree = Tree::default();
        tree.names.insert("/d".into(), None);
        tree
    }

    fn files(states: &[Files]) -> Vec<Vec<(String, String)>> {
        let text = |(path, content): (&PathBuf, &Option<Vec<u8>>)| {
            let content = String::from_utf8(content.clone()?).unwrap();
            Some((path.display().to_string(), content))
        };
        states
            .iter()
            .map(|state| state.iter().filter_map(text).collect())
            .collect()
    }

    #[test]
    fn of_what_is_not_synced_anything_may_be_lost() {
        let changes = [
            Change::Write(1, 0, b"text".to_vec()),
            Change::Name("/d/a".into(), 1),
        ];
        let states = files(&after_power_loss(&before(), &changes, Names::InNoOrder));
        let file = |content: &str| vec![("/d/a".to_owned(), content.to_owned())];
        assert_eq!(states, [vec![], file(""), file("text")]);
    }

    #[test]
    fn a_journal_loses_the_last_names_first() {
        let changes = ["/d/a", "/d/b"].map(|path| Change::Name(path.into(), 1));
        let count = |names| after_power_loss(&before(), &changes, names).len();
        assert_eq!((count(Names::InNoOrder), count(Names::InOrder)), (4, 3));
    }

    #[test]
    fn what_is_synced_is_whole_or_not_there() {
        let changes = [
            Change::Name("/d/.a.new".into(), 1),
            Change::Write(1, 0, b"text".to_vec()),
            Change::SyncFile(1),
            Change::Rename("/d/.a.new".into(), "/d/a".into()),
            Change::SyncDir("/d".into()),
            Change::Remove("/d/a".into()),
        ];
        let states = files(&after_power_loss(&before(), &changes, Names::InNoOrder));
        let named = |name: &str, content: &str| vec![(name.to_owned(), content.to_owned())];
        assert!(states.contains(&named("/d/.a.new", "")));
        assert!(states.contains(&named("/d/a", "text")) && states.contains(&vec![]));
        assert!(!states.contains(&named("/d/a", "")), "{states:?}");
    }
}
