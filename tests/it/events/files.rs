//! Files: rotated by others without a word, rotated by size, and on a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{ids, metric, outputs, run};
use crate::support::backend::Backend;
use crate::support::config::Service;
use crate::support::events;
use crate::support::ports::free_port;
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

/// Goal: whoever rotates or removes the file need not say so, and no event is lost.
/// Method: the file is renamed under traffic, later removed; no signal.
#[test]
fn a_file_that_was_renamed_is_opened_again() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let (file, old) = (dir.path().join("audit"), dir.path().join("audit.old"));
    let mut proxy = Launch::new(outputs(&service, json!([{ "file": file }]))).start();
    run(&mut proxy, &service, 10);
    wait_until("the first events", SOON, || events::count(&file) >= 22);
    fs::rename(&file, &old).unwrap();
    wait_until("a new file", SOON, || {
        run(&mut proxy, &service, 1);
        events::count(&file) > 0
    });
    run(&mut proxy, &service, 10);
    let written = || events::count(&file) + events::count(&old);
    wait_until("all events", SOON, || written() == events::count(&proxy.events_file()));
    let both = [events::read(&old), events::read(&file)].concat();
    assert_eq!(ids(&both), ids(&proxy.events()));
    fs::remove_file(&file).unwrap();
    wait_until("a new file", SOON, || {
        run(&mut proxy, &service, 1);
        events::count(&file) > 0
    });
    proxy.finish();
}

/// Goal: a file rotates itself by size, keeps so many, and every line of all of them is whole.
/// Method: events of some KiB, far more than all files hold.
#[test]
fn a_file_rotates_itself() {
    let backend = Backend::echo();
    let padding = json!({ "padding": "x".repeat(2000) });
    let service = Service::new("svc", &[backend.address]).set("metadata", padding);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit");
    let rotated = json!([{ "file": file, "maxSize": "64KiB", "keep": 2 }]);
    let mut proxy = Launch::new(outputs(&service, rotated)).start();
    run(&mut proxy, &service, 200);
    let numbered = |number: u32| PathBuf::from(format!("{}.{number}", file.display()));
    // Every output gets the same lines in the same order.
    let last = |path: &Path| events::read(path).pop().map(|event| event.text("@id").to_owned());
    let all = proxy.events_file();
    wait_until("all events", SOON, || {
        events::count(&all) >= 212 && numbered(2).exists() && last(&file) == last(&all)
    });
    for path in [file.clone(), numbered(1), numbered(2)] {
        let size = fs::metadata(&path).unwrap().len();
        assert!(size <= 64 << 10, "{} has {size} bytes", path.display());
        assert!(!ids(&events::read(&path)).is_empty());
        assert!(fs::read(&path).unwrap().ends_with(b"\n"));
    }
    assert!(!numbered(3).exists());
    proxy.finish();
}

/// Goal: a disk that is full costs no half lines and, when there is room soon, no events.
/// Method: a file system of memory that is filled and freed. Needs the right to mount.
#[test]
fn a_full_disk_holds_events_up() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"];
    let mounted = Command::new("mount").args(mount).arg(&disk).output();
    if !mounted.as_ref().is_ok_and(|it| it.status.success()) {
        eprintln!("skipped: no right to mount a file system: {mounted:?}");
        return;
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(disk.clone());
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let at = format!("127.0.0.1:{}", free_port());
    let file = disk.join("audit");
    let config = outputs(&service, json!([{ "file": file }]));
    let config = config.set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    let ballast = disk.join("ballast");
    // What is left after it is less than a page.
    let _ = fs::write(&ballast, vec![b'.'; 1 << 20]);
    let failing = || {
        let text = crate::support::admin::ask(&at, "/metrics", &[]).body;
        text.lines().any(|line| {
            line.starts_with("thalweg_event_output_failing{")
                && line.contains("audit")
                && line.ends_with(" 1")
        })
    };
    let mut all = 0;
    wait_until("a full disk", SOON, || {
        run(&mut proxy, &service, 5);
        all += 5;
        failing()
    });
    let whole = fs::read(&file).unwrap();
    assert!(whole.is_empty() || whole.ends_with(b"\n"), "half a line was left");
    run(&mut proxy, &service, 20);
    all += 20;
    fs::remove_file(&ballast).unwrap();
    wait_until("all events", SOON, || {
        events::count(&file) >= all && ids(&events::read(&file)) == ids(&proxy.events())
    });
    assert_eq!(metric(&at, "dropped_total", "file"), 0);
    let log = proxy.log();
    assert_eq!(log.matches("events: cannot be written").count(), 1, "{log}");
    assert_eq!(log.matches("events: written again").count(), 1, "{log}");
    proxy.finish();
}
