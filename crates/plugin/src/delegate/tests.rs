use super::*;
use cni_types::config;
use std::os::unix::fs::PermissionsExt;

/// A directory with one plugin that logs its commands and then does `body`.
struct Plugins {
    dir: tempfile::TempDir,
}

impl Plugins {
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let path = dir.path().join("ipam");
        std::fs::write(
            &path,
            format!(
                "#!/bin/sh\necho $CNI_COMMAND >> {}\n{body}\n",
                log.display()
            ),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn request(&self) -> Request {
        let stdin = br#"{"cniVersion": "1.0.0", "name": "n"}"#;
        let config = Json::parse(stdin).unwrap();
        let path = format!(":/nonexistent:{}", self.dir.path().display());
        Request {
            env: Environment {
                path,
                ..Environment::default()
            },
            stdin: stdin.as_slice().into(),
            network: config::network_name(&config).unwrap(),
            version: SpecVersion::V1_0_0,
            deadline: None,
            config,
        }
    }

    fn commands(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log"))
            .unwrap()
            .replace('\n', " ")
    }

    /// An ADD that fails at the end, as when a later step does; its own outcome, and the commands.
    fn add_and_undo(&self, timeout: Duration) -> (Result<CniResult, CniError>, String) {
        let mut undo = Undo::new();
        let delegate = Delegate::find(&self.request(), "ipam").unwrap();
        let mut add = delegate
            .start_add(Deadline::after(timeout), &mut undo)
            .unwrap();
        let result = add
            .result()
            .and_then(|result| add.finish(&result).map(|()| result));
        let _reported = undo.fail(CniError::new(ErrorCode::KERNEL, "later"));
        (result, self.commands())
    }
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_result_comes_back_and_is_taken_back() {
    let plugins = Plugins::new(
        r#"[ $CNI_COMMAND = DEL ] || { cat >&2; echo '{"ips": [{"address": "10.0.0.2/24"}]}'; }"#,
    );
    let (result, commands) = plugins.add_and_undo(LONG);
    assert_eq!(result.unwrap().ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(commands, "ADD DEL ");
}

#[test]
fn its_error_is_passed_on_with_its_code() {
    let plugins =
        Plugins::new(r#"echo '{"code": 77, "msg": "full", "details": "really"}'; exit 1"#);
    let error = plugins.add_and_undo(LONG).0.unwrap_err();
    assert_eq!(
        (error.code.0, error.msg.as_str(), error.details.as_str()),
        (77, "full", "really")
    );
}

#[test]
fn what_is_no_answer_is_said_and_quoted() {
    for (body, code, words) in [
        ("echo rubbish", 6, "rubbish"),
        ("echo '{} {}'", 6, "trailing characters"),
        // An answer that looked whole, and more of it, and a failure after it.
        (
            r#"echo '{"ips": [{"address": "10.0.0.2/24"}]}'; sleep 0.2; echo '{}'"#,
            6,
            "trailing characters",
        ),
        (
            r#"echo '{"ips": [{"address": "10.0.0.2/24"}]}'; sleep 0.2; exit 3"#,
            130,
            "10.0.0.2",
        ),
        ("true", 6, "it printed: \"\""),
        ("echo '{\"cniVersion\": \"7.0.0\"}'", 6, "7.0.0"),
        ("echo oops >&2; exit 3", 130, "oops"),
        ("echo oops; exit 3", 130, "oops"),
        ("kill -9 $$", 130, ""),
    ] {
        let (result, commands) = Plugins::new(body).add_and_undo(LONG);
        let error = result.unwrap_err();
        assert_eq!(error.code.0, code, "{body}: {error}");
        assert!(error.details.contains(words), "{body}: {error}");
        assert_eq!(commands, "ADD DEL ", "{body}");
    }
}

#[test]
fn addresses_of_an_earlier_add_are_not_taken_back() {
    let refusal = "10.0.0.2 has been allocated to c1, duplicate allocation is not allowed";
    let plugins = Plugins::new(&format!(
        "echo '{{\"code\": 101, \"msg\": \"{refusal}\"}}'; exit 1"
    ));
    let (result, commands) = plugins.add_and_undo(LONG);
    assert_eq!(result.unwrap_err().code.0, 101);
    assert_eq!(commands, "ADD ");
}

#[test]
fn what_was_not_started_is_not_taken_back() {
    let plugins = Plugins::new("true");
    std::fs::write(plugins.dir.path().join("ipam"), "no program").unwrap();
    let mut undo = Undo::new();
    let delegate = Delegate::find(&plugins.request(), "ipam").unwrap();
    let error = delegate
        .start_add(Deadline::after(LONG), &mut undo)
        .unwrap_err();
    let error = undo.fail(error);
    assert!(error.msg.starts_with("start /"), "{error}");
    assert!(!error.details.contains("left behind"), "{error}");
}

#[test]
fn a_hanging_add_is_killed_and_taken_back() {
    let plugins = Plugins::new("[ $CNI_COMMAND = DEL ] || exec sleep 60");
    let (result, commands) = plugins.add_and_undo(Duration::from_millis(100));
    assert_eq!(result.unwrap_err().code.0, 11);
    assert_eq!(commands, "ADD DEL ");
}

#[test]
fn a_failure_elsewhere_lets_the_add_end_before_the_del() {
    let plugins =
        Plugins::new("[ $CNI_COMMAND = DEL ] || { sleep 0.2; echo done >> $(dirname $0)/log; }");
    let mut undo = Undo::new();
    let delegate = Delegate::find(&plugins.request(), "ipam").unwrap();
    let add = delegate
        .start_add(Deadline::after(LONG), &mut undo)
        .unwrap();
    drop(add);
    let error = undo.fail(CniError::new(ErrorCode::KERNEL, "elsewhere"));
    assert_eq!(error.details, "");
    assert_eq!(plugins.commands(), "ADD done DEL ");
}

#[test]
fn plugins_are_names_in_the_path() {
    let request = Plugins::new("true").request();
    let error = Delegate::find(&request, "nope").unwrap_err();
    assert!(
        error
            .msg
            .starts_with("failed to find plugin \"nope\" in path [/nonexistent /"),
        "{error}"
    );
    assert_eq!(Delegate::find(&request, "../ipam").unwrap_err().code.0, 7);
}
