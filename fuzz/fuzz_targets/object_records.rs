#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dokit_fuzz::object_records(bytes));
