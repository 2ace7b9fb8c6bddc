#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dokit_fuzz::imports(bytes));
