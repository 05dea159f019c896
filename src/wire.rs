//! Formats on the wire: what strangers send first. No I/O, no clock, bounded memory; every function
//! here is fuzzed.

pub mod client_hello;
pub mod http_host;
pub mod json_line;
pub mod name;
pub mod postgres;
pub mod proxy_header;

/// For fuzzing: what a reader says of these bytes, which must be the same whether they come whole or
/// one by one, and stay the same when it is asked again.
fn however_cut<R: Default, P: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    more: &P,
    read: impl Fn(&mut R, &[u8]) -> P,
) -> P {
    let mut whole = R::default();
    let answer = read(&mut whole, bytes);
    assert_eq!(read(&mut whole, bytes), answer, "asked again");
    let mut drip = R::default();
    let mut dripped = read(&mut drip, &[]);
    for end in 1..=bytes.len() {
        if dripped != *more {
            break;
        }
        dripped = read(&mut drip, bytes.get(..end).unwrap_or_default());
    }
    assert_eq!(dripped, answer, "byte by byte");
    answer
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{client_hello, http_host, postgres, proxy_header};

    /// The corpus of the fuzzers, also where no fuzzer runs.
    fn replay(folder: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files: Vec<_> = folder.read_dir().expect("a corpus").collect();
        assert!(!files.is_empty());
        for file in files {
            target(&std::fs::read(file.expect("a file").path()).expect("readable"));
        }
    }

    #[test]
    fn corpus_of_client_hello() {
        replay("fuzz/corpus/client_hello", client_hello::fuzz);
        replay("tests/data/hellos", client_hello::fuzz);
    }

    #[test]
    fn corpus_of_http_host() {
        replay("fuzz/corpus/http_host", http_host::fuzz);
    }

    #[test]
    fn corpus_of_postgres() {
        replay("fuzz/corpus/postgres", postgres::fuzz);
    }

    #[test]
    fn corpus_of_proxy_header() {
        replay("fuzz/corpus/proxy_header", proxy_header::fuzz);
        replay("tests/data/proxy", proxy_header::fuzz);
    }
}
