//! Names of the files of a split model: `NAME-00002-of-00003.gguf`.

use std::path::Path;

/// A name of that shape, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::model) struct SplitName {
    /// What stands before the numbers.
    pub(in crate::model) stem: String,
    /// How many files the model has, by this name.
    pub(in crate::model) count: u64,
}

impl SplitName {
    /// Takes the name of a file apart, if it has that shape.
    pub(in crate::model) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        (1..=count).contains(&number).then(|| Self {
            stem: stem.to_owned(),
            count,
        })
    }

    /// The name of the file with this index, from 0.
    pub(in crate::model) fn name(&self, index: u64) -> String {
        format!("{}-{:05}-of-{:05}.gguf", self.stem, index + 1, self.count)
    }
}

fn five_digits(text: &str) -> Option<u64> {
    let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_any_member_gives_all_names() {
        let split = SplitName::of(Path::new("a/x-of-y-00002-of-00003.gguf")).unwrap();
        assert_eq!(split.count, 3);
        assert_eq!(split.name(0), "x-of-y-00001-of-00003.gguf");
    }

    #[test]
    fn other_names_are_no_split_names() {
        for name in [
            "model.gguf",
            "model-1-of-3.gguf",
            "model-00004-of-00003.gguf",
            "model-00000-of-00003.gguf",
            "model-00001-of-00003.bin",
            "-of-.gguf",
            "model-+0001-of-00003.gguf",
        ] {
            assert_eq!(SplitName::of(Path::new(name)), None, "{name}");
        }
    }
}
