//! A ClientHello as bytes, for the works where TLS passes through the proxy and nobody ends it.

use std::sync::OnceLock;

use crate::secure;
use crate::work::Version;

/// Where the random part starts: after the record's header, the message's, and the version. It may
/// hold anything, so it also holds the mark of a request.
pub const RANDOM_AT: usize = 5 + 4 + 2;

/// The bytes of one; always the same ones, as long as the process lives.
pub fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        // All that varies in length is ours to choose, so that every process makes as many bytes.
        secure::Client::new(Version::Tls13, false)
            .and_then(|client| client.session())
            .map(|mut session| session.first_flight())
            .unwrap_or_else(|error| {
                unreachable!("a fixed configuration makes a ClientHello: {error}")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_record_with_the_name_in_it() {
        let hello = bytes();
        assert_eq!((hello[0], hello[5]), (22, 1), "a handshake record, a ClientHello");
        let length = usize::from(hello[3]) << 8 | usize::from(hello[4]);
        assert_eq!(hello.len(), 5 + length);
        assert_eq!(hello[9..11], [3, 3], "the version before the random part");
        let name = secure::NAME.as_bytes();
        assert!(hello.windows(name.len()).any(|part| part == name));
    }
}
