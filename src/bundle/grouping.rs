//! Which content goes into which pack, decided before a byte is compressed.
//!
//! Contents are grouped by the set of images that use them, so that a role reads its own bytes
//! and little else. Within a group they keep the order in which layers have them: packages stay
//! together, which compresses better and is read in longer runs than any sorting.

use std::collections::{BTreeMap, HashMap};

use crate::digest::Digest;

/// Bytes of a pack before compression, at most. Chosen by measurement: see `benches/`.
const PACK: u32 = 8 << 20;

/// A set of images with fewer bytes than this joins a larger set that has it within.
const SMALL: u64 = 24 << 20;

/// The most groups, since each has a pack open while contents stream by.
const GROUPS: usize = 12;

/// A set of images, a bit for each.
pub type Images = u64;

/// Where a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// pack number
    pub pack: u32,
    /// offset in the pack before compression
    pub offset: u32,
}

/// The decision: a place for every content, and the size of every pack.
pub struct Grouping {
    /// Where each content is.
    pub places: HashMap<Digest, Location>,
    /// Bytes of each pack. Packs are numbered in the order in which they become full when the
    /// contents stream by in the order of first sight, so a writer needs no look-ahead.
    pub packs: Vec<u32>,
}

/// Decides. `layers` are each layer's images and contents, in the order in which a writer will
/// stream them. No content may be larger than a pack.
pub fn group(layers: &[(Images, &[(Digest, u32)])]) -> Grouping {
    let (order, users) = first_sight(layers);
    let mut bytes: BTreeMap<Images, u64> = BTreeMap::new();
    for (digest, size) in &order {
        *bytes.entry(users[digest]).or_default() += u64::from(*size);
    }
    let joined = join(bytes);

    // Packs under their preliminary numbers: bytes, and the last content that goes in.
    let mut packs: Vec<(u32, usize)> = Vec::new();
    let mut open: HashMap<Images, usize> = HashMap::new();
    let mut places = HashMap::with_capacity(order.len());
    for (number, (digest, size)) in order.iter().enumerate() {
        let group = resolve(&joined, users[digest]);
        let pack = match open.get(&group) {
            Some(&pack) if packs[pack].0 + size <= PACK => pack,
            _ => {
                packs.push((0, 0));
                open.insert(group, packs.len() - 1);
                packs.len() - 1
            }
        };
        // Fewer than 2^32 packs of one byte and more: a layer's sizes are far below that.
        places.insert(*digest, Location { pack: pack as u32, offset: packs[pack].0 });
        packs[pack].0 += size;
        packs[pack].1 = number;
    }

    let mut by_end: Vec<usize> = (0..packs.len()).collect();
    by_end.sort_by_key(|&pack| packs[pack].1);
    let mut number_of = vec![0; packs.len()];
    for (number, &pack) in by_end.iter().enumerate() {
        number_of[pack] = number as u32;
    }
    for place in places.values_mut() {
        place.pack = number_of[place.pack as usize];
    }
    Grouping { places, packs: by_end.iter().map(|&pack| packs[pack].0).collect() }
}

/// Every content once, in the order of first sight, and the images that use it.
fn first_sight(
    layers: &[(Images, &[(Digest, u32)])],
) -> (Vec<(Digest, u32)>, HashMap<Digest, Images>) {
    let mut order = Vec::new();
    let mut users: HashMap<Digest, Images> = HashMap::new();
    for (images, contents) in layers {
        for (digest, size) in *contents {
            let set = users.entry(*digest).or_insert_with(|| {
                order.push((*digest, *size));
                0
            });
            *set |= images;
        }
    }
    (order, users)
}

/// Which set each set of images joins; sets that stand alone are not in it.
fn join(mut bytes: BTreeMap<Images, u64>) -> HashMap<Images, Images> {
    let mut joined = HashMap::new();
    let mut settled: Vec<Images> = Vec::new();
    loop {
        let smallest = bytes
            .iter()
            .filter(|(set, size)| **size < SMALL && !settled.contains(set))
            .min_by_key(|(set, size)| (**size, **set))
            .map(|(set, size)| (*set, *size));
        let Some((set, size)) = smallest else { break };
        // Into a set that holds it: nobody reads much more. Into a smaller one its users would
        // have to read all of that.
        let target = bytes
            .keys()
            .filter(|other| **other != set && **other & set == set)
            .min_by_key(|other| (other.count_ones(), **other))
            .copied();
        if let Some(target) = target {
            bytes.remove(&set);
            *bytes.entry(target).or_default() += size;
            joined.insert(set, target);
        } else {
            settled.push(set);
        }
    }
    while bytes.len() > GROUPS {
        let mut sets: Vec<(u64, Images)> = bytes.iter().map(|(set, size)| (*size, *set)).collect();
        sets.sort_unstable();
        // More than GROUPS of them, so there are two.
        let ((small, a), (large, b)) = (sets[0], sets[1]);
        bytes.remove(&a);
        joined.insert(a, b);
        bytes.insert(b, small + large);
    }
    joined
}

/// Follows the joins to the set that stands.
fn resolve(joined: &HashMap<Images, Images>, mut set: Images) -> Images {
    // A set joins only sets that still stand, so there is no circle.
    while let Some(&next) = joined.get(&set) {
        set = next;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(n: u32, size: u32) -> (Digest, u32) {
        (Digest::of(&n.to_le_bytes()), size)
    }

    #[test]
    fn large_sets_stand_alone_and_small_ones_join_a_larger() {
        const MIB: u64 = 1 << 20;
        let joined = join(BTreeMap::from([
            (0b001, 30 * MIB),
            (0b010, MIB),
            (0b011, 2 * MIB),
            (0b111, 100 * MIB),
            (0b1000, MIB),
        ]));
        assert_eq!(resolve(&joined, 0b001), 0b001);
        assert_eq!(resolve(&joined, 0b010), 0b111, "through the small set it joined first");
        assert_eq!(resolve(&joined, 0b011), 0b111);
        assert_eq!(resolve(&joined, 0b1000), 0b1000, "no other set holds it");
    }

    proptest! {
        #[test]
        fn packs_are_filled_exactly_and_in_order(
            layers in proptest::collection::vec(
                (1u64..64, proptest::collection::vec((0u32..300, 1u32..1 << 20), 0..60)),
                0..8,
            )
        ) {
            // One size for a content, whatever layer it is in.
            let mut sizes = HashMap::new();
            let layers: Vec<(Images, Vec<(Digest, u32)>)> = layers
                .into_iter()
                .map(|(images, contents)| {
                    let contents = contents
                        .into_iter()
                        .map(|(n, size)| content(n, *sizes.entry(n).or_insert(size)))
                        .collect();
                    (images, contents)
                })
                .collect();
            let borrowed: Vec<_> = layers.iter().map(|(i, c)| (*i, &c[..])).collect();
            let grouping = group(&borrowed);
            prop_assert!(grouping.packs.iter().all(|&size| size > 0 && size <= PACK));
            let mut filled = vec![0; grouping.packs.len()];
            let mut complete = 0;
            let mut seen = std::collections::HashSet::new();
            for (digest, size) in layers.iter().flat_map(|(_, contents)| contents) {
                if seen.insert(*digest) {
                    let place = grouping.places[digest];
                    let pack = place.pack as usize;
                    prop_assert_eq!(filled[pack], place.offset, "contents follow each other");
                    filled[pack] += size;
                    if filled[pack] == grouping.packs[pack] {
                        prop_assert_eq!(pack, complete, "packs fill up in their order");
                        complete += 1;
                    }
                }
            }
            prop_assert_eq!(complete, grouping.packs.len());
        }
    }
}
