use dokit_object::testing::TestHost;

struct Counter;

fn main() {
    let _ = TestHost::new().object::<Counter>();
}
