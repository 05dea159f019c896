//! What the tests of TLS share.
