//! Whatever labels and files say, what comes out can be served.

use proptest::prelude::*;

use super::*;

fn key() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "sozune",
        "thalweg",
        "tcp",
        "udp",
        "http",
        "db",
        "enable",
        "network",
        "entrypoint",
        "port",
        "priority",
        "loadBalancer",
        "weight",
        "plugins",
        "x",
        "",
    ]);
    prop::collection::vec(parts, 1..6).prop_map(|parts| parts.join("."))
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "true", "false", "postgres", "redis", "0", "5432", "-1", "bridge"
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let sound = Just(BTreeMap::from([
        ("sozune.enable".to_owned(), "true".to_owned()),
        ("sozune.tcp.db.entrypoint".to_owned(), "postgres".to_owned()),
    ]));
    let any = prop::collection::btree_map(key(), value(), 0..12);
    (sound, any).prop_map(|(mut sound, any)| {
        sound.extend(any);
        sound
    })
}

proptest! {
    #[test]
    fn each_listener_has_one_service_that_is_sound(
        containers in prop::collection::vec(labels(), 0..6),
    ) {
        let mut case = Case::seed();
        for (at, labels) in containers.into_iter().enumerate() {
            let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            case = case.container(&format!("c{at}"), &labels);
        }
        let outcome = case.run();
        for id in ["sozune/postgres", "sozune/redis"] {
            for target in outcome.targets(id) {
                if target["reject"] != true {
                    prop_assert!(target["port"].as_u64().unwrap() > 0);
                    prop_assert!(target["tier"].as_u64().unwrap_or(0) < 16);
                    prop_assert!(target["weight"].as_u64().unwrap_or(1) <= 65_535);
                    prop_assert!(config_takes(target["host"].as_str().unwrap()));
                }
            }
        }
    }

    #[test]
    fn a_file_of_any_text_is_read_or_told(text in ".{0,200}", yaml in "(proxy|tcp|services|labels|name|listen|- |: |\n|  |[a-z0-9.=\"'])*") {
        for text in [text, yaml] {
            let _ = Case::default().file("any.yaml", &text).run();
        }
    }
}

fn config_takes(host: &str) -> bool {
    crate::config::host(host).is_ok()
}
