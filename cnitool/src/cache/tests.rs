use super::*;

fn attachment(network: &str, container_id: &str, ifname: &str) -> Attachment {
    Attachment {
        network: network.parse().unwrap(),
        container_id: container_id.parse().unwrap(),
        ifname: ifname.parse().unwrap(),
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn entry() -> CacheEntry {
    CacheEntry {
        container_id: "c1".into(),
        config: b"{\"name\": \"net\"}\n".to_vec(),
        ifname: "eth0".into(),
        network: "net".into(),
        netns: "/run/netns/c1".into(),
        args: vec![
            ("IgnoreUnknown".into(), "1".into()),
            ("A".into(), "b".into()),
        ],
        capability_args: vec![("mac".into(), json("\"02::\""))],
        result: Some(json(r#"{"cniVersion": "1.0.0", "ips": []}"#)),
    }
}

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cni"));
    (dir, cache)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_file_is_libcnis() {
    let (dir, cache) = cache();
    let key = attachment("net", "c1", "eth0");
    cache.store(&key, &entry(), Durability::Durable).unwrap();
    let file = dir.path().join("cni/results/net-c1-eth0");
    assert_eq!(cache.file(&key), file);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        r#"{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjogIm5ldCJ9Cg==","ifName":"eth0","networkName":"net","netns":"/run/netns/c1","cniArgs":[["IgnoreUnknown","1"],["A","b"]],"capabilityArgs":{"mac":"02::"},"result":{"cniVersion":"1.0.0","ips":[]}}"#
    );
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(cache.load(&key).unwrap(), Some(entry()));
    // Nothing is left of how it was written.
    assert_eq!(fs::read_dir(dir.path().join("cni")).unwrap().count(), 1);
}

#[test]
fn what_is_empty_is_left_out() {
    let bare = CacheEntry {
        netns: String::new(),
        args: Vec::new(),
        capability_args: Vec::new(),
        result: None,
        ..entry()
    };
    assert_eq!(
        String::from_utf8(print(&bare)).unwrap(),
        r#"{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjogIm5ldCJ9Cg==","ifName":"eth0","networkName":"net"}"#
    );
    assert_eq!(parse(&print(&bare)), Some(bare));
}

/// The keys of libcni's `cachedInfo`, filled as containerd fills them for a pod.
#[test]
fn an_entry_of_another_runtime_is_understood() {
    let text = br#"{"kind":"cniCacheV1","containerId":"4f2e","config":"e30=","ifName":"eth0","networkName":"containerd-net","netns":"/var/run/netns/cni-1","cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAME","p"]],"capabilityArgs":{"dns":{"Searches":null},"portMappings":[]},"result":{"cniVersion":"1.0.0","dns":{},"ips":[{"address":"10.0.0.2/16","interface":2}]}}"#;
    let entry = parse(text).unwrap();
    assert_eq!(entry.config, b"{}");
    assert_eq!(entry.args[1], ("K8S_POD_NAME".into(), "p".into()));
    assert_eq!(entry.capability_args[1].0, "portMappings");
    assert!(entry.result.unwrap().get("ips").is_some());
}

#[test]
fn null_lists_are_empty() {
    let text = br#"{"kind":"cniCacheV1","containerId":"c","config":null,"ifName":"e",
        "networkName":"n","cniArgs":null,"capabilityArgs":null,"result":null}"#;
    let entry = parse(text).unwrap();
    assert_eq!((entry.args, entry.result), (vec![], None));
}

#[test]
fn broken_files_count_as_none() {
    let (_dir, cache) = cache();
    let key = attachment("net", "c1", "eth0");
    cache.store(&key, &entry(), Durability::Volatile).unwrap();
    for text in ["", "{", "[]", "null", "{}", r#"{"kind": "cniCacheV2"}"#] {
        fs::write(cache.file(&key), text).unwrap();
        assert_eq!(cache.load(&key).unwrap(), None, "{text}");
        assert_eq!(cache.entries().unwrap(), [], "{text}");
    }
    cache.remove(&key).unwrap();
    assert!(!cache.file(&key).exists());
    cache.remove(&key).unwrap();
}

#[test]
fn a_file_of_before_there_were_kinds_has_only_the_result() {
    let (_dir, cache) = cache();
    let key = attachment("net", "c1", "eth0");
    cache.store(&key, &entry(), Durability::Volatile).unwrap();
    fs::write(cache.file(&key), r#"{"cniVersion": "0.3.1", "ips": []}"#).unwrap();
    let legacy = cache.load(&key).unwrap().unwrap();
    assert_eq!(
        legacy.result,
        Some(json(r#"{"cniVersion": "0.3.1", "ips": []}"#))
    );
    assert!(legacy.is_of(&key) && legacy.config.is_empty());
}

#[test]
fn an_entry_of_another_attachment_with_the_same_file_name_is_not_taken() {
    let (_dir, cache) = cache();
    let theirs = attachment("a", "b-c", "eth0");
    let ours = attachment("a-b", "c", "eth0");
    assert_eq!(cache.file(&theirs), cache.file(&ours));
    let entry = CacheEntry {
        network: "a".into(),
        container_id: "b-c".into(),
        ..entry()
    };
    cache.store(&theirs, &entry, Durability::Volatile).unwrap();
    assert_eq!(cache.load(&ours).unwrap(), None);
    assert_eq!(cache.load(&theirs).unwrap(), Some(entry));
}

#[test]
fn an_unreadable_cache_is_an_error_and_a_missing_one_is_empty() {
    let (_dir, cache) = cache();
    assert_eq!(cache.entries().unwrap(), []);
    let file = tempfile::NamedTempFile::new().unwrap();
    let blocked = Cache::at(file.path());
    assert!(blocked.entries().is_err());
    let key = attachment("net", "c1", "eth0");
    let error = blocked
        .store(&key, &entry(), Durability::Volatile)
        .unwrap_err();
    assert_eq!(error.operation, "create cache directory");
}
