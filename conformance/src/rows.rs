//! The object that the SQL cases drive: each method asks one promise.

use dokit_client::rpc;
use dokit_object::{Alarm, Context, DurableObject, Error, Result, durable_object};
use dokit_storage::{
    Batch, Store, Timestamp,
    sql::{Sql, SqlError},
};
use serde::{Deserialize, Serialize};

/// What there is of a [`Rows`], in each of the places where an object can have something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its rows, in the order in which they were written.
    pub texts: Vec<String>,
    /// Its key.
    pub key: Option<String>,
    /// Its alarm.
    pub alarm: Option<Timestamp>,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Ending {
    /// With `Ok`.
    Well,
    /// With an error.
    Error,
    /// With a panic.
    Panic,
}

/// What is wrong with a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// The name of the [`SqlError`].
    pub kind: String,
    /// Its text.
    pub text: String,
}

/// A row of every kind of value that SQLite has, and of those that it has not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cells {
    /// Beyond 2^53.
    pub big: i64,
    /// Below -2^53.
    pub small: i64,
    /// A truth value.
    pub yes: bool,
    /// Another.
    pub no: bool,
    /// A float with a fraction.
    pub float: f64,
    /// Text outside ASCII.
    pub text: String,
    /// Bytes that are not UTF-8.
    pub bytes: Vec<u8>,
    /// A missing value.
    pub none: Option<String>,
}

/// What the suite asks of it.
#[rpc]
pub trait RowsApi {
    /// Writes a row and gives its number.
    async fn insert(&mut self, text: String) -> Result<i64, Error>;
    /// Writes a row, and the same text to the key, and sets the alarm, and then ends.
    async fn insert_all(
        &mut self,
        text: String,
        in_millis: i64,
        ending: Ending,
    ) -> Result<(), Error>;
    /// Writes a row, commits, writes another and fails.
    async fn commit_between(&mut self, early: String, late: String) -> Result<(), Error>;
    /// Writes a row in a transaction within the call, and another in one that fails.
    async fn transactions(&mut self, kept: String, undone: String) -> Result<(), Error>;
    /// Tries to write a row where only reading is allowed.
    async fn insert_while_reading(&self, text: String) -> Result<(), Error>;
    /// All that there is.
    async fn seen(&self) -> Result<Seen, Error>;
    /// Gives back what it was given, through a row.
    async fn keep(&mut self, cells: Cells) -> Result<Cells, Error>;
    /// Writes a row, tries a statement, and answers what is wrong with it.
    async fn attempt(&mut self, statement: String) -> Result<Option<Wrong>, Error>;
    /// Runs statements, each of which may fail, and then writes a row.
    async fn run(&mut self, statements: Vec<String>) -> Result<(), Error>;
    /// Has the alarm run such statements, and sets it.
    async fn run_later(&mut self, in_millis: i64, statements: Vec<String>) -> Result<(), Error>;
    /// How often an alarm that was given up was tried.
    async fn given_up(&self) -> Result<Option<u32>, Error>;
    /// How often its migrations have run.
    async fn migrated(&self) -> Result<u64, Error>;
    /// Deletes everything, and writes a row afterwards where it is given one.
    async fn delete_all(&mut self, text: Option<String>) -> Result<(), Error>;
    /// Sets the alarm, to fail its first tries.
    async fn set_alarm(&mut self, in_millis: i64, failures: u32) -> Result<(), Error>;
}

/// The object that the SQL cases drive.
#[derive(Debug)]
pub struct Rows {
    ctx: Context,
    sql: Sql,
}

const KEY: &str = "key";
const STATEMENTS: &str = "statements";

const TABLES: [(&str, &str); 2] = [
    (
        "entries",
        "CREATE TABLE entries (number INTEGER PRIMARY KEY, text TEXT NOT NULL);
         CREATE TABLE runs (number INTEGER PRIMARY KEY);
         INSERT INTO runs VALUES (NULL);",
    ),
    (
        "cells",
        "CREATE TABLE cells (
             big INTEGER, small INTEGER, yes INTEGER, no INTEGER, float REAL, text TEXT, bytes BLOB, none
         );
         CREATE TABLE failures (count INTEGER NOT NULL);",
    ),
];

#[durable_object]
impl DurableObject for Rows {
    const SQL: bool = true;

    type Api = RowsApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&TABLES)?;
        Ok(Self { ctx, sql })
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        if let Some(json) = self.ctx.storage().get(STATEMENTS).await? {
            let statements: Vec<String> = dokit_storage::decode(STATEMENTS, &json)?;
            self.run(statements).await?;
        }
        self.write(&format!("alarm after {}", alarm.retry_count))?;
        let failures: Vec<u32> = self.sql.exec("SELECT count FROM failures", ())?.to_vec()?;
        if failures
            .first()
            .is_some_and(|failures| alarm.retry_count < *failures)
        {
            return Err(planned());
        }
        Ok(())
    }
}

impl Rows {
    fn write(&self, text: &str) -> Result<i64> {
        let row = "INSERT INTO entries (text) VALUES (?) RETURNING number";
        Ok(self.sql.exec(row, (text,))?.one()?)
    }

    async fn set(&self, in_millis: i64, text: Option<&str>) -> Result<()> {
        let mut batch = Batch::new();
        if let Some(text) = text {
            batch.put(KEY, dokit_storage::encode(KEY, text)?);
        }
        let now = self.ctx.now();
        batch.set_alarm(Timestamp::from_millis(now.as_millis() + in_millis));
        Ok(self.ctx.storage().commit(batch).await?)
    }
}

impl RowsApi for Rows {
    async fn insert(&mut self, text: String) -> Result<i64, Error> {
        self.write(&text)
    }

    async fn insert_all(
        &mut self,
        text: String,
        in_millis: i64,
        ending: Ending,
    ) -> Result<(), Error> {
        self.write(&text)?;
        self.set(in_millis, Some(&text)).await?;
        match ending {
            Ending::Well => Ok(()),
            Ending::Error => Err(planned()),
            Ending::Panic => panic!("planned panic"),
        }
    }

    async fn commit_between(&mut self, early: String, late: String) -> Result<(), Error> {
        self.write(&early)?;
        self.ctx.commit().await?;
        self.write(&late)?;
        Err(planned())
    }

    async fn transactions(&mut self, kept: String, undone: String) -> Result<(), Error> {
        self.sql.transaction(|_| self.write(&kept))?;
        let undone = self.sql.transaction(|_| {
            self.write(&undone)?;
            Err::<(), _>(planned())
        });
        assert_eq!(undone.map_err(|error| error.status()), Err(418));
        Ok(())
    }

    async fn insert_while_reading(&self, text: String) -> Result<(), Error> {
        self.write(&text)?;
        Ok(())
    }

    async fn seen(&self) -> Result<Seen, Error> {
        let texts = self
            .sql
            .exec("SELECT text FROM entries ORDER BY number", ())?;
        let key = self.ctx.storage().get(KEY).await?;
        let key = key
            .map(|json| dokit_storage::decode(KEY, &json))
            .transpose();
        Ok(Seen {
            texts: texts.to_vec()?,
            key: key?,
            alarm: self.ctx.storage().alarm().await?,
        })
    }

    async fn keep(&mut self, cells: Cells) -> Result<Cells, Error> {
        let (big, small) = (cells.big, cells.small);
        let row = (big, small, cells.yes, cells.no, cells.float);
        let rest = (cells.text, cells.bytes, cells.none);
        let parameters = (row.0, row.1, row.2, row.3, row.4, rest.0, rest.1, rest.2);
        self.sql.exec("DELETE FROM cells", ())?;
        let insert = "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.sql.exec(insert, parameters)?;
        Ok(self.sql.exec("SELECT * FROM cells", ())?.one()?)
    }

    async fn attempt(&mut self, statement: String) -> Result<Option<Wrong>, Error> {
        self.write(&statement)?;
        let attempt = self.sql.exec(&statement, ());
        Ok(attempt.err().map(|error| Wrong {
            kind: kind(&error).to_owned(),
            text: error.to_string(),
        }))
    }

    async fn run(&mut self, statements: Vec<String>) -> Result<(), Error> {
        for statement in &statements {
            let _ = self.sql.exec(statement, ());
        }
        self.write("after the statements")?;
        Ok(())
    }

    async fn run_later(&mut self, in_millis: i64, statements: Vec<String>) -> Result<(), Error> {
        let mut batch = Batch::new();
        let json = dokit_storage::encode(STATEMENTS, &statements)?;
        batch.put(STATEMENTS, json);
        self.ctx.storage().commit(batch).await?;
        self.set(in_millis, None).await
    }

    async fn given_up(&self) -> Result<Option<u32>, Error> {
        Ok(self.ctx.failed_alarm().await?.map(|failed| failed.tries))
    }

    async fn migrated(&self) -> Result<u64, Error> {
        Ok(self.sql.exec("SELECT count(*) FROM runs", ())?.one()?)
    }

    async fn delete_all(&mut self, text: Option<String>) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete_all();
        self.ctx.storage().commit(batch).await?;
        self.sql.migrate(&TABLES)?;
        if let Some(text) = text {
            self.write(&text)?;
        }
        Ok(())
    }

    async fn set_alarm(&mut self, in_millis: i64, failures: u32) -> Result<(), Error> {
        self.sql.exec("DELETE FROM failures", ())?;
        self.sql
            .exec("INSERT INTO failures VALUES (?)", (failures,))?;
        self.set(in_millis, None).await
    }
}

fn kind(error: &SqlError) -> &'static str {
    match error {
        SqlError::Statement { .. } => "Statement",
        SqlError::Constraint { .. } => "Constraint",
        SqlError::Refused { .. } => "Refused",
        SqlError::TooLarge { .. } => "TooLarge",
        SqlError::ResultTooLarge { .. } => "ResultTooLarge",
        SqlError::ParameterCount { .. } => "ParameterCount",
        SqlError::ParametersBeforeLast => "ParametersBeforeLast",
        SqlError::NoStatement => "NoStatement",
        _ => "another",
    }
}

fn planned() -> Error {
    Error::new(418, "planned", "planned failure")
}
