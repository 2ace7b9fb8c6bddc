/// A value as calls see it, and as it stands if those of them that are not durable yet fail.
#[derive(Debug, Default)]
pub(super) struct Versions<T> {
    durable: T,
    /// By the number of the call that set it, in order.
    pending: Vec<(u64, T)>,
}

impl<T> Versions<T> {
    /// What the next call sees.
    pub(super) fn seen(&self) -> &T {
        self.pending
            .last()
            .map_or(&self.durable, |(_, value)| value)
    }

    /// What is durable, which is all that the outside may see.
    pub(super) fn durable(&self) -> &T {
        &self.durable
    }

    pub(super) fn set(&mut self, call: u64, value: T) {
        self.pending.push((call, value));
    }

    /// Sets what needs no call to become durable.
    pub(super) fn reset(&mut self, value: T) {
        self.durable = value;
        self.pending.clear();
    }

    /// The call is durable, and with it those before it.
    pub(super) fn keep(&mut self, call: u64) {
        let kept = self.pending.partition_point(|(by, _)| *by <= call);
        if let Some((_, value)) = self.pending.drain(..kept).next_back() {
            self.durable = value;
        }
        if self.pending.is_empty() {
            // Nearly always so: the room would be most of what a quiet socket costs.
            self.pending = Vec::new();
        }
    }

    /// The call has failed.
    pub(super) fn drop(&mut self, call: u64) {
        self.pending.retain(|(by, _)| *by != call);
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;

    #[test]
    fn what_a_failed_call_set_is_undone_in_whatever_order_calls_fail() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 1, 3]] {
            let mut value = Versions::default();
            for call in 1..=3 {
                value.set(call, call * 10);
            }
            assert_eq!((*value.seen(), *value.durable()), (30, 0));
            for call in order {
                value.drop(call);
            }
            assert_eq!((*value.seen(), *value.durable()), (0, 0), "{order:?}");
        }
    }

    #[test]
    fn a_durable_call_keeps_its_last_value_and_later_ones_stay_undecided() {
        let mut value = Versions::default();
        value.set(1, 10);
        value.set(1, 11);
        value.set(2, 20);
        value.keep(1);
        assert_eq!((*value.seen(), *value.durable()), (20, 11));
        value.drop(2);
        assert_eq!((*value.seen(), *value.durable()), (11, 11));
    }
}
