//! Request heads.

use super::*;

#[test]
fn empty() {
    assert_eq!(Reader::default().read(b""), Progress::More);
}
