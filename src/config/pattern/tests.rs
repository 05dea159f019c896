use proptest::prelude::*;

use super::*;

fn names(text: &str) -> Pattern {
    Pattern::of_names(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}

#[test]
fn read_by_the_text_alone() {
    let table = [
        ("*", "any name, or none"),
        ("**", "any name, or none"),
        ("Wildcard(*)", "any name, or none"),
        ("db.example.com", "exactly db.example.com"),
        ("DB_1.Example.COM.", "exactly db_1.example.com"),
        ("Wildcard(db.internal)", "exactly db.internal"),
        ("bücher.example", "exactly xn--bcher-kva.example"),
        ("BÜCHER。example", "exactly xn--bcher-kva.example"),
        ("*.example.com", "glob *.example.com"),
        ("*.Bücher.example.", "glob *.xn--bcher-kva.example"),
        ("db-*", "glob db-*"),
        ("a***b", "glob a*b"),
        ("Wildcard(.*read.*)", "glob .*read.*"),
        (".*read.*", "regex ^(?:.*read.*)$"),
        ("a.*", "regex ^(?:a.*)$"),
        ("(a|b)[.]c", "regex ^(?:(a|b)[.]c)$"),
        ("Regex(db)", "regex ^(?:db)$"),
        ("Regex(*)", ""),
        ("regex(db)", "regex ^(?:regex(db))$"),
        ("a b", "regex ^(?:a b)$"),
        ("", ""),
        (".", ""),
        ("Wildcard()", ""),
        ("a)(b", ""),
        ("(a", ""),
        ("[a", ""),
        ("(?=a)b", ""),
        ("(a)\\1", ""),
        ("((a{1000}){1000}){1000}", ""),
        ("b*ü.example", ""),
        ("\u{ad}.example", ""),
    ];
    for (text, expected) in table {
        let read = Pattern::of_names(text).map(|pattern| pattern.describe());
        assert_eq!(read.clone().unwrap_or_default(), expected, "{text}: {read:?}");
    }
    assert!(Pattern::of_names(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
}

#[test]
fn faults_say_what_and_where() {
    let fault = |text| Pattern::of_names(text).expect_err(text);
    assert_eq!(
        fault("ab(c").message,
        "`ab(c` is not a regular expression: unclosed group (character 3)"
    );
    assert!(fault("(?!a).*").hint.is_some_and(|hint| hint.contains("first that matches")));
    assert!(fault("\\p{L}+").hint.is_some_and(|hint| hint.contains("[a-z0-9]")));
    assert!(fault("Regex(*.a)").hint.is_some_and(|hint| hint.contains("Wildcard")));
    assert!(fault("((a{1000}){1000}){1000}").message.contains("too large"));
}

#[test]
fn the_whole_name_in_any_case_without_its_dot() {
    let table = [
        ("db.example.com", "DB.example.COM.", true),
        ("db.example.com", "xdb.example.com", false),
        ("db.example.com", "db.example.com.x", false),
        ("db.example.com", "dbxexample.com", false),
        ("*.example.com", "a.b.EXAMPLE.com", true),
        ("*.example.com", "a.example.com.", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", "aexample.com", false),
        ("db-*.x", "db-1.2.x", true),
        ("a*b*c", "abbbc", true),
        ("a*b*c", "acb", false),
        (".*read.*", "pg-read.example.com", true),
        (".*read.*", "READ", true),
        (".*read.*", "write", false),
        ("a|b", "ab", false),
        ("a|b", "b", true),
        ("(?m)a$|x", "a\nb", false),
        ("bücher.example", "xn--bcher-kva.example", true),
    ];
    for (pattern, name, expected) in table {
        assert_eq!(names(pattern).matches(Some(name)), expected, "{pattern} {name}");
    }
    assert!(names("*").matches(None));
    for pattern in ["a", "*.a", "a*", ".*", "Regex(.*)"] {
        assert!(!names(pattern).matches(None), "{pattern}");
    }
}

#[test]
fn texts_of_certificates_stay_as_they_are() {
    let text = |pattern| Pattern::of_text(pattern).expect("sound");
    assert!(text("Müller").matches(Some("Müller")));
    assert!(!text("Müller").matches(Some("xn--mller-kva")));
    assert!(text("Example Inc.").matches(Some("example inc.")));
    assert!(!text("a.b").matches(Some("a.b.")));
    assert!(text("spiffe://td/*").kind() == Kind::Regex);
    assert!(text("Wildcard(spiffe://td/*)").matches(Some("spiffe://td/ns/x")));
}

#[test]
fn the_first_that_holds_is_found() {
    let patterns: Vec<_> = ["b.x", "*.x", ".*a.*", "a.x", "*", "a.x", "*.a.x"].map(names).into();
    let table = NameTable::new(&patterns);
    let mut asked = Vec::new();
    let none = table.first(Some("a.x"), |index| {
        asked.push(index);
        false
    });
    assert_eq!((none, asked), (None, vec![1, 2, 3, 4, 5]));
    assert_eq!(table.first(Some("b.x"), |_| true), Some(0));
    assert_eq!(table.first(Some("c.a.x"), |index| index > 4), Some(6));
    assert_eq!(table.first(None, |_| true), Some(4));
    assert_eq!(NameTable::new([]).first(Some("a"), |_| true), None);
}

/// Patterns of few letters, so that many of them meet.
fn any_pattern() -> impl Strategy<Value = String> {
    let label = "[ab]{1,2}";
    prop_oneof![
        proptest::collection::vec(label, 1..4).prop_map(|labels| labels.join(".")),
        proptest::collection::vec(label, 1..3).prop_map(|labels| format!("*.{}", labels.join("."))),
        "[ab.*]{1,6}",
        "(\\.\\*)?[ab]{0,2}(\\.\\*)?[ab|]{0,3}",
        Just("*".to_owned()),
    ]
}

proptest! {
    /// What the table finds is what trying every pattern in order finds, also if the first that
    /// matches do not hold.
    #[test]
    fn the_table_is_the_patterns_in_order(
        texts in proptest::collection::vec(any_pattern(), 0..200),
        name in proptest::option::of("[ab]{1,2}(\\.[ab]{1,2}){0,3}|[ab.]{0,8}|\\PC{0,4}"),
        refused in proptest::collection::hash_set(0_usize..200, 0..150),
    ) {
        let patterns: Vec<_> =
            texts.iter().filter_map(|text| Pattern::of_names(text).ok()).collect();
        // As the readers of names hand them over.
        let name = name.map(|name| name.trim_end_matches('.').to_lowercase());
        let name = name.as_deref();
        let table = NameTable::new(&patterns);
        let mut asked = Vec::new();
        let found = table.first(name, |index| {
            asked.push(index);
            !refused.contains(&index)
        });
        let mut expected = Vec::new();
        let slow = (0..patterns.len()).find(|index| {
            let takes = patterns[*index].matches(name);
            if takes {
                expected.push(*index);
            }
            takes && !refused.contains(index)
        });
        prop_assert_eq!(found, slow);
        prop_assert_eq!(asked, expected);
    }
}
