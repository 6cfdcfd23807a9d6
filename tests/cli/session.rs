//! One run of the real program, as a shell would see it.

use std::process::Command;

use serde_json::Value;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `shardplan` with its output piped, and no word on colour in the environment.
pub(crate) fn shardplan(arguments: &[&str]) -> Answer {
    in_environment(&[], arguments)
}

/// Runs `shardplan` with these variables set.
pub(crate) fn in_environment(variables: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_shardplan"))
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .envs(variables.iter().copied())
        .output()
        .expect("cargo builds the program before its tests");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    Answer {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Answer {
    /// The data, of a run that ends with `code` and has nothing else to say.
    pub(crate) fn json(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr, "");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The text, of a run that ends well.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }
}
