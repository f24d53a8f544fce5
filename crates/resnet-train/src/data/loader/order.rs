use resnet_core::rng::Permutation;

/// The order of the pictures in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in the source.
    Sequential,
    /// Another one in each epoch.
    Shuffled {
        /// The orders are a function of this and the epoch.
        seed: u64,
    },
}

/// What happens to the last batch when the pictures do not fill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBatch {
    /// It is left out. Shuffled, other pictures are left out in each epoch.
    Drop,
    /// It is filled up with black pictures that do not count.
    Pad,
    /// It is filled up with the first pictures of the epoch, once more.
    Wrap,
}

/// Which picture is at which position of an epoch.
#[derive(Debug)]
pub(super) enum Positions {
    Sequential,
    Shuffled(Permutation),
}

impl Positions {
    pub(super) fn new(order: Order, n: usize, epoch: u64) -> Self {
        match order {
            Order::Sequential => Positions::Sequential,
            Order::Shuffled { seed } => Positions::Shuffled(Permutation::new(n, seed, epoch)),
        }
    }

    pub(super) fn get(&self, position: usize) -> usize {
        match self {
            Positions::Sequential => position,
            Positions::Shuffled(permutation) => permutation.get(position),
        }
    }
}
