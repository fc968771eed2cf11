//! Packs on their way to a layer: fetched ahead by a few threads, kept while they will be used.
//!
//! The signed index tells the whole sequence in which packs will be wanted, so what to fetch
//! next and what to drop is decided before the first byte is read: the one whose next use is
//! farthest away goes. Memory is bounded by the two constants below.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::{Error, Result};

/// Packs kept for use again.
const KEPT: usize = 6;

/// Packs fetched before they are wanted, those being unpacked included.
const AHEAD: usize = 4;

/// What to do at one place of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is still there.
    Keep,
    /// It must be fetched; first drop this other one.
    Fetch(Option<u32>),
}

/// Decides for every place of `sequence` with room for `room` packs.
fn schedule(sequence: &[u32], room: usize) -> Vec<Step> {
    let mut next_use = vec![usize::MAX; sequence.len()];
    let mut seen = HashMap::new();
    for (place, pack) in sequence.iter().enumerate().rev() {
        if let Some(later) = seen.insert(*pack, place) {
            next_use[place] = later;
        }
    }
    // pack → its next use
    let mut held: BTreeMap<u32, usize> = BTreeMap::new();
    let mut steps = Vec::with_capacity(sequence.len());
    for (place, &pack) in sequence.iter().enumerate() {
        steps.push(if held.contains_key(&pack) {
            Step::Keep
        } else if held.len() < room {
            Step::Fetch(None)
        } else {
            let farthest = held.iter().max_by_key(|(_, next)| **next).map(|(&pack, _)| pack);
            farthest.map(|pack| held.remove(&pack));
            Step::Fetch(farthest)
        });
        held.insert(pack, next_use[place]);
    }
    steps
}

/// Packs in the order of a sequence, for the one thread that puts layers together.
pub struct Packs<'a> {
    shared: &'a Shared,
    sequence: &'a [u32],
    steps: Vec<Step>,
    /// Places of the sequence passed, and packs fetched for them.
    place: usize,
    fetched: usize,
    /// Where in the sequence the lists that are done end.
    lists_end: usize,
    held: HashMap<u32, Vec<u8>>,
}

#[derive(Default)]
struct State {
    /// fetched and not yet taken, by their number in the order of fetching
    ready: BTreeMap<usize, Result<Vec<u8>>>,
    /// how many the consumer has taken
    taken: usize,
    /// the next one to fetch
    next: usize,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// No thread panics while it holds the lock: what it guards is never half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the fetching threads to end, however the consumer leaves.
struct Stop<'a>(&'a Shared);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.lock().stop = true;
        self.0.changed.notify_all();
    }
}

/// Runs `consume` with packs in the order of `sequence`, which `fetch` reads, proves and unpacks.
pub fn with_packs<T>(
    sequence: &[u32],
    fetch: impl Fn(u32) -> Result<Vec<u8>> + Sync,
    consume: impl FnOnce(&mut Packs<'_>) -> Result<T>,
) -> Result<T> {
    let steps = schedule(sequence, KEPT);
    let order: Vec<u32> = sequence
        .iter()
        .zip(&steps)
        .filter(|(_, step)| matches!(step, Step::Fetch(_)))
        .map(|(&pack, _)| pack)
        .collect();
    let shared = Shared::default();
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(AHEAD);
    thread::scope(|scope| {
        let _stop = Stop(&shared);
        for _ in 0..threads {
            scope.spawn(|| fetch_ahead(&shared, &order, &fetch));
        }
        consume(&mut Packs {
            shared: &shared,
            sequence,
            steps,
            place: 0,
            fetched: 0,
            lists_end: 0,
            held: HashMap::new(),
        })
    })
}

fn fetch_ahead(shared: &Shared, order: &[u32], fetch: &impl Fn(u32) -> Result<Vec<u8>>) {
    loop {
        let number = {
            let mut state = shared.lock();
            while !state.stop && state.next < order.len() && state.next >= state.taken + AHEAD {
                state = shared.wait(state);
            }
            if state.stop || state.next >= order.len() {
                return;
            }
            state.next += 1;
            state.next - 1
        };
        let pack = fetch(order[number]);
        shared.lock().ready.insert(number, pack);
        shared.changed.notify_all();
    }
}

impl Packs<'_> {
    /// Makes pack `number` available, which must be the one that the sequence has next.
    pub fn advance(&mut self, number: u32) -> Result<()> {
        if self.sequence.get(self.place) != Some(&number) {
            return Err(super::copylist::malformed("it leaves the signed sequence of packs"));
        }
        if let Step::Fetch(dropped) = self.steps[self.place] {
            if let Some(dropped) = dropped {
                self.held.remove(&dropped);
            }
            let mut state = self.shared.lock();
            let pack = loop {
                if let Some(pack) = state.ready.remove(&self.fetched) {
                    break pack?;
                }
                state = self.shared.wait(state);
            };
            self.fetched += 1;
            state.taken = self.fetched;
            drop(state);
            self.shared.changed.notify_all();
            self.held.insert(number, pack);
        }
        self.place += 1;
        Ok(())
    }

    /// Bytes of a pack that the last [`Packs::advance`] named.
    pub fn slice(&self, pack: u32, offset: u32, bytes: u32) -> Result<&[u8]> {
        let start = offset as usize;
        start
            .checked_add(bytes as usize)
            .and_then(|end| self.held.get(&pack)?.get(start..end))
            .ok_or_else(|| super::copylist::malformed("it reads outside of a pack"))
    }

    /// Whether a list with `count` changes of packs has used its own, all of them and no others.
    pub fn end_of_list(&mut self, count: usize) -> Result<()> {
        self.lists_end += count;
        if self.place == self.lists_end {
            return Ok(());
        }
        Err(super::copylist::malformed("it does not use all packs of its signed sequence"))
    }

    /// Whether the whole sequence was used.
    pub fn finish(&self) -> Result<()> {
        if self.place == self.sequence.len() {
            return Ok(());
        }
        Err(Error::refused("the copy lists do not use all packs of their signed sequence"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn drops_what_is_used_last() {
        use Step::{Fetch, Keep};
        assert_eq!(
            schedule(&[1, 2, 3, 1, 2], 2),
            [Fetch(None), Fetch(None), Fetch(Some(2)), Keep, Fetch(Some(3))]
        );
        assert_eq!(schedule(&[1, 1, 1], 1), [Fetch(None), Keep, Keep]);
    }

    proptest! {
        #[test]
        fn everything_wanted_is_there(sequence in proptest::collection::vec(0u32..20, 0..200)) {
            let fetches = AtomicUsize::new(0);
            let fetch = |n: u32| {
                fetches.fetch_add(1, Ordering::Relaxed);
                Ok(n.to_le_bytes().to_vec())
            };
            with_packs(&sequence, fetch, |packs| {
                for &n in &sequence {
                    packs.advance(n)?;
                    assert_eq!(packs.slice(n, 0, 4)?, n.to_le_bytes());
                    assert!(packs.slice(n, 1, 4).is_err());
                    assert!(packs.held.len() <= KEPT);
                }
                packs.finish()
            }).unwrap();
            prop_assert!(fetches.load(Ordering::Relaxed) <= sequence.len());
        }
    }

    #[test]
    fn an_error_and_an_early_end_stop_the_threads() {
        let sequence: Vec<u32> = (0..100).collect();
        let failing = |n: u32| if n == 7 { Err(Error::refused("pack 7")) } else { Ok(vec![0]) };
        let error = with_packs(&sequence, failing, |packs| {
            sequence.iter().try_for_each(|&n| packs.advance(n))
        })
        .unwrap_err();
        assert_eq!(error.what(), "pack 7");
        with_packs(&sequence, |_| Ok(vec![0]), |packs| packs.advance(0)).unwrap();
        assert!(with_packs(&sequence, |_| Ok(vec![0]), |packs| packs.advance(1)).is_err());
    }
}
