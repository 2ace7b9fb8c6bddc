// The client of `createDOClient`: each method is a POST of a JSON array to a path of its name.
// @ts-check

/**
 * @param {{ fetch(request: Request): Promise<Response> }} stub a stub, or anything that fetches
 * @returns {Record<string, (...args: unknown[]) => Promise<any>>}
 */
export function createClient(stub) {
  return new Proxy({}, {
    get: (_, method) => async (/** @type {unknown[]} */ ...args) => {
      const response = await stub.fetch(new Request(`https://do-rpc.internal/${String(method)}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(args),
      }));
      if (response.ok) return response.json();
      const text = await response.text();
      let message = text;
      try { message = JSON.parse(text).error ?? text; } catch { /* it is no JSON */ }
      throw new Error(`call of ${JSON.stringify(method)} failed (${response.status}): ${message}`);
    },
  });
}
