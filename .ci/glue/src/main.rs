//! `glue IN.wasm OUT`: writes what workerd loads into the folder OUT. It does the part of `worker-build`
//! that is needed, which cannot be used as it is: it wants rustup's wasm target and fetches tools from
//! github.com.

use std::{env, error::Error, fs, path::Path};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [wasm, out] = &*arguments else {
        return Err("usage: glue IN.wasm OUT".into());
    };
    let out = Path::new(out);
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(wasm)
        .out_name("index")
        .module(true)?
        .typescript(false)
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate(out)?;

    let index = out.join("index.js");
    let script = fs::read_to_string(&index)?.replace("import source ", "import ");
    fs::write(&index, &script)?;

    let mut entry = String::from(
        "import { WorkerEntrypoint } from \"cloudflare:workers\";\n\
         import * as worker from \"./index.js\";\n\
         export default class extends WorkerEntrypoint {\n\
         \x20 fetch(request) { return worker.fetch(request, this.env, this.ctx); }\n\
         }\n",
    );
    for line in script.lines() {
        let class = line.strip_prefix("export class ");
        if let Some(class) = class.and_then(|rest| rest.split([' ', '{']).next()) {
            entry += &format!("export {{ {class} }} from \"./index.js\";\n");
        }
    }
    fs::write(out.join("entry.js"), entry)?;
    Ok(())
}
