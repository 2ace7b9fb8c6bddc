// A Durable Object as it is written without dokit: plain values in storage, methods by a switch in `fetch`,
// the name of the alarm's action under a key.
// @ts-check
import { read } from "./stored.js";

export class Tally {
  /** @param {DurableObjectState} state */
  constructor(state) {
    this.storage = state.storage;
  }

  /** @param {Request} request */
  async fetch(request) {
    const method = new URL(request.url).pathname.slice(1);
    const args = await request.json();
    switch (method) {
      case "increment": {
        const count = ((await read(this.storage, "count")) ?? 0) + args[0];
        await this.storage.put("count", count);
        return Response.json(count);
      }
      case "getCount":
        return Response.json((await read(this.storage, "count")) ?? 0);
      case "reset":
        await this.storage.delete("count");
        return Response.json(null);
      case "fill":
        await this.storage.put({
          text: "from javascript",
          number: 0.1,
          flag: true,
          nothing: null,
          list: [1, 2, 3],
          metadata: { owner: "ada", tags: undefined },
          date: new Date("2026-11-21T12:00:00Z"),
        });
        return Response.json(null);
      case "kinds": {
        const names = ["text", "number", "flag", "nothing", "list", "metadata", "date"];
        const values = await Promise.all(names.map((name) => read(this.storage, name)));
        return Response.json(Object.fromEntries(names.map((name, at) => [name, values[at]])));
      }
      case "fillOddly":
        await this.storage.put({
          map: new Map([["a", 1]]),
          bytes: new Uint8Array([1, 2]),
          big: 1n,
          notANumber: NaN,
          nested: { inside: [new Set(["a"])] },
        });
        return Response.json(null);
      case "remind":
        await this.storage.put("__alarm_action", "count-hundred");
        await this.storage.setAlarm(Date.now() + args[0]);
        return Response.json(null);
      default:
        return new Response("Not Found", { status: 404 });
    }
  }

  async alarm() {
    const action = await read(this.storage, "__alarm_action");
    const count = (await read(this.storage, "count")) ?? 0;
    // Nothing is awaited between the two: they are one transaction of the platform's.
    this.storage.delete("__alarm_action");
    if (action === "count-hundred") this.storage.put("count", count + 100);
  }
}
