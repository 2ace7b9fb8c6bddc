// The probe's entry, with doors for its tests:
//
//     POST /-start?now=MS     the clock stands still from now on; the body: the objects that are known
//     GET  /-known            the objects that are known, and the time, for the /-start after a crash
//     POST /-advance?by=MS    moves the clock once nothing runs, or, with &meanwhile=true, at once, and answers
//                             when the alarms that are due by it were tried
//     POST /-disk?broken=true from now on no commit succeeds
//     POST /sleep             puts every object to sleep at once, as workerd does of itself with those that
//                             have been idle for 10 s; their sockets stay open
//
// The platform's alarms ring by the machine's clock. While the clock stands still here, one that is not due
// is set to a time far away, and to the present when the time has come.
import unsafe from "workerd:unsafe";
import { counted, countCalls, isIdle } from "./counted.js";
import Worker, * as objects from "./entry.js";

// Farther from 1970 than the present is: what is later than this is far away.
const FAR = 100 * 365 * 24 * 3600 * 1000;
const machine = Date.now;
let now; // Where the clock stands, if it does.
Date.now = () => now ?? machine();

// Timers ring by that clock: each looks at it from where it was set.
const { setTimeout: wait, clearTimeout: clear } = globalThis;
const timers = new Map();
let timer = 0;
globalThis.setTimeout = (ring, time = 0, ...given) => {
  const number = ++timer;
  const due = Date.now() + time;
  const look = (pause) => timers.set(number, wait(() => {
    if (Date.now() < due) return look(2);
    timers.delete(number);
    ring(...given);
  }, pause));
  look(now === undefined ? time : 2);
  return number;
};
globalThis.clearTimeout = (number) => {
  clear(timers.get(number));
  timers.delete(number);
};

const known = new Map(); // By id: its binding, and of its alarm what was due, and whether it has failed.
let broken = false;

function commits() {
  if (broken) throw new Error("the disk is broken");
}

// An object's storage, as it sees it.
function driven(storage, about) {
  const own = {
    async setAlarm(time) {
      commits();
      time = Number(time);
      if (!(time > 0)) throw new TypeError("setAlarm() cannot be called with an alarm time <= 0");
      about.due = undefined;
      if (now === undefined) return storage.setAlarm(time);
      if (time > now) return storage.setAlarm(time + FAR);
      about.due = time;
      return storage.setAlarm(machine());
    },
    async getAlarm() {
      const time = await storage.getAlarm();
      if (time === null) return null;
      return time > FAR ? time - FAR : about.due ?? time;
    },
    async deleteAlarm() {
      commits();
      return storage.deleteAlarm();
    },
    async put(...pairs) {
      commits();
      return storage.put(...pairs);
    },
    async delete(...keys) {
      commits();
      return storage.delete(...keys);
    },
    transaction(body) {
      return storage.transaction(async (transaction) => {
        const done = await body(transaction);
        commits();
        return done;
      });
    },
  };
  return within(storage, own);
}

function within(inner, own) {
  return new Proxy(inner, {
    get(inner, name) {
      if (name in own) return own[name];
      const value = inner[name];
      return typeof value === "function" ? value.bind(inner) : value;
    },
  });
}

function object(binding, Class) {
  class Driven {
    constructor(state, env) {
      const id = state.id.toString();
      if (!known.has(id)) known.set(id, { binding });
      this.about = known.get(id);
      this.storage = state.storage;
      const storage = driven(state.storage, this.about);
      this.inner = new Class(within(state, { storage }), env);
    }
    // Rings the alarm if it is due, and says whether it has yet to be tried.
    async ring() {
      const time = await this.storage.getAlarm();
      if (time === null) return false;
      if (time > FAR && time - FAR > now) return false;
      if (time <= FAR && time > machine()) {
        // It was set before the clock stood still, for a time that has not come.
        await this.storage.setAlarm(time + FAR);
        return false;
      }
      if (time > FAR) {
        this.about.due = time - FAR;
        await this.storage.setAlarm(machine());
      } else if (this.about.again) {
        // It has failed before: now, and not when the platform would try it again.
        await this.storage.setAlarm(machine());
      }
      this.about.again = false;
      return !this.about.failed;
    }
  }
  const own = {
    async fetch(object, request) {
      if (new URL(request.url).pathname === "/-ring") return Response.json(await object.ring());
      return object.inner.fetch(request);
    },
    async alarm(object, info) {
      const { about } = object;
      about.failed = false;
      try {
        // Where it was set before a crash, or before the clock stood still, that is the machine's time.
        const scheduledTime = about.due ?? Math.min(info.scheduledTime, Date.now());
        await object.inner.alarm({ ...info, scheduledTime });
      } catch (error) {
        about.failed = true;
        throw error;
      }
    },
  };
  return countCalls(Driven, Class, own);
}

const pause = () => new Promise((resolve) => wait(resolve, 1));

async function idle() {
  while (!isIdle()) await pause();
}

async function settle(env) {
  await idle();
  for (const about of known.values()) {
    about.again = about.failed;
    about.failed = false;
  }
  for (let due = true; due; await pause()) {
    due = false;
    for (const [id, { binding }] of [...known]) {
      const namespace = env[binding];
      const answer = await namespace.get(namespace.idFromString(id)).fetch("http://object/-ring");
      due = (await answer.json()) || due;
    }
    await idle();
  }
}

export default class extends Worker {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case "/-start":
        now = Number(searchParams.get("now") ?? machine());
        for (const [id, binding] of await request.json()) known.set(id, { binding });
        return new Response();
      case "/-known":
        return Response.json({ now, known: [...known].map(([id, { binding }]) => [id, binding]) });
      case "/-advance":
        if (!searchParams.has("meanwhile")) await idle();
        now += Number(searchParams.get("by"));
        await settle(this.env);
        return new Response();
      case "/-disk":
        broken = searchParams.get("broken") === "true";
        return new Response();
      case "/sleep":
        await idle();
        await unsafe.evictAllDurableObjects({ webSockets: "hibernate" });
        return new Response();
      default:
        return counted(() => super.fetch(request));
    }
  }
}
export const Echo = object("ECHO", objects.Echo);
export const Plain = object("PLAIN", objects.Plain);
export const Probe = object("PROBE", objects.Probe);
export const Room = object("ROOM", objects.Room);
export const Rows = object("ROWS", objects.Rows);
export const SqlProbe = object("SQL_PROBE", objects.SqlProbe);
