use std::{env, fs, io, path::PathBuf, process::Command};

/// The files of a new project: what they are called there, and what is in them.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../template/manifest.toml")),
    (".gitignore", include_str!("../template/gitignore")),
    ("README.md", include_str!("../template/README.md")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
    ("src/main.rs", include_str!("../template/src/main.rs")),
    (
        "tests/counter.rs",
        include_str!("../template/tests/counter.rs"),
    ),
];

/// What the template calls itself, as a package and as a crate.
const NAME: (&str, &str) = ("my-objects", "my_objects");

/// Where the template takes dokit from.
const DOKIT: &str = "git = \"https://github.com/dokit-rs/dokit\"";

/// What the project's own name would be mistaken for.
const DEPENDENCIES: [&str; 3] = ["dokit", "tokio", "tracing-subscriber"];

/// A project that is to be made.
pub(crate) struct Project<'a> {
    pub(crate) folder: &'a str,
    /// The checkout of dokit that it uses; the one on GitHub without.
    pub(crate) dokit: Option<PathBuf>,
}

impl Project<'_> {
    /// Makes it. What `cargo new` refuses (a name that no package can have, a folder that is there) is
    /// refused before anything is written.
    pub(crate) fn make(&self) -> Result<(), String> {
        let folder = PathBuf::from(self.folder);
        let name = folder.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| format!("{:?} does not end in a name", self.folder))?;
        if DEPENDENCIES.contains(&name) {
            return Err(format!(
                "{name:?} is what the project depends on: take another name"
            ));
        }
        let dokit = self.source()?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let made = Command::new(cargo)
            .args(["new", "--quiet", "--lib", "--"])
            .arg(&folder)
            .output()
            .map_err(|error| format!("start cargo: {error}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).trim_end().to_owned());
        }
        for (file, text) in FILES {
            let text = text
                .replace(NAME.0, name)
                .replace(NAME.1, &name.replace('-', "_"))
                .replace(DOKIT, &dokit);
            let file = folder.join(file);
            let write = || -> io::Result<()> {
                if let Some(parent) = file.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::write(&file, text)
            };
            write().map_err(|error| format!("write {}: {error}", file.display()))?;
        }
        Ok(())
    }

    /// The key and the value in the project's manifest that say where dokit is.
    fn source(&self) -> Result<String, String> {
        let Some(checkout) = &self.dokit else {
            return Ok(DOKIT.to_owned());
        };
        let path = fs::canonicalize(checkout)
            .map_err(|error| format!("find {}: {error}", checkout.display()))?;
        let path = path
            .to_str()
            .ok_or_else(|| format!("the path {path:?} is not text"))?;
        Ok(format!("path = {path:?}"))
    }
}
