#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thalweg::wire::proxy_header::fuzz(bytes));
