//! Hellos of real clients, and hellos by hand that are wrong in one way each.

use super::*;

#[test]
fn empty() {
    assert_eq!(Reader::default().read(b""), Progress::More);
}
