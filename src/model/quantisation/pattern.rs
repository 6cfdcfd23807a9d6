//! Which modules a configuration means: five dialects of naming modules.
//!
//! A pattern comes from a stranger. `regex-lite` matches in linear time, and what Python's `re` has
//! beyond it (look-around) is refused by name.

use regex_lite::{Regex, RegexBuilder};

/// How modules are named.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// The whole name.
    Exact(String),
    /// Python's `re.match`: from the start of the name.
    Start(Regex),
    /// `should_convert_module` of transformers 5.24: from the start up to the border of a module,
    /// or the end of the name.
    Module { border: Regex, end: String },
    /// The same for a plain name, of which some lists have thousands.
    Plain(String),
    /// ModelOpt and its readers: `fnmatch` on the whole name, or a run of its parts.
    Wildcard { whole: Regex, run: String },
    /// The last parts of the name.
    Last(String),
    /// A part of the name.
    Inside(String),
}

/// A larger automaton is refused.
const SIZE_LIMIT: usize = 1 << 20;

fn compile(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(SIZE_LIMIT).build();
    built.map_err(|error| error.to_string())
}

/// Letters that mean themselves; a full stop may, since names differ in more than that.
fn is_plain(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    text.chars().all(is_plain)
}

impl Pattern {
    pub(super) fn start(text: &str) -> Result<Self, String> {
        // Most are words between two `.*`, for each of tens of thousands of experts.
        let word = text
            .strip_prefix(".*")
            .and_then(|text| text.strip_suffix(".*"));
        match word {
            Some(word) if is_plain(word) && !word.contains('.') => {
                Ok(Self::Inside(word.to_owned()))
            }
            _ => compile(&format!("^(?:{text})")).map(Self::Start),
        }
    }

    pub(super) fn module(text: &str) -> Result<Self, String> {
        if is_plain(text) {
            return Ok(Self::Plain(text.to_owned()));
        }
        // A border is before a full stop, behind one, or the end. Only a pattern that ends in a full
        // stop needs the second, and means the same without it.
        let text = text.strip_suffix('.').unwrap_or(text);
        let border = compile(&format!(r"^(?:{text})(?:\.|$)"))?;
        let end = text.to_owned();
        Ok(Self::Module { border, end })
    }

    pub(super) fn wildcard(text: &str) -> Result<Self, String> {
        let mut whole = String::from("^");
        for letter in text.chars() {
            match letter {
                '*' => whole.push_str(".*"),
                '?' => whole.push('.'),
                _ => whole.push_str(&regex_lite::escape(letter.encode_utf8(&mut [0; 4]))),
            }
        }
        whole.push('$');
        Ok(Self::Wildcard {
            whole: compile(&whole)?,
            run: format!(".{text}."),
        })
    }

    pub(super) fn last(text: &str) -> Self {
        Self::Last(format!(".{text}"))
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(whole) => whole == name,
            Self::Start(start) => start.is_match(name),
            Self::Module { border, end } => name.ends_with(end.as_str()) || border.is_match(name),
            Self::Plain(text) => {
                let rest = name.strip_prefix(text.as_str());
                let at_border =
                    |rest: &str| rest.is_empty() || rest.starts_with('.') || text.ends_with('.');
                name.ends_with(text.as_str()) || rest.is_some_and(at_border)
            }
            Self::Wildcard { whole, run } => {
                whole.is_match(name) || format!(".{name}.").contains(run.as_str())
            }
            Self::Last(end) => format!(".{name}").ends_with(end.as_str()),
            Self::Inside(part) => name.contains(part.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_pattern_ends_at_the_border_of_a_module() {
        // The three comments of `should_convert_module` in transformers 5.24.
        let is = |pattern: &str, name: &str| Pattern::module(pattern).unwrap().matches(name);
        assert!(is("layer.1", "layer.1.attn") && !is("layer.1", "layer.11.attn"));
        assert!(is("layer.*", "layer.11.attn"));
        assert!(is(
            "model.layers.*.self_attn",
            "model.layers.7.self_attn.q_proj"
        ));
        assert!(is("mlp.gate", "mlp.gate") && !is("mlp.gate", "mlp.gate_proj"));
        assert!(is("vision.*tower.", "vision_tower.x") && !is("vision.*tower.", "vision_towers"));
        assert!(is("fc1", "model.decoder.layers.23.fc1"));
        assert!(is("a|lm_head", "lm_head") && !is("lm_head|a", "alpha"));
    }

    #[test]
    fn a_pattern_from_the_start_may_leave_the_end_open() {
        let is = |pattern: &str, name: &str| Pattern::start(pattern).unwrap().matches(name);
        assert!(is(".*self_attn.*", "model.layers.0.self_attn.q_proj"));
        assert!(is("model.*attn", "model.layers.0.attn.q") && !is("layers", "model.layers"));
        assert!(is(r".*\.(q|k)_proj$", "a.k_proj") && !is(r".*\.(q|k)_proj$", "a.k_proj.b"));
    }

    #[test]
    fn a_wildcard_means_the_whole_name_or_a_run_of_parts() {
        let is = |pattern: &str, name: &str| Pattern::wildcard(pattern).unwrap().matches(name);
        assert!(is(
            "model.layers.0.self_attn*",
            "model.layers.0.self_attn.q_proj"
        ));
        assert!(is("*.router", "model.layers.3.mlp.router"));
        assert!(is("lm_head", "lm_head") && is("lm_head", "language_model.lm_head"));
        assert!(is("model.layers.1", "model.layers.1.mlp"));
        assert!(!is("model.layers.1", "model.layers.11.mlp"));
        assert!(!is("a+b(", "aab("));
    }

    #[test]
    fn look_around_and_huge_patterns_are_refused() {
        assert!(Pattern::start("^(?!.*vision).*").is_err());
        assert!(Pattern::start("(a{1000}){1000}").is_err());
        assert!(Pattern::module("(").is_err());
    }
}
