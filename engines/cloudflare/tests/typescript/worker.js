// The Worker in front: `/js/{name}/{method}` calls a tally by the client in JavaScript; the rest goes to the
// gateway of the Worker in Rust. `/suite` runs the suite of all stores.
// @ts-check
import { createClient } from "./client.js";
export { Tally } from "./tally.js";

export default {
  /** @param {Request} request @param {any} env */
  async fetch(request, env) {
    const [, way, name, method] = new URL(request.url).pathname.split("/");
    if (way === "suite") return env.SUITE.get(env.SUITE.newUniqueId()).fetch(request);
    if (way !== "js") return env.OBJECTS.fetch(request);
    const tally = createClient(env.TALLY.get(env.TALLY.idFromName(name)));
    try {
      return Response.json(await tally[method](...await request.json()));
    } catch (error) {
      return Response.json({ threw: error.message });
    }
  },
};
