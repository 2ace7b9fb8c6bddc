//! Misuse that must not compile, and what the compiler says about it.

#[test]
fn misuse_of_a_schema_is_refused_where_it_stands() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
    if cfg!(feature = "garde") {
        cases.compile_fail("tests/compile_fail_with_garde/*.rs");
    } else {
        cases.compile_fail("tests/compile_fail_without_garde/*.rs");
    }
    if !cfg!(feature = "sqlite") {
        // What it lists are the stores there are.
        cases.compile_fail("tests/compile_fail_without_sqlite/*.rs");
    }
    cases.pass("tests/pass/*.rs");
}
