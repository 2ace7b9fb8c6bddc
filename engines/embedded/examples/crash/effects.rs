use std::collections::{BTreeMap, BTreeSet};

/// What the campaign knows of the effects of one kind, each by the number of the call that has it.
#[derive(Debug, Default)]
pub(crate) struct Effects(BTreeMap<u64, Fate>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The call was sent, and not answered.
    InDoubt,
    Happened,
    Never,
}

/// How many calls in doubt had happened, and how many had not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubts {
    pub(crate) happened: usize,
    pub(crate) never: usize,
}

impl Effects {
    pub(crate) fn sent(&mut self, op: u64) {
        self.0.insert(op, Fate::InDoubt);
    }

    pub(crate) fn happened(&mut self, op: u64) {
        self.0.insert(op, Fate::Happened);
    }

    pub(crate) fn never(&mut self, op: u64) {
        self.0.insert(op, Fate::Never);
    }

    /// Compares with what is there after a crash. From now on what is there has happened and what is not
    /// there never will.
    pub(crate) fn check<'f>(
        &mut self,
        what: &str,
        found: impl IntoIterator<Item = &'f u64>,
        doubts: &mut Doubts,
    ) -> Result<(), String> {
        let found: BTreeSet<u64> = found.into_iter().copied().collect();
        if let Some(unknown) = found.iter().find(|op| !self.0.contains_key(op)) {
            return Err(format!("{what} {unknown} is there and nobody sent it"));
        }
        for (op, fate) in &mut self.0 {
            let there = found.contains(op);
            match (*fate, there) {
                (Fate::Happened, false) => return Err(format!("{what} {op} is lost")),
                (Fate::Never, true) => {
                    return Err(format!("{what} {op} is there and should never be"));
                }
                (Fate::InDoubt, true) => {
                    doubts.happened += 1;
                    *fate = Fate::Happened;
                }
                (Fate::InDoubt, false) => {
                    doubts.never += 1;
                    *fate = Fate::Never;
                }
                (Fate::Happened, true) | (Fate::Never, false) => {}
            }
        }
        Ok(())
    }
}
