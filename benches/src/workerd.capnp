using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "objects", worker = .objects),
    (name = "disk", disk = (path = "{data}", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "objects")],
);

# preventEviction: or it would close idle objects, which syncs, while another server is measured.
const objects :Workerd.Worker = (
  compatibilityDate = "2026-08-01",
  durableObjectStorage = (localDisk = "disk"),
  durableObjectNamespaces = [
    (className = "Counter", uniqueKey = "counter", enableSql = true, preventEviction = true),
    (className = "SqlCounter", uniqueKey = "sql-counter", enableSql = true, preventEviction = true),
  ],
  bindings = [
    (name = "counter", durableObjectNamespace = "Counter"),
    (name = "sql-counter", durableObjectNamespace = "SqlCounter"),
  ],
  modules = [(name = "workerd.js", esModule = embed "workerd.js")],
);
