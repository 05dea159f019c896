//! What the README tells a reader to type exists.

use std::fs;
use std::path::Path;

use crate::support::proxy::thalweg;

/// Goal: no command of the README is stale.
/// Method: each line of its `sh` blocks that starts with `thalweg`, `cargo` or a script: the
/// subcommand has a `--help`, the script and each file named under the source tree exist.
#[test]
fn commands_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(readme) = fs::read_to_string(root.join("README.md")) else {
        panic!("README.md is missing");
    };
    let mut in_block = false;
    let mut commands = 0;
    for line in readme.lines() {
        if line.starts_with("```") {
            in_block = line.starts_with("```sh") && !in_block;
            continue;
        }
        if !in_block {
            continue;
        }
        let line = line.trim_start_matches("$ ").trim_start_matches("sudo ");
        let words: Vec<&str> = line.split_whitespace().take_while(|word| *word != "#").collect();
        let Some((program, rest)) = words.split_first() else {
            continue;
        };
        let program = program.trim_start_matches("./").trim_start_matches("target/release/");
        match program {
            "thalweg" => {
                commands += 1;
                if let Some(command) = rest.first().filter(|word| !word.starts_with('-')) {
                    let exit = thalweg(root, &[command, "--help"]);
                    assert_eq!(exit.code(), Some(0), "{line}");
                }
            }
            "cargo" => commands += 1,
            _ if program.starts_with("scripts/") => {
                commands += 1;
                assert!(root.join(program).is_file(), "{program} of: {line}");
            }
            _ => {}
        }
        for word in &words {
            let named = ["config/", "scripts/", "perf/", "tests/", "docs/"];
            if named.iter().any(|folder| word.starts_with(folder)) && !word.contains('*') {
                assert!(root.join(word).exists(), "{word} of: {line}");
            }
        }
    }
    assert!(commands > 0, "the README shows how to run it");
}
