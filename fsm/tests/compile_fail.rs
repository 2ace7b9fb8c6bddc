//! Every way to write a wrong table, and what the compiler says of it.

#[test]
fn a_wrong_table_does_not_build() {
    let tests = trybuild::TestCases::new();
    tests.compile_fail("tests/compile_fail/*.rs");
    tests.pass("tests/compile_pass/*.rs");
}
