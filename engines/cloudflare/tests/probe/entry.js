// The probe's Worker as the conformance suite needs it: with a clock that stands still until it is moved,
// objects that can be put to sleep, and a disk that can be broken. `.ci/workerd` makes it the module that
// workerd begins with; what it wraps is the one that any Worker of dokit begins with.
//
// The platform's alarms ring by the real clock. Those that are not due by ours are set to a time far away,
// and to the present when ours has reached theirs.
import Gateway, * as objects from "./objects.js";
import * as program from "./index.js";

const FAR = 50 * 365 * 24 * 3600 * 1000;
const real = Date.now;
let now = real();
Date.now = () => now;

let told; // The clock is told by whoever drives this, before anything else is asked.
const ready = new Promise((resolve) => { told = resolve; });
let running = 0;
let broken = false;
const known = new Map(); // By id: where it is bound, and what was due when its alarm was made to ring.
const breaks = () => { if (broken) throw new Error("the disk is broken: SQLITE_IOERR"); };

function storageOf(storage, id) {
  const about = () => known.get(id);
  const own = {
    async setAlarm(time) {
      breaks();
      time = Number(time);
      if (time <= now) {
        about().due = time;
        return storage.setAlarm(real());
      }
      return storage.setAlarm(time + FAR);
    },
    async getAlarm() {
      const time = await storage.getAlarm();
      if (time === null) return null;
      return time > FAR ? time - FAR : about().due ?? time;
    },
    async deleteAlarm() { breaks(); return storage.deleteAlarm(); },
    async put(...args) { breaks(); return storage.put(...args); },
    async delete(...args) { breaks(); return storage.delete(...args); },
    transaction: (body) => storage.transaction(async (txn) => {
      const done = await body(txn);
      breaks();
      return done;
    }),
  };
  return new Proxy(storage, {
    get(storage, name) {
      const value = own[name] ?? storage[name];
      return typeof value === "function" && !own[name] ? value.bind(storage) : value;
    },
  });
}

const binding = (name) => name.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase();

function driven(name, Class) {
  const handlers = {
    async fetch(request) {
      await ready;
      const { pathname } = new URL(request.url);
      if (pathname === "/-ring") return Response.json(await this.ring());
      return this.inner.fetch(request);
    },
    async alarm(info) {
      await ready;
      const about = known.get(this.id);
      about.failed = false;
      try {
        await this.inner.alarm({ ...info, scheduledTime: about.due ?? now });
      } catch (error) {
        about.failed = true;
        throw error;
      }
    },
  };
  class Driven {
    constructor(state, env) {
      this.id = state.id.toString();
      this.storage = state.storage;
      if (!known.has(this.id)) known.set(this.id, { binding: binding(name), failed: false });
      const storage = storageOf(state.storage, this.id);
      this.inner = new Class(new Proxy(state, {
        get(state, name) {
          if (name === "storage") return storage;
          const value = state[name];
          return typeof value === "function" ? value.bind(state) : value;
        },
      }), env);
    }
    // Makes the alarm ring if it is due, and says whether there is still one that has to.
    async ring() {
      const time = await this.storage.getAlarm();
      if (time === null) return false;
      if (time > FAR) {
        if (time - FAR > now) return false;
        known.get(this.id).due = time - FAR;
        await this.storage.setAlarm(real());
        return true;
      }
      return !known.get(this.id).failed;
    }
  }
  for (const handler of Object.getOwnPropertyNames(Class.prototype)) {
    if (handler === "constructor") continue;
    const run = handlers[handler] ?? function (...args) { return this.inner[handler](...args); };
    Driven.prototype[handler] = async function (...args) {
      running += 1;
      try {
        return await run.apply(this, args);
      } finally {
        running -= 1;
      }
    };
  }
  return Driven;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 2));

async function idle() {
  while (running > 0) await pause();
}

// Lets ring whatever is due, until nothing is.
async function settle(env) {
  for (const about of known.values()) about.again = true;
  for (;;) {
    await idle();
    let due = false;
    for (const [id, about] of [...known]) {
      if (about.again && about.failed) {
        // Now, and not when the platform would try it again.
        about.failed = false;
        about.again = false;
      }
      const stub = env[about.binding].get(env[about.binding].idFromString(id));
      const ring = await stub.fetch("http://object/-ring");
      due = (await ring.json()) || due;
    }
    await idle();
    if (!due) return;
    await pause();
  }
}

export default class extends Gateway {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case "/-start":
        now = Number(searchParams.get("now")) || now;
        for (const [id, binding] of await request.json()) known.set(id, { binding, failed: false });
        told();
        return Response.json(now);
      case "/-known":
        return Response.json([[...known].map(([id, about]) => [id, about.binding]), now]);
      case "/-advance":
        now += Number(searchParams.get("by"));
        await settle(this.env);
        return Response.json(now);
      case "/-sleep":
        await idle();
        // What the objects had in memory is gone, as when the platform puts them to sleep.
        program.__wbg_reset_state();
        return new Response();
      case "/-disk":
        broken = searchParams.get("broken") === "true";
        return new Response();
      default:
        return super.fetch(request);
    }
  }
}
export const Plain = driven("Plain", objects.Plain);
export const Probe = driven("Probe", objects.Probe);
export const Rows = driven("Rows", objects.Rows);
export const SqlProbe = driven("SqlProbe", objects.SqlProbe);
