//! A row of the family table, and the tensors that it stands for.

use serde::Deserialize;

use super::expression::{ExpressionError, Scope};
use crate::model::{Kind, Part, Tensor, World};

/// The most copies that a row may repeat to.
const MOST_COPIES: u64 = 4096;

/// One kind of tensor of a part.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Its module, below the part's; from the root where it begins with `/`. None where only a GGUF
    /// file has it.
    #[serde(default)]
    pub(super) hf: String,
    /// Its name in a GGUF file, likewise.
    #[serde(default)]
    pub(super) gguf: String,
    /// What it is for.
    pub(super) kind: Kind,
    /// Its shape, slowest first: expressions.
    pub(super) shape: Vec<Number>,
    /// When it has an added vector: `always`, or an expression.
    #[serde(default)]
    bias: Option<String>,
    /// When it is there.
    #[serde(default)]
    when: Option<String>,
    /// A bare parameter or buffer: its name is whole, without `.weight` behind it.
    #[serde(default)]
    bare: bool,
    /// The same of the name in a GGUF file.
    #[serde(default)]
    gguf_bare: bool,
    /// How many there are: `{}` in the names is the number of each.
    #[serde(default)]
    repeat: Option<Number>,
    /// The names of a checkpoint in which it is stored in parts, an equal share of the rows each:
    /// `{}` is the number of the expert, which is the first dimension.
    #[serde(default)]
    checkpoint: Vec<String>,
    /// When checkpoints store it and transformers leaves it there.
    #[serde(default)]
    unloaded: Option<String>,
    /// When transformers keeps it in 32 bits.
    #[serde(default)]
    fp32: Island,
}

/// When transformers keeps a tensor in 32 bits whatever the checkpoint's precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Island {
    /// Never.
    #[default]
    Never,
    /// Where the rest is in 16-bit floats, not in bfloat16 (`_keep_in_fp32_modules`).
    Fp16,
    /// Always (`_keep_in_fp32_modules_strict`).
    Always,
}

/// A number of the table, or an expression that gives one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    /// The number.
    Plain(u64),
    /// An expression.
    Expression(String),
}

impl Number {
    pub(super) fn of(&self, scope: &Scope) -> Result<u64, ExpressionError> {
        match self {
            Self::Plain(number) => Ok(*number),
            Self::Expression(expression) => scope.number(expression),
        }
    }
}

/// Where the tensors of a row belong, and what their names begin with.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) part: Part,
    pub(super) hf: String,
    pub(super) gguf: String,
}

impl Row {
    /// Adds its tensors to `tensors`.
    pub(super) fn expand(
        &self,
        scope: &Scope,
        place: &Place,
        tensors: &mut Vec<Tensor>,
    ) -> Result<(), ExpressionError> {
        if let Some(condition) = &self.when
            && !scope.is(condition)?
        {
            return Ok(());
        }
        let dims: Vec<_> = self
            .shape
            .iter()
            .map(|number| number.of(scope))
            .collect::<Result<_, _>>()?;
        let copies = match &self.repeat {
            Some(number) => number.of(scope)?.min(MOST_COPIES),
            None => 1,
        };
        let has_bias = match self.bias.as_deref() {
            Some("always") => true,
            Some(condition) => scope.is(condition)?,
            None => false,
        };
        let first = tensors.len();
        for copy in 0..copies {
            tensors.push(self.tensor(place, dims.clone(), copy));
            if has_bias {
                let rows = dims.first().copied().unwrap_or(1);
                tensors.push(Tensor {
                    kind: Kind::Bias,
                    hf_name: self.hf_name(place, copy, ".bias"),
                    gguf_name: self.gguf_name(place, copy, ".bias"),
                    dims: vec![rows],
                    checkpoint: Vec::new(),
                    ..self.tensor(place, Vec::new(), copy)
                });
            }
        }
        if let Some(condition) = &self.unloaded
            && scope.is(condition)?
        {
            for tensor in &mut tensors[first..] {
                tensor.world = World::Gguf;
            }
        }
        Ok(())
    }

    /// The path of its module.
    pub(super) fn module(&self, prefix: &str) -> String {
        match self.hf.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!("{prefix}{}", self.hf),
        }
    }

    fn tensor(&self, place: &Place, dims: Vec<u64>, copy: u64) -> Tensor {
        let (suffix, gguf_suffix) = (
            if self.bare { "" } else { ".weight" },
            if self.gguf_bare { "" } else { ".weight" },
        );
        let numbered = |name: &String| format!("{}{name}", place.hf);
        Tensor {
            part: place.part,
            kind: self.kind,
            hf_name: self.hf_name(place, copy, suffix),
            gguf_name: self.gguf_name(place, copy, gguf_suffix),
            checkpoint: self.checkpoint.iter().map(numbered).collect(),
            dims,
            stored: None,
            packed: None,
            world: match (self.hf.is_empty(), self.gguf.is_empty()) {
                (false, false) => World::Both,
                (true, _) => World::Gguf,
                (false, true) => World::Transformers,
            },
            fp32: self.fp32,
        }
    }

    fn hf_name(&self, place: &Place, copy: u64, suffix: &str) -> String {
        if self.hf.is_empty() {
            return String::new();
        }
        self.module(&place.hf).replace("{}", &copy.to_string()) + suffix
    }

    fn gguf_name(&self, place: &Place, copy: u64, suffix: &str) -> String {
        match self.gguf.strip_prefix('/') {
            _ if self.gguf.is_empty() => String::new(),
            Some(absolute) => absolute.replace("{}", &copy.to_string()) + suffix,
            None => {
                format!("{}{}", place.gguf, self.gguf).replace("{}", &copy.to_string()) + suffix
            }
        }
    }
}
