//! Checks and writes `wrangler.jsonc`, and prints a configuration for workerd: `workers-config --help`.

// Not imported: a library that can be is compiled without link-time optimization, and half as large again.
#[path = "lib.rs"]
mod worker;

fn main() -> std::process::ExitCode {
    worker::configuration().run()
}
