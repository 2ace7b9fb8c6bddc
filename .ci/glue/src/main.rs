//! `glue IN.wasm OUT`: writes what workerd loads into the folder OUT. It does the part of `worker-build`
//! that is needed, in a moment. `glue --bindings IN.wasm OUT` is `wasm-bindgen` for `worker-build` itself, which would
//! fetch it from github.com.

use std::{env, error::Error, fs, path::Path};

use wasm_bindgen_cli_support::Bindgen;

/// The module that workerd begins with. A panic ends a program of wasm for good; as that of `worker-build`
/// does, this one begins another, and makes each object anew in it when it is asked something.
const ENTRY: &str = r#"import { WorkerEntrypoint } from "cloudflare:workers";
import * as worker from "./index.js";
const program = worker.__worker_init_state();
function begin() {
  if (program.criticalError) {
    program.criticalError = false;
    worker.__wbg_reset_state();
  }
}
function lasting(Class) {
  function alive(object) {
    begin();
    if (object.of !== program.instanceId) {
      object.inner = new Class(...object.args);
      object.of = program.instanceId;
    }
    return object.inner;
  }
  class Lasting {
    constructor(...args) {
      this.args = args;
      alive(this);
    }
  }
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(Class.prototype))) {
    if (name === "constructor" || typeof property.value !== "function") continue;
    Lasting.prototype[name] = function (...args) { return alive(this)[name](...args); };
  }
  return Lasting;
}
export default class extends WorkerEntrypoint {
  fetch(request) {
    begin();
    return worker.fetch(request, this.env, this.ctx);
  }
}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (wasm, out, with_entry) = match &*arguments {
        [wasm, out] => (wasm, out, true),
        [option, wasm, out] if option == "--bindings" => (wasm, out, false),
        _ => return Err("usage: glue [--bindings] IN.wasm OUT".into()),
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
    if !with_entry {
        return Ok(());
    }

    let index = out.join("index.js");
    let script = fs::read_to_string(&index)?.replace("import source ", "import ");
    fs::write(&index, &script)?;

    let mut entry = String::from(ENTRY);
    for line in script.lines() {
        let class = line.strip_prefix("export class ");
        if let Some(class) = class.and_then(|rest| rest.split([' ', '{']).next()) {
            entry += &format!("export const {class} = lasting(worker.{class});\n");
        }
    }
    fs::write(out.join("entry.js"), entry)?;
    Ok(())
}
