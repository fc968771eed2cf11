//! Lists of hosts as clusters write them: `nid[00100-00103,7]` stands for five names.
//!
//! Some programs read them so, others want each name: both forms are made here, and what neither
//! would understand is refused.

/// Most names that one answer may stand for.
const LIMIT: usize = 100_000;
/// Most characters of a host's name.
const NAME_LIMIT: usize = 253;

/// A text, or one of several numbers.
enum Part<'a> {
    Text(&'a str),
    Ranges(Vec<Range<'a>>),
}

/// `00100-00103`, or a single number.
#[derive(Clone, Copy)]
struct Range<'a> {
    text: &'a str,
    first: u64,
    last: u64,
    /// Digits of the first: leading zeros are kept.
    width: usize,
}

/// Separates `nid[1-4,7],login1` at the commas between names. The error is the reason.
pub(super) fn split(word: &str) -> Result<Vec<String>, String> {
    let mut depth = 0_u32;
    let mut lists = vec![String::new()];
    for c in word.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                lists.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(list) = lists.last_mut() {
            list.push(c);
        }
    }
    for list in &lists {
        count(list).map_err(|why| format!("'{}': {why}", list.escape_debug()))?;
    }
    Ok(lists)
}

/// All names that these lists stand for. The error is the reason.
pub fn expand(lists: &[String]) -> Result<Vec<String>, String> {
    limited(lists)?;
    alternatives(lists, &|range| {
        (range.first..=range.last).map(|n| format!("{n:0width$}", width = range.width)).collect()
    })
}

/// The same hosts in lists without a comma, for programs that divide a list at each:
/// `nid[1-4,7]` becomes `nid[1-4]` and `nid7`. The error is the reason.
pub fn without_commas(lists: &[String]) -> Result<Vec<String>, String> {
    limited(lists)?;
    alternatives(lists, &|range| {
        let single = !range.text.contains('-');
        vec![if single { range.text.to_owned() } else { format!("[{}]", range.text) }]
    })
}

/// Refuses lists that stand for too many names, before any is made.
fn limited(lists: &[String]) -> Result<(), String> {
    let mut all = 0_usize;
    for list in lists {
        all = all.saturating_add(count(list)?);
    }
    if all > LIMIT { Err(too_many()) } else { Ok(()) }
}

fn alternatives(
    lists: &[String],
    of_range: &dyn Fn(&Range) -> Vec<String>,
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for list in lists {
        let mut names = vec![String::new()];
        for part in parse(list)? {
            let endings = match part {
                Part::Text(text) => vec![text.to_owned()],
                Part::Ranges(ranges) => ranges.iter().flat_map(of_range).collect(),
            };
            names = names
                .iter()
                .flat_map(|name| endings.iter().map(move |ending| format!("{name}{ending}")))
                .collect();
        }
        all.append(&mut names);
    }
    Ok(all)
}

/// For how many names a list stands.
fn count(list: &str) -> Result<usize, String> {
    let mut names = 1_u64;
    for part in parse(list)? {
        if let Part::Ranges(ranges) = part {
            let numbers = ranges
                .iter()
                .fold(0_u64, |sum, r| sum.saturating_add((r.last - r.first).saturating_add(1)));
            names = names.saturating_mul(numbers);
        }
    }
    usize::try_from(names).ok().filter(|names| *names <= LIMIT).ok_or_else(too_many)
}

fn too_many() -> String {
    format!("it stands for more than {LIMIT} hosts")
}

fn parse(list: &str) -> Result<Vec<Part<'_>>, String> {
    if !list.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') {
        return Err("a host's name begins with a letter or a digit".into());
    }
    if list.len() > NAME_LIMIT * 4 {
        return Err("it is too long".into());
    }
    let mut parts = Vec::new();
    let mut longest = 0;
    let mut rest = list;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (ranges, after) =
                inside.split_once(']').ok_or("a bracket is opened and not closed")?;
            let ranges = ranges.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
            longest +=
                ranges.iter().map(|r| r.last.to_string().len().max(r.width)).max().unwrap_or(0);
            parts.push(Part::Ranges(ranges));
            rest = after;
        } else {
            let (text, after) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if let Some(c) = text.chars().find(|c| !plain(*c)) {
                return Err(format!("'{}' is not part of a host's name", c.escape_debug()));
            }
            longest += text.len();
            parts.push(Part::Text(text));
            rest = after;
        }
    }
    if longest > NAME_LIMIT {
        return Err(format!("a host's name has at most {NAME_LIMIT} characters"));
    }
    Ok(parts)
}

fn range(text: &str) -> Result<Range<'_>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| {
        let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| all)
    };
    match (number(first), number(last)) {
        (Some(start), Some(end)) if start <= end => {
            Ok(Range { text, first: start, last: end, width: first.len() })
        }
        _ => Err(format!(
            "'{}' is neither a number nor a range such as 00100-00227",
            text.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn names_in_their_order() {
        for (list, names) in [
            ("head", &["head"][..]),
            ("nid[00100-00102,7]", &["nid00100", "nid00101", "nid00102", "nid7"]),
            ("n[9-11]", &["n9", "n10", "n11"]),
            ("r[1-2]n[1-2].x", &["r1n1.x", "r1n2.x", "r2n1.x", "r2n2.x"]),
            ("[1-2]", &["1", "2"]),
        ] {
            assert_eq!(expand(&lists(&[list])).unwrap(), names, "{list}");
        }
        assert_eq!(split("n[1-4,7],login1").unwrap(), ["n[1-4,7]", "login1"]);
        let plain = without_commas(&lists(&["n[1-4,07]x[1,2]", "login1"])).unwrap();
        assert_eq!(plain, ["n[1-4]x1", "n[1-4]x2", "n07x1", "n07x2", "login1"]);
    }

    #[test]
    fn what_no_program_understands_is_refused() {
        for bad in [
            "",
            "-rm",
            ".x",
            "a b",
            "a\n",
            "n[1-",
            "n]",
            "n[]",
            "n[1,]",
            "n[a-b]",
            "n[2-1]",
            "n[+1]",
            "n[[1]]",
            "n[1-99999999999999999999]",
            "n[1-100001]",
            "a,",
            ",",
            "n[0-18446744073709551615]",
            "r[1-1000]n[1-1000]",
            "köln",
            "a:b",
            "a/b",
            "a\"",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
        let half = lists(&["a[1-60000]", "b[1-60000]"]);
        assert!(limited(&half).is_err() && expand(&half).is_err());
        assert!(split(&"a".repeat(254)).is_err());
        assert!(split(&format!("{}[1-10]", "a".repeat(252))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        /// A range gives as many names as it counts, all different, none narrower than its first.
        #[test]
        fn count_and_padding(first in 0_u64..5000, more in 0_u64..300, width in 1_usize..8) {
            let list = lists(&[&format!("n[{first:0width$}-{}]", first + more)]);
            let names = expand(&list).unwrap();
            prop_assert_eq!(names.len() as u64, more + 1);
            prop_assert_eq!(&names[0], &format!("n{first:0width$}"));
            for (name, number) in names.iter().zip(first..) {
                prop_assert_eq!(name[1..].parse::<u64>().unwrap(), number);
                prop_assert!(name.len() > width.max(first.to_string().len()));
            }
            // Divided at commas or not, the hosts are the same.
            let two = lists(&[&format!("n[{first:0width$}-{},1]", first + more)]);
            prop_assert_eq!(expand(&without_commas(&two).unwrap()), expand(&two));
        }

        #[test]
        fn anything_is_read_or_refused(text in "\\PC{0,30}", list in "[a-c0-2,\\[\\]-]{0,12}") {
            for text in [text, list] {
                if let Ok(lists) = split(&text) {
                    prop_assert!(expand(&lists).is_ok() || limited(&lists).is_err());
                }
            }
        }
    }
}
