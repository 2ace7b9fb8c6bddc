// The counters of ../objects.rs as Durable Objects, as Cloudflare's documentation writes them.
import { DurableObject } from "cloudflare:workers";

const path = (request) => new URL(request.url).pathname.split("/");

export class Counter extends DurableObject {
  async fetch(request) {
    const method = path(request)[3];
    const [amount] = await request.json();
    let count = (await this.ctx.storage.get("count")) ?? 0;
    if (method === "increment") {
      count += amount;
      await this.ctx.storage.put("count", count);
    }
    return Response.json(count);
  }
}

export class SqlCounter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS counts (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)");
  }

  async fetch(request) {
    const method = path(request)[3];
    const [amount] = await request.json();
    const { sql } = this.ctx.storage;
    if (method === "increment") {
      const statement =
        "INSERT INTO counts VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET count = count + excluded.count RETURNING count";
      return Response.json(sql.exec(statement, amount).one().count);
    }
    const [row] = sql.exec("SELECT count FROM counts WHERE id = 1").toArray();
    return Response.json(row?.count ?? 0);
  }
}

export default {
  fetch(request, env) {
    const [, namespace, name] = path(request);
    const objects = env[namespace];
    return objects.get(objects.idFromName(name)).fetch(request);
  },
};
