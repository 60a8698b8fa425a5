use super::*;
use crate::error::chain;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn list(self, file: &str, name: &str, plugin: &str) -> Self {
        let text = format!(r#"{{"name": "{name}", "plugins": [{{"type": "{plugin}"}}]}}"#);
        self.file(file, &text)
    }

    fn single(self, file: &str, name: &str, plugin: &str) -> Self {
        self.file(
            file,
            &format!(r#"{{"name": "{name}", "type": "{plugin}"}}"#),
        )
    }

    fn catalog(&self) -> Catalog {
        Catalog::read(self.0.path()).unwrap()
    }

    fn types(&self, name: &str) -> Vec<String> {
        let catalog = self.catalog();
        let plugins = catalog.find(name).unwrap().plugins();
        plugins.iter().map(|p| p.plugin_type().to_owned()).collect()
    }

    /// An error's text with the directory's own path as DIR.
    fn error(&self, name: &str) -> String {
        let error = self.catalog().find(name).unwrap_err();
        chain(&error).replace(&self.0.path().display().to_string(), "DIR")
    }
}

#[test]
fn lists_come_before_single_plugins_and_files_in_order_of_name() {
    let dir = Dir::new()
        .single("00-a.conf", "a", "single")
        .list("20-a.conflist", "a", "second")
        .list("10-a.conflist", "a", "first")
        .single("05-b.json", "b", "json")
        .single("01-b.conf", "b", "conf")
        .list("readme.txt", "c", "x")
        .list("conflist", "c", "x");
    assert_eq!(dir.types("a"), ["first"]);
    assert_eq!(dir.types("b"), ["conf"]);
    assert_eq!(dir.catalog().networks().len(), 5);
    let first = dir.catalog().first().unwrap().clone();
    assert_eq!(first.file().unwrap().file_name().unwrap(), "00-a.conf");
}

#[test]
fn directories_and_dangling_links_are_no_networks() {
    let dir = Dir::new()
        .list("10-a.conflist", "a", "x")
        .file("x.conflist/y", "");
    assert!(dir.catalog().broken().is_empty());
    std::os::unix::fs::symlink("/nonexistent", dir.0.path().join("b.conf")).unwrap();
    assert_eq!(dir.catalog().broken().len(), 1);
    assert_eq!(dir.types("a"), ["x"]);
}

#[test]
fn plugins_of_the_sibling_directory_follow_the_inlined_ones() {
    let dir = Dir::new()
        .list("10-a.conflist", "a", "inlined")
        .file("a/20.conf", r#"{"type": "second"}"#)
        .file("a/10.conf", r#"{"type": "first"}"#)
        .file("a/30.json", r#"{"type": "other extension"}"#)
        .file("b.conflist", r#"{"name": "b"}"#)
        .file("b/x.conf", r#"{"type": "only"}"#)
        .file(
            "c.conflist",
            r#"{"name": "c", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "x"}]}"#,
        )
        .file("c/x.conf", r#"{"type": "not loaded"}"#);
    assert_eq!(dir.types("a"), ["inlined", "first", "second"]);
    assert_eq!(dir.types("b"), ["only"]);
    assert_eq!(dir.types("c"), ["x"]);
}

#[test]
fn a_broken_file_hides_nothing_but_is_told_when_a_name_is_missing() {
    let dir = Dir::new()
        .file("00.conflist", r#"{"name": "a", "plugins": [{}]}"#)
        .list("10.conflist", "b", "x");
    assert_eq!(dir.types("b"), ["x"]);
    assert_eq!(
        dir.error("a"),
        "no net configuration with name \"a\" found before a broken file: DIR/00.conflist: \
         plugins[0].type: is missing: it names the plugin's binary"
    );
    assert!(!dir.catalog().find("a").unwrap_err().is_not_found());
}

#[test]
fn a_broken_plugin_file_is_named() {
    let dir = Dir::new()
        .list("10.conflist", "a", "x")
        .file("a/1.conf", r#"{"type": 1}"#);
    assert_eq!(
        dir.error("a"),
        "no net configuration with name \"a\" found before a broken file: DIR/a/1.conf: \
         type: 1 is not a string"
    );
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let dir = Dir::new();
    assert_eq!(
        dir.error("a"),
        "no net configurations found in DIR; NETCONFPATH names another directory"
    );
    let dir = dir.list("1.conflist", "b", "x").single("2.conf", "c", "x");
    assert_eq!(
        dir.error("a"),
        "no net configuration with name \"a\" in DIR; it has b, c"
    );
    let nowhere = Catalog::read("/nonexistent/dir").unwrap();
    assert!(matches!(nowhere.first(), Err(CatalogError::Empty { .. })));
    let error = Catalog::read("/proc/self/status").unwrap_err();
    assert_eq!(error.to_string(), "read directory /proc/self/status");
}
