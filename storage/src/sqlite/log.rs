//! The file of a write-ahead log, lengthened ahead of what is written to it.

use std::{
    fs::OpenOptions,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// How much the log has to hold before it is lengthened, and by how much it is at most.
const FIRST: u64 = 16 * 1024;
const MOST: u64 = 1024 * 1024;

/// The file of a database's write-ahead log, synced before SQLite reads it, and lengthened by zeros before
/// SQLite comes to its end.
///
/// To sync a file that has grown, a file system writes more than what is new in it: also how long it is, and
/// where on the disk. A commit into a part of the log that is there already has only itself to sync. SQLite
/// reads the zeros as the end of the log: they are no frame.
#[derive(Debug, Default)]
pub struct LogFile {
    /// None of a database in memory.
    path: Option<PathBuf>,
    /// How long the file was left; none where it has not been looked at. A process that was killed may have
    /// left it longer than what is in it.
    length: Option<u64>,
}

impl LogFile {
    /// That of the database in the file `database`.
    #[must_use]
    pub fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self {
            path: Some(path.into()),
            length: None,
        }
    }

    /// Makes durable what is in the log, before the database is opened. Whoever wrote it may have ended, or
    /// failed, before it was synced; SQLite reads it as if it had been. It waits for the disk, where there is a
    /// log; after an end in good order there is none.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened or synced.
    pub fn sync(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        match OpenOptions::new().write(true).open(path) {
            Ok(log) => log.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lengthens the log where SQLite has come to its end. To be called within a transaction that writes, before
    /// its commit: then nobody else writes to the log.
    ///
    /// Where that fails, since the disk is full perhaps, the commit does without it.
    pub fn lengthen(&mut self) {
        if let Some(path) = &self.path {
            self.length = lengthened(path, self.length).ok();
        }
    }
}

/// Gives the length that the file has now.
fn lengthened(path: &Path, left: Option<u64>) -> io::Result<u64> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    // Not by its metadata: once they are asked for, Linux (since 6.13) writes new times of the file with each
    // sync, which then takes twice as long.
    let length = file.seek(SeekFrom::End(0))?;
    if left.is_none_or(|left| length <= left) || length < FIRST {
        return Ok(length);
    }
    let more = length.min(MOST);
    let written = io::copy(&mut io::repeat(0).take(more), &mut file);
    if written.is_err() {
        // What little room is left is for the commit.
        file.set_len(length)?;
    }
    written.map(|written| length + written)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::*;
    use crate::{
        Batch,
        sqlite::{Calls, Sqlite},
    };

    #[test]
    fn the_log_is_longer_than_what_is_in_it_and_all_of_that_survives_a_crash() {
        let folder = tempdir().expect("there is room");
        let path = folder.path().join("own.sqlite");
        let log = folder.path().join("own.sqlite-wal");
        let calls = Calls::new(Sqlite::open(&path).expect("it is new"));
        let sql = calls.database().sql();
        let commit = |statement: &str| {
            calls.begin()?;
            sql.exec(statement, ())?;
            calls.keep(&Batch::new())?;
            calls.commit()
        };
        commit("CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT)").expect("it can");
        let mut lengths = vec![fs::metadata(&log).expect("it is there").len()];
        for number in 0..100 {
            commit("INSERT INTO rows (text) VALUES (hex(randomblob(500)))").expect("it can");
            let length = fs::metadata(&log).expect("it is there").len();
            if lengths.last() != Some(&length) {
                lengths.push(length);
            }
            // As a crash leaves it: the files, as they are.
            let crashed = folder.path().join("crashed.sqlite");
            fs::copy(&path, &crashed).expect("there is room");
            fs::copy(&log, folder.path().join("crashed.sqlite-wal")).expect("there is room");
            let crashed = Sqlite::open(&crashed).expect("it is whole");
            let rows = crashed.sql().exec("SELECT count(*) FROM rows", ());
            let rows = rows.expect("it is whole").one::<u32>();
            assert_eq!(rows.expect("a count"), number + 1);
        }
        assert!(lengths.len() < 20, "it grew with each commit: {lengths:?}");
        let contents = fs::read(&log).expect("it is there");
        assert!(
            contents.ends_with(&[0; 1000]),
            "it ends with what was written"
        );
    }

    #[test]
    fn a_log_that_is_not_there_or_small_is_left_alone() {
        let folder = tempdir().expect("there is room");
        let path = folder.path().join("own.sqlite");
        let log = folder.path().join("own.sqlite-wal");
        let mut file = LogFile::of(&path);
        file.lengthen();
        assert!(!log.exists());
        for length in [0, 100] {
            fs::write(&log, vec![1; length]).expect("there is room");
            file.lengthen();
            assert_eq!(fs::read(&log).expect("it is there"), vec![1; length]);
        }
    }

    #[test]
    fn a_log_is_not_lengthened_by_opening_it_again_and_again() {
        let folder = tempdir().expect("there is room");
        let path = folder.path().join("own.sqlite");
        let log = folder.path().join("own.sqlite-wal");
        fs::write(&log, [1; 100_000]).expect("there is room");
        let length = || fs::metadata(&log).expect("it is there").len();
        for _ in 0..3 {
            LogFile::of(&path).lengthen();
        }
        assert_eq!(length(), 100_000);
        let mut file = LogFile::of(&path);
        file.lengthen();
        fs::write(&log, [1; 100_001]).expect("there is room");
        file.lengthen();
        file.lengthen();
        assert_eq!(length(), 200_002);
    }
}
