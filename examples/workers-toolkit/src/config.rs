//! Checks and writes `wrangler.jsonc`, and prints a configuration for workerd: `workers_toolkit-config --help`.

use dokit_cloudflare::Configuration;

fn main() -> std::process::ExitCode {
    let classes = [
        ("Reminders", "reminders"),
        ("Scores", "scores"),
        ("Tickets", "tickets"),
        ("Visits", "visits"),
    ];
    Configuration::new(env!("CARGO_PKG_NAME"), env!("CARGO_MANIFEST_DIR"), classes).run()
}
