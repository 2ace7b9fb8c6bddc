use dokit_storage::{Family, Memory, Schema, TypedStorage};

#[derive(Schema)]
struct Settings {
    #[schema(prefix = "pref:")]
    prefs: Family<String>,
}

fn main() {
    let mut storage = TypedStorage::<Settings, _>::new(Memory::new());
    let _ = storage.put(Settings::PREFS.key("theme"), &7);
}
