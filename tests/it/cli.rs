//! What a person types: exit codes, machine-readable diagnostics, explanations, examples.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::listen;
use crate::support::config::{Config, Service};
use crate::support::ports::loopback;
use crate::support::proxy::{BINARY, Exit, collect, kill_group, run_to_end, thalweg};
use crate::support::wait::{SOON, waited};

/// A directory with this text as `thalweg.json`.
fn file_of(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thalweg.json"), text).unwrap();
    dir
}

fn check(text: &str, more: &[&str]) -> Exit {
    let dir = file_of(text);
    thalweg(dir.path(), &[&["check", "-c", "thalweg.json"], more].concat())
}

/// The diagnostics that `check --json` prints: a list, or the member of that name.
fn diagnostics(exit: &Exit) -> Vec<Value> {
    let value: Value = match serde_json::from_str(&exit.stdout) {
        Ok(value) => value,
        Err(error) => panic!("check --json printed no JSON: {error}: {}", exit.said()),
    };
    let list = value.get("diagnostics").unwrap_or(&value);
    list.as_array().cloned().unwrap_or_else(|| panic!("no list of diagnostics: {value}"))
}

fn good() -> Config {
    Config::new([&Service::new("svc", &[loopback(1)])])
}

fn faulty() -> String {
    let service = Service::new("svc", &[loopback(1)])
        .set("tls", json!("Sometimes"))
        .set("timeouts", json!({ "idle": "soon" }))
        .set("prot", json!(5));
    Config::new([&service]).text()
}

/// Goal: `check` tells good from bad from misuse by its exit code, and binds nothing.
/// Method: a good file, also while its port is taken; bad ones; no file; no argument.
#[test]
fn check_exit_codes() {
    let service = Service::new("svc", &[loopback(1)]);
    let _taken = listen(service.address, 1).unwrap();
    let exit = check(&Config::new([&service]).text(), &[]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    for text in ["", "{", "[]", "{\"services\":5}", &faulty()] {
        let exit = check(text, &[]);
        assert_eq!(exit.code(), Some(1), "{text:?}: {}", exit.said());
        assert!(!exit.said().is_empty(), "{text:?}: says why");
    }
    let dir = tempfile::tempdir().unwrap();
    let exit = thalweg(dir.path(), &["check", "-c", "missing.json"]);
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    assert!(exit.said().contains("missing.json"), "{}", exit.said());
    for arguments in [&["check"][..], &["check", "--no-such"], &["no-such-command"], &["run"]] {
        let exit = thalweg(dir.path(), arguments);
        assert_eq!(exit.code(), Some(2), "{arguments:?}: {}", exit.said());
    }
}

/// Goal: all faults are reported in one run, each with its place, for people and for programs.
/// Method: three faults in one file, as text and as JSON.
#[test]
fn check_reports_all_faults() {
    let exit = check(&faulty(), &[]);
    for word in ["tls", "idle", "prot"] {
        assert!(exit.said().contains(word), "{word} in: {}", exit.said());
    }
    let exit = check(&faulty(), &["--json"]);
    assert_eq!(exit.code(), Some(1));
    let found = diagnostics(&exit);
    assert!(found.len() >= 3, "{}", exit.stdout);
    for one in &found {
        assert!(one["code"].as_str().is_some_and(|code| code.len() > 2), "{one}");
        assert!(["info", "warn", "error"].contains(&one["severity"].as_str().unwrap()), "{one}");
        assert!(!one["message"].as_str().expect("a message").is_empty());
        assert!(one["path"].is_string(), "{one}");
        assert!(one["line"].is_u64() || one["line"].is_null(), "{one}");
    }
    for path in ["services[0].tls", "services[0].timeouts.idle"] {
        assert!(found.iter().any(|one| one["path"] == path), "{path} in: {}", exit.stdout);
    }
    let exit = check(&good().text(), &["--json"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    assert!(diagnostics(&exit).iter().all(|one| one["severity"] != "error"));
}

/// Goal: a misspelt member or value comes with what was probably meant.
/// Method: one letter missing in each.
#[test]
fn check_says_what_was_meant() {
    let misspelt = [
        ("interfce", json!("127.0.0.1"), "interface"),
        ("onRemoved", json!("Kep"), "Keep"),
        ("tls", json!("PassTrough"), "PassThrough"),
    ];
    for (member, value, meant) in misspelt {
        let service = Service::new("svc", &[loopback(1)]).set(member, value);
        let exit = check(&Config::new([&service]).text(), &[]);
        assert_eq!(exit.code(), Some(1), "{member}: {}", exit.said());
        assert!(exit.said().contains(meant), "{meant} in: {}", exit.said());
    }
}

/// Goal: no file, however broken, makes `check` panic or accept it.
/// Method: a good file cut at every 7th byte, and with each of its lines left out: `check` says 0
/// or 1, and never speaks of a panic.
#[test]
fn check_survives_broken_files() {
    let text = good().text();
    let cut = (0..text.len() - 2).step_by(7).map(|at| text[..at].to_owned());
    let lines: Vec<&str> = text.lines().collect();
    let without = (0..lines.len()).map(|at| {
        let kept = lines.iter().enumerate().filter(|(index, _)| *index != at);
        kept.map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
    });
    let dir = tempfile::tempdir().unwrap();
    for (index, text) in cut.map(|text| (true, text)).chain(without.map(|text| (false, text))) {
        fs::write(dir.path().join("thalweg.json"), &text).unwrap();
        let exit = thalweg(dir.path(), &["check", "-c", "thalweg.json"]);
        let fits = if index { exit.code() == Some(1) } else { matches!(exit.code(), Some(0 | 1)) };
        assert!(fits && !exit.said().contains("panic"), "{text}\n{}: {}", exit.status, exit.said());
    }
}

/// Goal: every code that a diagnostic or an event shows is explained; others are said to be
/// unknown.
/// Method: the codes of a faulty file, one reason, and a code that does not exist.
#[test]
fn explain() {
    let dir = tempfile::tempdir().unwrap();
    let found = diagnostics(&check(&faulty(), &["--json"]));
    for one in &found {
        let code = one["code"].as_str().unwrap();
        let exit = thalweg(dir.path(), &["explain", code]);
        assert_eq!(exit.code(), Some(0), "{code}: {}", exit.said());
        assert!(exit.stdout.len() > 40, "{code} deserves a sentence: {}", exit.stdout);
    }
    let reasons = [
        "client/relay/closed",
        "upstream/relay/closed",
        "client/relay/reset",
        "upstream/relay/reset",
        "upstream/connect/refused",
    ];
    for reason in reasons {
        let exit = thalweg(dir.path(), &["explain", reason]);
        assert_eq!(exit.code(), Some(0), "{reason}: {}", exit.said());
    }
    for unknown in ["E9999", "nobody/does/this"] {
        let exit = thalweg(dir.path(), &["explain", unknown]);
        assert_eq!(exit.code(), Some(2), "{unknown}: {}", exit.said());
    }
    for (typed, meant) in [("E1011", "E101"), ("us/connect/refusd", "refused"), ("unknown", "E101")]
    {
        let exit = thalweg(dir.path(), &["explain", typed]);
        assert_eq!(exit.code(), Some(2), "{typed}: {}", exit.said());
        assert!(exit.stderr.contains(meant), "{typed}: {}", exit.said());
    }
    let exit = thalweg(dir.path(), &["explain", "E101"]);
    assert!(exit.stdout.contains("near it:\n") && exit.stdout.contains("E102"), "{}", exit.stdout);
}

/// Goal: shells complete the command line, and there is a page of the manual for each command.
/// Method: bash loads the script and is asked what comes after `rel`; pages in a directory.
#[test]
fn completions_and_manual() {
    let dir = tempfile::tempdir().unwrap();
    let exit = thalweg(dir.path(), &["completions", "bash"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    fs::write(dir.path().join("completions"), exit.stdout).unwrap();
    let script = "source ./completions; COMP_WORDS=(thalweg rel); COMP_CWORD=1; \
                  _thalweg thalweg rel thalweg; echo ${COMPREPLY[@]}";
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).current_dir(dir.path());
    let exit = run_to_end(bash);
    assert_eq!(exit.said().trim(), "reload");
    for shell in ["zsh", "fish"] {
        let exit = thalweg(dir.path(), &["completions", shell]);
        assert!(exit.code() == Some(0) && exit.stdout.contains("reload"), "{}", exit.said());
    }
    assert_eq!(thalweg(dir.path(), &["completions", "tcsh"]).code(), Some(2));

    let exit = thalweg(dir.path(), &["man"]);
    assert!(exit.code() == Some(0) && exit.stdout.contains(".TH thalweg 1"), "{}", exit.said());
    let exit = thalweg(dir.path(), &["man", "check"]);
    assert!(exit.stdout.contains(".TH thalweg-check 1"), "{}", exit.said());
    assert!(exit.stdout.contains("\n\\&  thalweg check \\-c"), "a line each: {}", exit.stdout);
    assert_eq!(thalweg(dir.path(), &["man", "none"]).code(), Some(2));
    let pages = dir.path().join("pages");
    let directory = pages.to_str().unwrap();
    assert_eq!(thalweg(dir.path(), &["man", "--directory", directory]).code(), Some(1));
    fs::create_dir(&pages).unwrap();
    let exit = thalweg(dir.path(), &["man", "--directory", directory]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    for page in ["thalweg.1", "thalweg-top.1", "thalweg-service-put.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
}

/// Goal: the schema is one, and speaks of the members of the contract.
/// Method: parse it.
#[test]
fn schema() {
    let dir = tempfile::tempdir().unwrap();
    let exit = thalweg(dir.path(), &["schema"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    let schema: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert!(schema["$schema"].is_string(), "says which dialect");
    for member in ["workers", "events", "services"] {
        assert!(schema["properties"][member].is_object(), "{member}");
    }
}

/// Goal: the help names every command, and every command has a help of its own.
/// Method: the contract's commands; those that `--help` lists.
#[test]
fn help() {
    let dir = tempfile::tempdir().unwrap();
    let exit = thalweg(dir.path(), &["--help"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    let listed: Vec<&str> = exit
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for command in [
        "run",
        "check",
        "doctor",
        "plan",
        "explain",
        "schema",
        "status",
        "top",
        "connections",
        "kill",
        "drain",
        "reload",
        "services",
        "service",
        "demo",
        "completions",
        "man",
    ] {
        assert!(listed.contains(&command), "{command} in: {}", exit.stdout);
    }
    for command in listed.into_iter().filter(|command| *command != "help") {
        let exit = thalweg(dir.path(), &["help", command]);
        assert_eq!(exit.code(), Some(0), "{command}: {}", exit.said());
        assert!(exit.stdout.contains("Example: "), "{command} teaches by example: {}", exit.stdout);
    }
    let exit = thalweg(dir.path(), &["--version"]);
    assert_eq!(exit.stdout.trim(), concat!("thalweg ", env!("CARGO_PKG_VERSION")));
}

/// Goal: every example passes.
/// Method: `check` on each file of `config/`, in a directory that has the certificates it names.
#[test]
fn examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let entries = fs::read_dir(&folder).expect("the folder of examples");
    let mut count = 0;
    for path in entries.flatten().map(|entry| entry.path()) {
        // A dashboard is none of ours.
        let foreign = path.ends_with("grafana.json");
        if !foreign && path.extension().is_some_and(|extension| extension == "json") {
            count += 1;
            let text = fs::read_to_string(&path).unwrap();
            let dir = file_of(&text);
            certificates(&serde_json::from_str(&text).unwrap(), dir.path());
            let exit = thalweg(dir.path(), &["check", "-c", "thalweg.json"]);
            assert_eq!(exit.code(), Some(0), "{}: {}", path.display(), exit.said());
        }
    }
    assert!(count > 0, "there are examples");
}

/// Writes the certificates, keys and revocation lists that a configuration names.
fn certificates(value: &Value, dir: &Path) {
    let write = |name: &Value, text: &str| {
        fs::write(dir.join(name.as_str().expect("a path")), text).unwrap();
    };
    let names = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    if let Some(cert) = value.get("certFile") {
        write(cert, &pem);
        write(&value["keyFile"], &key);
    }
    if let Some(directory) = value.get("directory").and_then(Value::as_str) {
        fs::create_dir(dir.join(directory)).unwrap();
        fs::write(dir.join(directory).join("example.pem"), format!("{pem}{key}")).unwrap();
    }
    value.get("caFile").iter().for_each(|name| write(name, &pem));
    names(&value["clientCaFiles"]).iter().for_each(|name| write(name, &pem));
    names(&value["clientCertFiles"]).iter().for_each(|name| write(name, &pem));
    names(&value["clientCrlFiles"]).iter().for_each(|name| write(name, &revocations()));
    match value {
        Value::Object(members) => members.values().for_each(|value| certificates(value, dir)),
        Value::Array(values) => values.iter().for_each(|value| certificates(value, dir)),
        _ => {}
    }
}

/// A list that revokes nothing.
fn revocations() -> String {
    use rcgen::{CertificateParams, IsCa, KeyPair, date_time_ymd};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let list = rcgen::CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&rcgen::Issuer::from_params(&params, &key)).unwrap().pem().unwrap()
}

/// Goal: somebody who has just built it can see it work.
/// Method: every command that `demo` prints to send a byte through it is typed as it stands, and gives
/// `hello`; those with OpenSSL show whose certificate came.
#[test]
fn demo() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command
        .arg("demo")
        .current_dir(dir.path())
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().expect("start");
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let ready = waited(SOON, || {
        let ended = child.try_wait().unwrap().is_some();
        (ended || stdout.text().lines().any(|line| line == "ready")).then_some(!ended)
    });
    let said = stdout.text();
    let commands = said.lines().skip_while(|line| !line.starts_with("Send a byte")).skip(1);
    let commands: Vec<&str> = commands.take_while(|line| line.starts_with("  ")).collect();
    let answers: Vec<(&str, Exit)> = commands
        .iter()
        .map(|line| {
            let mut shell = Command::new("bash");
            shell.args(["-c", line]).current_dir(dir.path());
            (*line, run_to_end(shell))
        })
        .collect();
    kill_group(&mut child);
    assert_eq!(ready, Some(true), "{said}{}", stderr.to_end());
    assert_eq!(answers.len(), 5, "{said}");
    for (line, exit) in answers {
        assert!(exit.stdout.contains("hello"), "{line}: {}", exit.said());
        if let Some((_, name)) = line.split_once("-servername ") {
            let name = name.split_whitespace().next().unwrap();
            assert!(exit.stderr.contains(&format!("CN = {name}")), "{line}: {}", exit.said());
            assert!(exit.stderr.contains("Verification: OK"), "{line}: {}", exit.said());
        }
    }
}
