// What dokit stores is JSON text, and what a JavaScript program stores are plain values. These two lines read
// either, and write what both read as it was. (dokit reads plain values too: it is only strings that look like
// JSON, such as "17", that are safer as JSON text.)
export const read = async (storage, key) => {
  const value = await storage.get(key);
  if (typeof value !== "string") return value;
  try { return JSON.parse(value); } catch { return value; }
};
export const write = (storage, key, value) => storage.put(key, JSON.stringify(value));
