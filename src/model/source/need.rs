//! What of a repository a plan needs, by the list of its files.

use super::choice::choose;
use super::name::{HubName, Pick};
use super::{ChoiceError, SourceError};

/// The configuration of a checkpoint.
pub(super) const CONFIG: &str = "config.json";

/// The list of the files of a checkpoint that is split.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The one file of a checkpoint that is not.
pub(super) const SINGLE: &str = "model.safetensors";

/// What has to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The headers of these files, in order.
    Gguf(Vec<String>),
    /// The configuration, and the headers of its weights.
    Checkpoint,
}

/// What is meant by a name: the file that it picks, else the checkpoint, else the only GGUF file.
pub(super) fn need(files: &[String], name: &HubName) -> Result<Need, SourceError> {
    let has = |wanted: &str| files.iter().any(|file| file == wanted);
    if name.pick == Pick::Any && has(CONFIG) && (has(INDEX) || has(SINGLE)) {
        return Ok(Need::Checkpoint);
    }
    let chosen = choose(files, &name.pick).map_err(|error| SourceError::Choice {
        name: name.to_string(),
        error,
    })?;
    match chosen.is_empty() {
        false => Ok(Need::Gguf(chosen)),
        true if has(CONFIG) => Ok(Need::Checkpoint),
        true => Err(SourceError::NoModel {
            name: name.to_string(),
            is_adapter: has("adapter_config.json"),
        }),
    }
}

/// Whether a list of files lacks what is meant, and a longer list may have it.
pub(super) fn may_be_elsewhere(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::NoModel { .. }
            | SourceError::Choice {
                error: ChoiceError::None { .. },
                ..
            }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str], name: &str) -> Result<Need, String> {
        let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
        need(&files, &name.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_checkpoint_comes_before_gguf_files_and_a_picked_file_before_all() {
        let files = [CONFIG, SINGLE, "a-Q4_0.gguf", "a-Q8_0.gguf"];
        assert_eq!(of(&files, "hf:a/b"), Ok(Need::Checkpoint));
        let q8 = Ok(Need::Gguf(vec!["a-Q8_0.gguf".to_owned()]));
        assert_eq!(of(&files, "hf:a/b:Q8_0"), q8);
        let one = Ok(Need::Gguf(vec!["a-Q4_0.gguf".to_owned()]));
        assert_eq!(of(&[CONFIG, "a-Q4_0.gguf"], "hf:a/b"), one);
        assert_eq!(
            of(&[CONFIG, "pytorch_model.bin"], "hf:a/b"),
            Ok(Need::Checkpoint)
        );
    }

    #[test]
    fn an_adapter_is_called_one() {
        let error = of(&["adapter_config.json"], "hf:a/b").unwrap_err();
        assert!(
            error.contains("it is an adapter\nhint: name the model"),
            "{error}"
        );
        assert!(
            of(&["x.txt"], "hf:a/b")
                .unwrap_err()
                .ends_with("config.json")
        );
    }
}
