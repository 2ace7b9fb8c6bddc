// How many calls of this process's objects run.
let running = 0;

export const isIdle = () => running === 0;

export async function counted(call) {
  running += 1;
  try {
    return await call();
  } finally {
    running -= 1;
  }
}

// Gives `Outer`, which holds an object of `Class` as `inner`, the methods of that class, each counted while it
// runs. Those in `own` are run in their place, and given the outer object first.
export function countCalls(Outer, Class, own = {}) {
  for (const name of Object.getOwnPropertyNames(Class.prototype)) {
    if (name === "constructor") continue;
    Outer.prototype[name] = function (...given) {
      return counted(() => own[name] ? own[name](this, ...given) : this.inner[name](...given));
    };
  }
  return Outer;
}
