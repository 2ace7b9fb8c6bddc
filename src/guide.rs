//! The guide: short chapters, each for somebody who wants one thing.
//!
//! [storage](mod@storage), [fsm](mod@fsm), [alarms](mod@alarms), [client](mod@client), [object](mod@object): the
//! pieces; of objects also [sql] and [sockets]. [embedded](mod@embedded), [cloudflare](mod@cloudflare): where they
//! run. [testing], [errors], [limits]. [from_typescript]: what a line of the TypeScript helpers becomes.
//! [promises]: what one may rely on, and how it is tested. [compared]: dokit beside other systems.
//!
//! The same pages are in the folder `docs/` of the repository. That their Rust runs is tested here.

/// A chapter is a file of `docs/`. Links between chapters are defined at its end, for readers of the
/// repository; of two definitions the first counts, which here is one that leads to the module.
macro_rules! chapters {
    ($($name:ident = $file:literal)*) => {$(
        #[doc = "[storage]: crate::guide::storage\n[fsm]: crate::guide::fsm\n[alarms]: crate::guide::alarms"]
        #[doc = "[client]: crate::guide::client\n[object]: crate::guide::object\n[testing]: crate::guide::testing"]
        #[doc = "[errors]: crate::guide::errors\n[limits]: crate::guide::limits\n[promises]: crate::guide::promises"]
        #[doc = "[from-typescript]: crate::guide::from_typescript\n[compared]: crate::guide::compared"]
        #[doc = "[sql]: crate::guide::sql\n[sockets]: crate::guide::sockets"]
        #[doc = "[cloudflare]: crate::guide::cloudflare\n"]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $name {}
    )*};
}

chapters! {
    storage = "storage.md"
    fsm = "fsm.md"
    alarms = "alarms.md"
    client = "client.md"
    object = "object.md"
    sql = "sql.md"
    sockets = "sockets.md"
    embedded = "embedded.md"
    cloudflare = "cloudflare.md"
    testing = "testing.md"
    errors = "errors.md"
    limits = "limits.md"
    from_typescript = "from-typescript.md"
    promises = "promises.md"
    compared = "compared.md"
}
