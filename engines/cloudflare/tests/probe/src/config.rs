//! Prints the configuration for workerd: `probe-config --help`.

// Not imported: see `examples/workers`.
#[path = "lib.rs"]
mod worker;

fn main() -> std::process::ExitCode {
    worker::configuration().run()
}
