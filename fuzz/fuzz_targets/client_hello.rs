#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg::wire::client_hello::fuzz(bytes));
