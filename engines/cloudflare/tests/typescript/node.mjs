// The same client in node, over HTTP: `node node.mjs http://127.0.0.1:8787/tally/a` counts, and says what it saw.
// @ts-check
import { createClient } from "./client.js";

const address = process.argv[2];
const tally = createClient({
  fetch: (request) => fetch(address + new URL(request.url).pathname, {
    method: request.method,
    headers: request.headers,
    body: request.body,
    duplex: "half",
  }),
});
const seen = [];
seen.push(await tally.reset());
seen.push(await tally.increment(5));
seen.push(await tally.increment(-2));
seen.push(await tally.getCount());
seen.push(await tally.fly().catch((/** @type {Error} */ error) => error.message));
console.log(JSON.stringify(seen));
