// The examples' entry, for their tests: puts every object to sleep before each request, unless something is
// running. Their sockets stay open. `.ci/workerd` adds the objects' classes.
import unsafe from "workerd:unsafe";
import { counted, countCalls, isIdle } from "./counted.js";
import Worker, * as objects from "./entry.js";

let asleep; // What those who come while the objects fall asleep wait for.

function object(Class) {
  class Counted {
    constructor(state, env) {
      this.inner = new Class(state, env);
    }
  }
  return countCalls(Counted, Class);
}

export default class extends Worker {
  fetch(request) {
    if (isIdle()) asleep = unsafe.evictAllDurableObjects({ webSockets: "hibernate" });
    return counted(async () => {
      await asleep;
      return super.fetch(request);
    });
  }
}
