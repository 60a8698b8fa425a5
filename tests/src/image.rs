//! A container image made of busybox, since none can be pulled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use cni_testkit::{World, require};
use serde_json::json;

/// The name the image is imported under.
pub const NAME: &str = "tenon.test/busybox:1";

/// Commands that the image has, beside the shell.
const APPLETS: &[&str] = &[
    "sh", "sleep", "ping", "ping6", "ip", "httpd", "wget", "cat", "echo",
];

/// Writes the image as a docker-archive of one layer; its entry point sleeps for ever.
pub fn archive(world: &World) -> PathBuf {
    require("busybox");
    let dir = world.dir().join("image");
    let bin = dir.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    let busybox = ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .find(|path| Path::new(path).exists());
    fs::copy(busybox.unwrap(), bin.join("busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    run(&dir, "tar", &["-C", "rootfs", "-cf", "layer.tar", "."]);
    let digest = run(&dir, "sha256sum", &["layer.tar"]);
    let digest = digest.split(' ').next().unwrap();
    fs::write(dir.join("config.json"), config(digest).to_string()).unwrap();
    let manifest = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    run(
        &dir,
        "tar",
        &[
            "-cf",
            "image.tar",
            "manifest.json",
            "config.json",
            "layer.tar",
        ],
    );
    fs::remove_dir_all(dir.join("rootfs")).unwrap();
    dir.join("image.tar")
}

fn config(layer_digest: &str) -> serde_json::Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
}

fn run(dir: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
