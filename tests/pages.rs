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
        "cli",
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
        links.extend(definition(line).map(|(_, target)| target.to_owned()));
    }
    links
}

/// The name and the target of `[name]: target`, where the line is one.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix('[')?.split_once("]: ")?;
    Some((name, rest.split_whitespace().next()?))
}

/// The name of the test that `[name]: target "test"` promises at its target.
fn promised_test(line: &str) -> Option<(&str, &str)> {
    let (_, target) = definition(line)?;
    let (_, title) = line.split_once(" \"")?;
    Some((target, title.strip_suffix('"')?))
}

/// The lines of a page's blocks of shell commands.
fn commands(page: &str) -> Vec<&str> {
    let mut within = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(kind) => within = !within && matches!(kind, "sh" | "text"),
            None if within => commands.push(line.trim()),
            None => {}
        }
    }
    commands
}

/// The name that a heading goes by in a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Where in this repository a link leads.
fn within_the_repository(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix(REPOSITORY)?;
    let kinds = ["blob/main/", "tree/main/"];
    let file = kinds.iter().find_map(|kind| path.strip_prefix(kind));
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join(file.unwrap_or(path)))
}

#[test]
fn what_a_page_links_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    let mut checked = 0;
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if let Some(target) = within_the_repository(path) {
                target
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

#[test]
fn each_link_by_a_name_is_defined_on_its_page() {
    let mut undefined = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let defined: Vec<_> = text.lines().filter_map(definition).collect();
        let mut code = false;
        for line in text.lines() {
            code ^= line.trim_start().starts_with("```");
            let quoted = line
                .split('`')
                .skip(1)
                .step_by(2)
                .any(|part| part.contains("]["));
            for rest in line.split("][").skip(1).filter(|_| !code && !quoted) {
                let name = rest.split(']').next().unwrap_or_default();
                if !defined.iter().any(|(defined, _)| *defined == name) {
                    undefined.push(format!("{}: {name}", page.display()));
                }
            }
        }
    }
    assert!(undefined.is_empty(), "{}", undefined.join("\n"));
}

#[test]
fn each_cell_of_the_comparison_leads_to_what_shows_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let whole = fs::read_to_string(root.join("docs/compared.md")).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, short) = readme.split_once("## Beside others").unwrap();
    let (short, _) = short.split_once("\n## ").unwrap();
    for (text, columns) in [(whole.as_str(), 8), (short, 5)] {
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
        let mut cells = 0;
        for row in rows {
            let row: Vec<_> = row.trim_matches('|').split('|').collect();
            assert_eq!(row.len(), columns, "{row:?}");
            for cell in &row[1..] {
                let linked = cell.contains("][") || cell.contains("](");
                assert!(linked, "{cell} of {}", row[0]);
                cells += 1;
            }
        }
        assert!(cells > 40, "{cells} cells were found");
    }
}

#[test]
fn a_test_that_a_page_names_is_there() {
    let mut named = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (target, test) in text.lines().filter_map(promised_test) {
            let file = within_the_repository(target).expect("it is a file of this repository");
            let source = fs::read_to_string(&file).unwrap_or_default();
            assert!(
                source.contains(&format!("fn {test}")),
                "{}: there is no {test} in {target}",
                page.display()
            );
            named += 1;
        }
    }
    assert!(named > 10, "{named} tests are named");
}

#[test]
fn the_cases_that_the_promises_name_are_in_the_suite() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let suite: String = ["engine", "sql", "sockets"]
        .map(|file| fs::read_to_string(root.join(format!("conformance/src/{file}.rs"))).unwrap())
        .concat();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|line| line.split('`').skip(1).step_by(2));
    let cases: Vec<_> = quoted.filter(|name| !name.contains(['-', '.'])).collect();
    assert!(cases.len() > 15, "{cases:?}");
    for case in cases {
        assert!(suite.contains(&format!(" {case},\n")), "{case}");
    }
}

#[test]
fn a_command_that_a_page_shows_names_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = [
        ("dokit", ""),
        ("dokit-benches", "benches"),
        ("dokit-cli", "cli"),
        ("dokit-cloudflare", "engines/cloudflare"),
        ("dokit-embedded", "engines/embedded"),
        ("dokit-storage", "storage"),
    ];
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // Tables have commands, too: each is between backticks.
        let quoted = text.lines().filter(|line| line.starts_with('|'));
        let quoted = quoted.flat_map(|line| line.split('`').skip(1).step_by(2));
        for command in commands(&text).into_iter().chain(quoted) {
            let words: Vec<_> = command.split_whitespace().collect();
            let after = |flag| {
                let at = words.iter().position(|word| *word == flag)?;
                words.get(at + 1).copied()
            };
            let file = match (words.first(), after("--example")) {
                (Some(&"cargo"), Some("NAME")) => continue,
                (Some(&"cargo"), Some(example)) => {
                    let package = after("-p").unwrap_or("dokit");
                    let folder = packages.iter().find(|(name, _)| *name == package);
                    let (_, folder) = folder.unwrap_or_else(|| panic!("{package}: {command}"));
                    let examples = root.join(folder).join("examples");
                    // A file, or a folder with a program in it.
                    let folder = examples.join(example).join("main.rs");
                    Some(folder)
                        .filter(|file| file.exists())
                        .unwrap_or_else(|| examples.join(example).with_extension("rs"))
                }
                (Some(script), _) if script.starts_with(".ci/") || *script == "fuzz/run" => {
                    root.join(script)
                }
                _ => continue,
            };
            assert!(file.exists(), "{}: {command}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked} commands were found");
}
