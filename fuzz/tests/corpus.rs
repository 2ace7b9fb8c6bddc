//! Replays the inputs that are kept: what once was found, and one of each kind.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use dokit_fuzz::TARGETS;

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn every_input_that_is_kept_passes() {
    // An object's panic is caught by its host: here it counts all the same.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(panic);
    }));
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let folder = corpus.join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{name} has no inputs: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            assert!(
                bytes.len() <= 4096,
                "{} is too large to keep",
                input.display()
            );
            target(&bytes);
            let panics = PANICS.load(Ordering::SeqCst);
            assert_eq!(panics, 0, "an object panicked at {}", input.display());
        }
    }
}

#[test]
fn every_target_is_a_program_and_has_a_folder_and_there_are_no_others() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(here.join(folder)).unwrap();
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                path.file_stem().unwrap().to_str().unwrap().to_owned()
            })
            .collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}
