//! What the compiler says about a wrong object.

#[test]
fn a_wrong_object_does_not_compile_and_says_why() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
