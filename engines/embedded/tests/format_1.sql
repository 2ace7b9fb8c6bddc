-- A database of format 1, as release 0.1.0 writes it: one object, `slow` "a", whose count is 41.
-- Never change this file; add one for each new format.
PRAGMA application_id = 1685023604;
PRAGMA user_version = 1;
CREATE TABLE objects (
    object INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    id BLOB NOT NULL,
    name TEXT,
    alarm INTEGER,
    UNIQUE (namespace, id)
) STRICT;
CREATE INDEX alarms ON objects (alarm) WHERE alarm IS NOT NULL;
CREATE TABLE entries (
    object INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (object, key)
) STRICT, WITHOUT ROWID;
INSERT INTO objects (object, namespace, id, name)
VALUES (7, 'slow', X'EC0747D5701DBE73E87CC4A7E6534FC30F8AA519521EFDA22E9FD900232CAECC', 'a');
INSERT INTO entries (object, key, value) VALUES (7, 'count', '41');
