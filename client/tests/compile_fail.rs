//! What the compiler says about a wrong API.

// Without the feature, there is one transport less for the compiler to tell of.
#![cfg(feature = "reqwest")]

#[test]
fn a_misuse_of_the_macros_is_told_in_words() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
