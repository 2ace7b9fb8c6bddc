//! How a host ends: in order, or all at once.

use std::{sync::PoisonError, time::Duration};

use tokio::task::AbortHandle;

use super::Engine;

/// How long a shutdown waits for databases to close, once nothing of them is on its way any more.
const CLOSING: Duration = Duration::from_secs(10);

impl Engine {
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.begins_to_stop();
        // A second one waits for the first.
        let _only = self.shutdown.lock().await;
        self.stop_tasks();
        let residents = self.residents.close();
        let finish = async {
            for resident in &residents {
                resident.finished().await;
            }
        };
        if tokio::time::timeout(grace, finish).await.is_err() {
            tracing::warn!("calls still ran after {grace:?} and were given up");
            residents.iter().for_each(|resident| resident.abort());
        }
        self.residents.clear();
        self.peers.say_goodbye(&self.switchboard).await;
        if tokio::time::timeout(CLOSING, self.databases.closed())
            .await
            .is_err()
        {
            tracing::warn!("databases of objects were still open after {CLOSING:?}");
        }
        if let Some(own) = self.own.upgrade() {
            let _ = tokio::task::spawn_blocking(move || own.close()).await;
        }
    }

    fn stop_tasks(&self) {
        self.tasks
            .get()
            .into_iter()
            .flatten()
            .for_each(AbortHandle::abort);
        self.scheduler.stop();
    }

    /// Has the writer finish what it was sent, waits for it, and lets go of the data folder.
    fn close(&self) {
        let writing = self.writing.lock();
        let writing = writing.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            self.store.writer.stop();
            writing.join();
        }
        self.store.database.unlock();
        if let Some((_, task)) = self.admin.get() {
            task.abort();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_tasks();
        self.switchboard.forget_all();
        for resident in self.residents.close() {
            resident.abort();
        }
        self.residents.clear();
        self.close();
    }
}
