/// The name of the binding that leads to a namespace's objects, as the Worker's configuration has to
/// give it: the namespace in capitals, with `_` for `-`.
#[must_use]
pub fn binding_name(namespace: &str) -> String {
    namespace.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::binding_name;

    #[test]
    fn a_binding_is_the_namespace_in_capitals() {
        assert_eq!(binding_name("counter"), "COUNTER");
        assert_eq!(binding_name("chat-room"), "CHAT_ROOM");
        assert_eq!(binding_name("a1-b2"), "A1_B2");
    }
}
