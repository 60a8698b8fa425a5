use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use super::*;

/// Directories of a test's own.
struct Machine {
    root: tempfile::TempDir,
    directories: Directories,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories {
            sockets: root.path().join("run"),
            specs: vec![root.path().join("etc"), root.path().join("lib")],
        };
        Self { root, directories }
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn socket(&self, file: &str) -> PathBuf {
        let path = self.root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The file stays when nobody listens any more.
        drop(UnixListener::bind(&path).unwrap());
        path
    }

    fn find(&self, name: &str) -> Result<PluginAddress, String> {
        find(name, &self.directories).map_err(|cause| cause.to_string())
    }

    fn address(&self, name: &str) -> String {
        self.find(name).unwrap().address.to_string()
    }
}

#[test]
fn files_are_looked_for_in_dockers_order() {
    let candidates = Directories::default().candidates("weave");
    let paths: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.path.display().to_string())
        .collect();
    assert_eq!(
        paths,
        [
            "/run/docker/plugins/weave.sock",
            "/run/docker/plugins/weave/weave.sock",
            "/etc/docker/plugins/weave.spec",
            "/etc/docker/plugins/weave/weave.spec",
            "/etc/docker/plugins/weave.json",
            "/etc/docker/plugins/weave/weave.json",
            "/usr/lib/docker/plugins/weave.spec",
            "/usr/lib/docker/plugins/weave/weave.spec",
            "/usr/lib/docker/plugins/weave.json",
            "/usr/lib/docker/plugins/weave/weave.json",
        ]
    );
}

#[test]
fn rootless_docker_looks_into_the_users_home() {
    let with = |variables: &'static [(&str, &str)]| {
        let directories = Directories::of(|name| {
            let mut found = variables.iter().filter(|(variable, _)| *variable == name);
            found.next().map(|(_, value)| (*value).to_owned())
        });
        assert_eq!(directories.sockets, Path::new("/run/docker/plugins"));
        let specs = directories.specs.iter();
        specs
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
    };
    let system = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];
    assert_eq!(
        with(&[("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/c")]),
        system
    );
    assert_eq!(with(&[("ROOTLESSKIT_STATE_DIR", "")]), system);
    let rootless = &[("ROOTLESSKIT_STATE_DIR", "/run/x"), ("HOME", "/home/me")];
    let lib = "/home/me/.local/lib/docker/plugins";
    assert_eq!(with(rootless), ["/home/me/.config/docker/plugins", lib]);
    let moved = &[
        ("ROOTLESSKIT_STATE_DIR", "/run/x"),
        ("HOME", "/home/me"),
        ("XDG_CONFIG_HOME", "/c"),
    ];
    assert_eq!(with(moved), ["/c/docker/plugins", lib]);
}

#[test]
fn the_first_file_that_is_there_counts() {
    let machine = Machine::new();
    let rows = [
        ("lib/red/red.json", r#"{"Addr": "tcp://h:8"}"#, "http://h:8"),
        ("lib/red.json", r#"{"Addr": "tcp://h:7"}"#, "http://h:7"),
        ("lib/red.spec", "tcp://h:6", "http://h:6"),
        ("etc/red/red.json", r#"{"Addr": "tcp://h:5"}"#, "http://h:5"),
        ("etc/red.json", r#"{"Addr": "tcp://h:4"}"#, "http://h:4"),
        ("etc/red/red.spec", " tcp://h:3\n", "http://h:3"),
        ("etc/red.spec", "tcp://h:2\n", "http://h:2"),
    ];
    for (file, text, expected) in rows {
        let path = machine.write(file, text);
        assert_eq!(machine.address("red"), expected, "{file}");
        assert_eq!(machine.find("red").unwrap().file.unwrap(), path);
    }
    for file in ["run/red/red.sock", "run/red.sock"] {
        let path = machine.socket(file);
        assert_eq!(machine.address("red"), format!("unix://{}", path.display()));
    }
}

#[test]
fn a_file_called_like_a_socket_is_none() {
    let machine = Machine::new();
    machine.write("run/red.sock", "");
    machine.write("etc/red.spec", "tcp://h:2");
    assert_eq!(machine.address("red"), "http://h:2");
    // Nor is a directory called like a file.
    fs::create_dir_all(machine.root.path().join("etc/blue.spec")).unwrap();
    machine.write("etc/blue.json", r#"{"Addr": "tcp://h:4"}"#);
    assert_eq!(machine.address("blue"), "http://h:4");
}

#[test]
fn the_file_before_is_not_skipped_for_being_broken() {
    let machine = Machine::new();
    let path = machine.write("etc/red.spec", "127.0.0.1:5000");
    machine.write("etc/red.json", r#"{"Addr": "tcp://h:4"}"#);
    let error = machine.find("red").unwrap_err();
    assert!(error.contains("Unknown protocol"), "{error}");
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    for text in ["", "npipe:////./pipe/x", "unix://relative.sock"] {
        machine.write("etc/red.spec", text);
        machine.find("red").unwrap_err();
    }
    machine.write("etc/blue.json", "{");
    let error = machine.find("blue").unwrap_err();
    assert!(error.contains("blue.json"), "{error}");
}

#[test]
fn what_is_not_there_is_told_with_where_it_was_looked_for() {
    let machine = Machine::new();
    let Err(Cause::NotFound { looked }) = find("red", &machine.directories) else {
        panic!("there is no such plugin");
    };
    assert_eq!(looked.len(), 10);
    assert_eq!(looked[0], machine.root.path().join("run/red.sock"));
}

#[test]
fn names_do_not_lead_out_of_the_directories() {
    let machine = Machine::new();
    machine.socket("secret.sock");
    machine.write("secret.spec", "tcp://h:1");
    for name in [
        "../secret",
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "/secret",
        "a\0b",
    ] {
        let error = machine.find(name).unwrap_err();
        assert!(
            error.contains("is no name of a plugin"),
            "{name:?}: {error}"
        );
    }
    // A dot inside is nothing special.
    machine.write("etc/red.v2.spec", "tcp://h:2");
    assert_eq!(machine.address("red.v2"), "http://h:2");
}

#[test]
fn tls_is_for_https_only_and_off_without_authorities() {
    let json = |text: &str| parse_json(text.as_bytes()).map_err(|cause| cause.to_string());
    let tls = |text: &str| match json(text).unwrap() {
        Address::Tls(_, config) => config,
        other => panic!("{other}"),
    };
    let full = r#"{"Name": "other", "Addr": "https://h:1", "TLSConfig": {"InsecureSkipVerify": false,
        "CAFile": "/ca.pem", "CertFile": "/cert.pem", "KeyFile": "/key.pem"}}"#;
    let identity = Some(Identity {
        certificate: "/cert.pem".into(),
        key: "/key.pem".into(),
    });
    let trust = Trust::File("/ca.pem".into());
    assert_eq!(tls(full), TlsConfig { trust, identity });
    let plain = full.replace("https", "tcp");
    assert!(matches!(json(&plain).unwrap(), Address::Tcp(_)));
    let trust = |tls_config: &str| {
        tls(&format!(
            r#"{{"addr": "https://h:1", "tlsconfig": {tls_config}}}"#
        ))
        .trust
    };
    assert_eq!(trust("{}"), Trust::Anybody);
    assert_eq!(trust(r#"{"CAFile": ""}"#), Trust::Anybody);
    assert_eq!(
        trust(r#"{"CAFile": "/x", "InsecureSkipVerify": true}"#),
        Trust::Anybody
    );
    assert_eq!(trust("null"), Trust::System);
    let spec = parse_spec(b"https://h:1").unwrap();
    assert!(matches!(spec, Address::Tls(_, config) if config.trust == Trust::Anybody));
    let half = full.replace(r#", "KeyFile": "/key.pem""#, "");
    assert!(json(&half).unwrap_err().contains("need each other"));
}

#[test]
fn a_configuration_can_name_an_address() {
    let parse = |url: &str, tls: Option<&TlsConf>| PluginAddress::parse(url, tls);
    let found = parse("unix:///run/docker/plugins/0123/net.sock", None).unwrap();
    assert_eq!(
        found.address.to_string(),
        "unix:///run/docker/plugins/0123/net.sock"
    );
    assert_eq!(found.file, None);
    assert!(parse("/run/docker/plugins/net.sock", None).is_err());
    let verified = parse("https://h:1", None).unwrap().address;
    assert!(matches!(verified, Address::Tls(_, config) if config.trust == Trust::System));
    let ca = TlsConf {
        ca_file: "/ca.pem".into(),
        ..TlsConf::default()
    };
    let verified = parse("https://h:1", Some(&ca)).unwrap().address;
    assert!(
        matches!(verified, Address::Tls(_, config) if config.trust == Trust::File("/ca.pem".into()))
    );
}

#[test]
fn directories_that_anybody_can_write_to_are_noted() {
    let machine = Machine::new();
    machine.write("etc/red/red.spec", "tcp://h:1");
    machine.socket("run/other.sock");
    assert_eq!(machine.find("red").unwrap().notes, [] as [&str; 0]);
    let open = |directory: &str| {
        let path = machine.root.path().join(directory);
        fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).unwrap();
    };
    // Who can write to a directory that is looked into before can pose as the plugin as well.
    open("run");
    open("etc/red");
    let notes = machine.find("red").unwrap().notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].contains("/run is writable by everybody"),
        "{notes:?}"
    );
    assert!(notes[1].contains("/etc/red is writable"), "{notes:?}");
    // Once is enough, however many files are looked for there.
    machine.write("etc/blue.json", r#"{"Addr": "tcp://h:1"}"#);
    open("etc");
    assert_eq!(machine.find("blue").unwrap().notes.len(), 2);
    // What comes later does not matter.
    assert_eq!(machine.find("other").unwrap().notes.len(), 1);
}

#[test]
fn all_plugins_are_listed() {
    let machine = Machine::new();
    assert!(list(&machine.directories).unwrap().is_empty());
    machine.socket("run/weave.sock");
    machine.socket("run/weave.other");
    machine.socket("run/calico/calico.sock");
    machine.socket("run/0123abcd/net.sock");
    machine.socket("run/.hidden.sock");
    machine.write("run/file.sock", "");
    machine.write("etc/ovn.spec", "");
    machine.write("etc/weave.spec", "");
    machine.write("etc/README.md", "");
    machine.write("lib/kuryr/kuryr.json", "");
    let names: Vec<_> = list(&machine.directories).unwrap().into_iter().collect();
    assert_eq!(names, ["calico", "kuryr", "ovn", "weave"]);
}
