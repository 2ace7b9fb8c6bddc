// The examples' entry, for their tests: puts every object to sleep before each request, unless something is
// running. Their sockets stay open. `.ci/workerd` adds the objects' classes.
import unsafe from "workerd:unsafe";
import Worker, * as objects from "./entry.js";

let running = 0;
let asleep; // What those who come while the objects fall asleep wait for.

async function counted(run) {
  running += 1;
  try {
    return await run();
  } finally {
    running -= 1;
  }
}

function object(Class) {
  class Counted {
    constructor(state, env) {
      this.inner = new Class(state, env);
    }
  }
  for (const name of Object.getOwnPropertyNames(Class.prototype)) {
    if (name === "constructor") continue;
    Counted.prototype[name] = function (...given) {
      return counted(() => this.inner[name](...given));
    };
  }
  return Counted;
}

export default class extends Worker {
  fetch(request) {
    if (running === 0) asleep = unsafe.evictAllDurableObjects({ webSockets: "hibernate" });
    return counted(async () => {
      await asleep;
      return super.fetch(request);
    });
  }
}
