//! The pages that people read: what they point at is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

const REPOSITORY: &str = "https://github.com/dokit-rs/dokit/";

/// The pages of the repository, from its root.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "",
        "docs",
        "storage",
        "fsm",
        "alarms",
        "client",
        "object",
        "engines/embedded",
        "engines/cloudflare",
        "benches",
        "fuzz",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("the folder is there"));
    let mut pages: Vec<_> = files
        .map(|file| file.expect("it can be listed").path())
        .collect();
    pages.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// Where the links of a page lead, as they are written: `[..](here)`, and `[..]: here` on a line of its own.
fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        // What is quoted is no link.
        let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let inline = text.split("](").skip(1);
        links.extend(inline.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
        if let Some((_, target)) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
        {
            links.push(target.trim().to_owned());
        }
    }
    links
}

/// The name that a heading goes by in a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn what_a_page_links_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    let mut checked = 0;
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if let Some(rest) = path.strip_prefix(REPOSITORY) {
                let path = ["blob/main/", "tree/main/"]
                    .iter()
                    .find_map(|kind| rest.strip_prefix(kind));
                root.join(path.unwrap_or(rest))
            } else if path.is_empty() {
                page.clone()
            } else if path.contains("://") || path.contains("::") || !path.contains(['.', '/']) {
                continue; // elsewhere, or an item of Rust, which rustdoc checks
            } else {
                page.with_file_name("").join(path)
            };
            checked += 1;
            let has_heading = || {
                let text = fs::read_to_string(&target).unwrap_or_default();
                text.lines()
                    .any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            if !target.exists() || !heading.is_empty() && !has_heading() {
                let page = page.strip_prefix(root).unwrap().display();
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(checked > 50, "{checked} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
