//! Misuse that must not compile, and what the compiler says about it.

#[test]
fn misuse_of_a_schema_is_refused_where_it_stands() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
    cases.pass("tests/pass/private_schema_without_warnings.rs");
}
