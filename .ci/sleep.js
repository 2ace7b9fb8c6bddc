// The probe's entry, with a door for its tests: POST /sleep puts every object to sleep at once, as workerd
// does of itself with those that have been idle for 10 s. Their sockets stay open.
import unsafe from "workerd:unsafe";
import Worker from "./entry.js";
export * from "./entry.js";
export default class extends Worker {
  async fetch(request) {
    if (new URL(request.url).pathname !== "/sleep") return super.fetch(request);
    await unsafe.evictAllDurableObjects({ webSockets: "hibernate" });
    return new Response();
  }
}
