//! When two names of a GPU are the same, and when they are nearly the same.

/// Longest part of a name that is looked at; the longest known has 47 letters.
const LONGEST: usize = 64;

/// Words in front of a name that say who made it, or for which market, and nothing else.
const MAKERS: [&str; 5] = ["nvidia", "geforce", "amd", "intel", "tesla"];

/// Letters and digits of a name in lower case, without its makers: `GeForce RTX-3090` is `rtx3090`.
pub(super) fn key(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let mut words = lower
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .skip_while(|word| MAKERS.contains(word))
        .peekable();
    // `Radeon RX 7900 XTX`, but `Radeon VII`; `Apple M2`, but `Apple` alone is no name.
    let mut first = words.peek().copied();
    if first == Some("radeon") {
        words.next();
        if words.peek() == Some(&"rx") {
            first = None;
        }
    } else {
        first = None;
    }
    first
        .into_iter()
        .chain(words)
        .collect::<String>()
        .chars()
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_and_spacing_do_not_count() {
        assert_eq!(key("NVIDIA GeForce RTX 3090"), "rtx3090");
        assert_eq!(key("rtx-3090 "), key("RTX3090"));
        assert_eq!(key("Radeon RX 6800"), "rx6800");
        assert_eq!(key("AMD Radeon VII"), "radeonvii");
        assert_eq!(key("+ é"), "");
    }
}
