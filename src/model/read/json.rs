//! JSON text with the place of what is wrong in it; as the standard has it, or as Python writes it.
//!
//! Python's `json` writes `NaN`, `Infinity` and `-Infinity` for numbers that JSON does not have, and
//! configurations of Mamba and its kin hold them (`"time_step_limit": [0.0, Infinity]`). Here they
//! become texts of the same name: a reader that needs such a number refuses it by that name, and all
//! others pass over it. Of keys that repeat the last counts, as in Python.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// Text that is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct JsonError {
    /// From 1.
    pub line: usize,
    /// Bytes of the line up to where the fault shows.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Parses JSON as Python's `json` module writes it.
///
/// ```
/// use shardplan::model::read::json;
///
/// let config = json::python(br#"{"time_step_limit": [0.0, Infinity]}"#)?;
/// assert_eq!(config["time_step_limit"][1], "Infinity");
/// # Ok::<(), json::JsonError>(())
/// ```
///
/// # Errors
/// Where the text is no JSON, with the place in the text as it stands.
pub fn python(text: &[u8]) -> Result<Value, JsonError> {
    let (quoted, words) = with_words_quoted(text);
    strict(&quoted).map_err(|error: JsonError| {
        let ahead = |word: &&(usize, usize)| word.0 == error.line && word.1 < error.column;
        let n_quotes = 2 * words.iter().filter(ahead).count();
        let column = error.column.saturating_sub(n_quotes);
        JsonError { column, ..error }
    })
}

/// Parses JSON as the standard has it.
pub(super) fn strict<'text, T: Deserialize<'text>>(text: &'text [u8]) -> Result<T, JsonError> {
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        JsonError {
            line,
            column,
            message,
        }
    })
}

/// The words that Python writes and JSON lacks.
const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// The text with quotes around each of these words that stands by itself outside of quotes, and
/// where each begins in what is returned: line and column.
fn with_words_quoted(text: &[u8]) -> (Cow<'_, [u8]>, Vec<(usize, usize)>) {
    let mut quoted = Vec::new();
    let mut words = Vec::new();
    let (mut copied, mut line, mut line_start) = (0, 1, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at),
            b'\n' => {
                at += 1;
                line += 1;
                // Counted as the parser will, which sees two bytes more for each word.
                line_start = at + 2 * words.len();
            }
            b'N' | b'I' | b'-' if begins_a_value(text, at) => {
                let word = WORDS.iter().find(|word| is_word(&text[at..], word));
                let Some(word) = word else {
                    at += 1;
                    continue;
                };
                words.push((line, at + 2 * words.len() - line_start));
                quoted.extend_from_slice(&text[copied..at]);
                quoted.push(b'"');
                quoted.extend_from_slice(word);
                quoted.push(b'"');
                at += word.len();
                copied = at;
            }
            _ => at += 1,
        }
    }
    if words.is_empty() {
        return (Cow::Borrowed(text), words);
    }
    quoted.extend_from_slice(&text[copied..]);
    (Cow::Owned(quoted), words)
}

/// Behind the closing quote of the string that opens here, or at the end of the text.
fn end_of_string(text: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    loop {
        match text.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

/// Whether a value may begin here: behind a colon, a comma, a bracket or nothing.
fn begins_a_value(text: &[u8], at: usize) -> bool {
    let before = text[..at].trim_ascii_end().last();
    matches!(before, None | Some(b':' | b',' | b'['))
}

/// Whether the text begins with the word, and a value may end behind it.
fn is_word(text: &[u8], word: &[u8]) -> bool {
    let rest = text.strip_prefix(word).map(<[u8]>::trim_ascii_start);
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b',' | b']' | b'}')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(text: &str) -> (usize, usize) {
        let error = python(text.as_bytes()).expect_err(text);
        (error.line, error.column)
    }

    #[test]
    fn numbers_that_only_python_has_are_read() {
        // As transformers 5 writes the configuration of a Mamba 2.
        let text = br#"{"time_step_limit": [0.0, Infinity], "a": NaN,"b":-Infinity , "c": -1}"#;
        let read =
            json!({"time_step_limit": [0.0, "Infinity"], "a": "NaN", "b": "-Infinity", "c": -1});
        assert_eq!(python(text), Ok(read));
        assert_eq!(python(b" NaN\n"), Ok(json!("NaN")));
    }

    #[test]
    fn words_within_texts_stay() {
        let text = r#"{"a": "b, NaN", "\"NaN\\": ["\\", NaN, "-Infinity"]}"#;
        let read = json!({"a": "b, NaN", "\"NaN\\": ["\\", "NaN", "-Infinity"]});
        assert_eq!(python(text.as_bytes()), Ok(read));
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in [
            "{NaN: 1}",
            "{\"a\": 1, NaN: 1}",
            "[Nan]",
            "[NaNs]",
            "[nan]",
            "[+Infinity]",
            "[-NaN]",
            "[inf]",
            "[- Infinity]",
            "[1 NaN]",
            "[NaN 1]",
            "[NaN NaN]",
            "[Infinity",
            "",
            "[\"\\",
        ] {
            assert!(python(text.as_bytes()).is_err(), "{text}");
        }
        assert!(
            python("[".repeat(1000).as_bytes()).is_err(),
            "nested too deep"
        );
    }

    #[test]
    fn the_place_of_a_fault_is_that_in_the_text_as_it_stands() {
        assert_eq!(place("[1.0, x]"), (1, 7));
        assert_eq!(place("[NaN, x]"), (1, 7));
        assert_eq!(place("[NaN, -Infinity, x]"), (1, 18));
        assert_eq!(place("[NaN,\n  NaN, Infinity,\n NaN, x]"), (3, 7));
        assert_eq!(place("[x, NaN]"), (1, 2));
    }
}
