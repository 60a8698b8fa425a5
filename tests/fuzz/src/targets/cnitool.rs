//! What the runtime's side reads: networks, and cached results.

use std::cell::RefCell;
use std::fs;

use cni_types::Json;
use cnitool::{Cache, Network};
use tempfile::TempDir;

use crate::request::attachment;

/// A network, whether it is a list or a single plugin.
pub(super) fn network_file(bytes: &[u8]) {
    for parsed in [Network::parse(bytes), Network::parse_single(bytes)] {
        match parsed {
            Ok(network) => {
                assert!(!network.plugins().is_empty(), "nothing would be done");
                for plugin in network.plugins() {
                    assert!(!plugin.plugin_type().is_empty());
                    assert!(plugin.capabilities().all(|name| plugin.takes(name)));
                }
            }
            Err(error) => assert!(!error.problem.is_empty(), "{error:?}"),
        }
    }
}

thread_local! {
    static DIR: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// A cached result: whatever is in the file, it does not stand in the way of a DEL.
pub(super) fn cache_file(bytes: &[u8]) {
    DIR.with_borrow_mut(|dir| {
        let dir = dir.get_or_insert_with(|| TempDir::new().expect("a directory"));
        let cache = Cache::at(dir.path());
        let attachment = attachment();
        let file = cache.file(&attachment);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(&file, bytes).expect("a file");
        let loaded = cache.load(&attachment).expect("no error");
        let listed = cache.entries().expect("no error");
        assert!(listed.len() <= 1);
        let Some(entry) = loaded else {
            return;
        };
        assert!(entry.is_of(&attachment), "{entry:?}");
        // A file from before there were keys to tell whose it is cannot be listed.
        assert!(listed.is_empty() || listed == [entry.clone()]);
        if let Some(result) = &entry.result {
            let again = Json::parse(result.to_string().as_bytes());
            assert_eq!(again.as_ref(), Ok(result));
        }
    });
}
