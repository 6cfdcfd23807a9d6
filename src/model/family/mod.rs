//! Families as data: reads the tables in `families/` and turns a row and a configuration into
//! blocks and tensors.
//!
//! A family of known parts is a row there and needs no code here.

mod expression;
mod row;
mod stack;
mod table;

use serde::{Deserialize, Serialize};

use crate::model::{Block, Cache, Part, Tensor, World};

pub use expression::{ExpressionError, Scope};
pub use row::Island;
pub use table::{all, naming};

use row::{Place, Row};
use stack::{Stack, Tower};

/// One family of models.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Its name here.
    pub name: String,
    /// Classes that `architectures` of a config.json may name.
    pub architectures: Vec<String>,
    /// What `model_type` of a config.json may say.
    pub model_types: Vec<String>,
    /// An expression that must hold for this row to apply.
    #[serde(default)]
    pub when: Option<String>,
    /// The architecture in a GGUF file; empty where llama.cpp has none.
    #[serde(default)]
    pub gguf: String,
    /// The key under which the language model's own configuration stands, where it is not the whole.
    #[serde(default)]
    pub config: Option<String>,
    /// What the class assumes where config.json says nothing.
    #[serde(default)]
    pub defaults: serde_json::Map<String, serde_json::Value>,
    /// Names for what other expressions use, in order.
    #[serde(default, rename = "let")]
    pub names: Vec<Definition>,
    /// Variants with other parts, which are refused: expressions.
    #[serde(default)]
    pub refuse: Vec<String>,
    /// When the head is the embedding's matrix, where config.json says nothing.
    #[serde(default)]
    pub tied: bool,
    /// Whether it is, whatever config.json says.
    #[serde(default)]
    pub always_tied: bool,
    /// Whether its GGUF file holds a head of its own although transformers ties it.
    #[serde(default)]
    pub head_apart_in_gguf: bool,
    /// Names of the modules.
    pub modules: Modules,
    /// What stands in a checkpoint before a module's name, where it differs: pairs of what the
    /// class says and what the checkpoint says.
    #[serde(default)]
    pub checkpoint: Vec<Renamed>,
    /// Modules beside the chain: vision towers and projectors.
    #[serde(default)]
    towers: Vec<Tower>,
    #[serde(default)]
    embedding: Vec<Row>,
    /// The repeating blocks, one stack behind the other (an encoder, then a decoder).
    stacks: Vec<Stack>,
    final_norm: Vec<Row>,
    /// The head, where it is not simply `lm_head`; left out where it is tied.
    #[serde(default)]
    head: Option<Vec<Row>>,
    /// Tables beside the chain.
    #[serde(default)]
    everywhere: Vec<Row>,
}

/// A name and the expression that it stands for.
pub type Definition = std::collections::BTreeMap<String, Text>;

/// An expression as the table writes it: text, or a plain number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// A number.
    Number(u64),
    /// An expression.
    Text(String),
}

/// How a checkpoint calls a module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renamed {
    /// How names of the class begin.
    pub module: String,
    /// How those of the checkpoint do.
    pub stored: String,
}

/// How the modules of a Hugging Face class are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// The module that holds all but the head: `model`, `transformer`.
    pub root: String,
    /// The class of a block, which accelerate must not split.
    pub block_class: String,
    /// The class that loads it, where that is not `AutoModelForCausalLM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    /// Modules without parameters of their own that a map has to name too: rotation tables, and other
    /// names of the embedding.
    #[serde(default)]
    pub buffers: Vec<String>,
    /// The modules of the input embedding; the table leaves them to the tensors.
    #[serde(default)]
    pub embedding: Vec<String>,
    /// Modules beside the chain that are placed before it: a vision tower; likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tower: Vec<String>,
    /// The modules of the blocks, in order; likewise.
    #[serde(default)]
    pub blocks: Vec<String>,
    /// The modules behind the last block; likewise.
    #[serde(default)]
    pub final_norm: Vec<String>,
    /// The modules of the head; likewise.
    #[serde(default)]
    pub head: Vec<String>,
    /// What stands in a checkpoint before a name, where it differs; likewise.
    #[serde(skip)]
    pub stored: Vec<Renamed>,
}

/// What a family makes of a configuration.
#[derive(Clone, Debug)]
pub struct Expanded {
    /// The blocks of all stacks, in order.
    pub blocks: Vec<Block>,
    /// Every tensor, in the order of execution.
    pub tensors: Vec<Tensor>,
    /// The names of its modules.
    pub modules: Modules,
}

impl Text {
    fn expression(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Sets the names of a table in a scope, and what follows from the heads.
///
/// # Errors
/// Where an expression has no value.
pub fn define(scope: &mut Scope, names: &[Definition]) -> Result<(), ExpressionError> {
    for (name, text) in names.iter().flatten() {
        scope.define(name, &text.expression())?;
    }
    scope.derive();
    Ok(())
}

/// More parameters than any model has, and few enough that their bytes can be summed.
const MOST_PARAMETERS: u64 = 1 << 52;
/// The same of what all blocks keep of one token and of one sequence.
const MOST_KEPT: u64 = 1 << 40;

/// Numbers of a configuration are bounded one by one, which their products are not.
fn within_reason(
    what: &str,
    counts: impl Iterator<Item = u64>,
    most: u64,
) -> Result<(), ExpressionError> {
    match counts.fold(0, u64::saturating_add) {
        sum if sum <= most => Ok(()),
        sum => Err(ExpressionError::OutOfRange {
            expression: format!("{what}, in all"),
            value: sum.to_string(),
        }),
    }
}

impl Family {
    /// The blocks and tensors of a model of this family.
    ///
    /// # Errors
    /// Where the configuration leaves out what an expression needs.
    pub fn expand(&self, scope: &Scope, tied: bool) -> Result<Expanded, ExpressionError> {
        let mut tensors = Vec::new();
        let mut blocks = Vec::new();
        let root = self.root();
        for tower in &self.towers {
            tower.expand(scope, &mut tensors)?;
        }
        let place = |part| Place {
            part,
            hf: root.clone(),
            gguf: String::new(),
        };
        add(
            &self.embedding,
            scope,
            &place(Part::Embedding),
            &mut tensors,
        )?;
        for stack in &self.stacks {
            stack.expand(scope, &root, &mut blocks, &mut tensors)?;
        }
        add(
            &self.final_norm,
            scope,
            &place(Part::FinalNorm),
            &mut tensors,
        )?;
        let head = place(Part::Head);
        match &self.head {
            _ if tied && !self.head_apart_in_gguf => {}
            Some(rows) => add(rows, scope, &head, &mut tensors)?,
            None => add(table::usual_head(), scope, &head, &mut tensors)?,
        }
        if tied {
            for tensor in tensors
                .iter_mut()
                .filter(|tensor| tensor.part == Part::Head)
            {
                tensor.world = World::Gguf;
            }
        }
        add(
            &self.everywhere,
            scope,
            &place(Part::Everywhere),
            &mut tensors,
        )?;
        within_reason(
            "parameters",
            tensors.iter().map(Tensor::elements),
            MOST_PARAMETERS,
        )?;
        let kept = blocks.iter().flat_map(|block| &block.caches);
        within_reason(
            "elements of the cache",
            kept.map(Cache::elements),
            MOST_KEPT,
        )?;
        let modules = self.modules(&tensors, &blocks);
        Ok(Expanded {
            blocks,
            tensors,
            modules,
        })
    }

    /// What the names of its modules begin with.
    fn root(&self) -> String {
        match self.modules.root.as_str() {
            "" => String::new(),
            root => format!("{root}."),
        }
    }

    /// The class of transformers that loads a model that is more than a decoder.
    fn loader(&self) -> Option<String> {
        let of_several_stacks = self
            .stacks
            .iter()
            .filter(|stack| !stack.is_in_gguf_only())
            .count()
            > 1;
        match (of_several_stacks, self.towers.is_empty()) {
            (true, _) => Some("AutoModelForSeq2SeqLM".to_owned()),
            (false, false) => Some("AutoModelForImageTextToText".to_owned()),
            (false, true) => None,
        }
    }

    /// The names of its modules, read off its tensors.
    fn modules(&self, tensors: &[Tensor], blocks: &[Block]) -> Modules {
        let of = |part| Modules::holding(part, tensors);
        Modules {
            embedding: of(Part::Embedding),
            final_norm: of(Part::FinalNorm),
            buffers: self
                .modules
                .buffers
                .iter()
                .cloned()
                .chain(of(Part::Everywhere))
                .collect(),
            loader: self.modules.loader.clone().or_else(|| self.loader()),
            head: match of(Part::Head) {
                // A tied head still is a module.
                names if names.is_empty() => match &self.head {
                    Some(rows) => rows.iter().map(|row| row.module(&self.root())).collect(),
                    None => vec!["lm_head".to_owned()],
                },
                names => names,
            },
            tower: towers(tensors),
            blocks: blocks
                .iter()
                .map(|block| block.module.clone())
                .filter(|module| !module.is_empty())
                .collect(),
            stored: self.checkpoint.clone(),
            ..self.modules.clone()
        }
    }
}

impl Modules {
    /// The modules that hold the tensors of a part, in order.
    pub fn holding(part: Part, tensors: &[Tensor]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let of_part = tensors
            .iter()
            .filter(|tensor| tensor.part == part && !tensor.hf_name.is_empty());
        for tensor in of_part {
            let name = tensor.module();
            // A constant within a module that is named needs no name of its own.
            if !names
                .iter()
                .any(|other| other == name || is_below(name, other))
            {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// The shortest list of modules that holds every tower and nothing else of the model.
fn towers(tensors: &[Tensor]) -> Vec<String> {
    let beside = tensors.iter().filter(|tensor| tensor.part == Part::Tower);
    let others: Vec<_> = tensors
        .iter()
        .filter(|tensor| tensor.part != Part::Tower && !tensor.hf_name.is_empty())
        .map(|tensor| tensor.hf_name.as_str())
        .collect();
    let mut modules: Vec<String> = Vec::new();
    for tensor in beside {
        if modules
            .iter()
            .any(|module| is_below(&tensor.hf_name, module))
        {
            continue;
        }
        let ends = tensor.hf_name.match_indices('.').map(|(end, _)| end);
        let mut prefixes = ends.map(|end| &tensor.hf_name[..end]);
        let alone = prefixes.find(|prefix| !others.iter().any(|other| is_below(other, prefix)));
        modules.push(alone.unwrap_or(&tensor.hf_name).to_owned());
    }
    modules
}

fn is_below(name: &str, module: &str) -> bool {
    name.strip_prefix(module)
        .is_some_and(|rest| rest.starts_with('.'))
}

fn add(
    rows: &[Row],
    scope: &Scope,
    place: &Place,
    tensors: &mut Vec<Tensor>,
) -> Result<(), ExpressionError> {
    rows.iter()
        .try_for_each(|row| row.expand(scope, place, tensors))
}

#[cfg(test)]
impl Family {
    /// The expressions that decide which row applies, and those of its names.
    fn expressions(&self) -> Vec<String> {
        let names = |names: &[Definition]| -> Vec<String> {
            names
                .iter()
                .flat_map(|names| names.values().map(Text::expression))
                .collect()
        };
        let kinds = self.stacks.iter().flat_map(|stack| &stack.kinds);
        let kinds = kinds.flat_map(|kind| kind.when.iter().cloned().chain(names(&kind.names)));
        let towers = self.towers.iter();
        let towers = towers.flat_map(|tower| tower.when.iter().cloned().chain(names(&tower.names)));
        let own = self.when.iter().chain(&self.refuse).cloned();
        own.chain(names(&self.names))
            .chain(kinds)
            .chain(towers)
            .collect()
    }
}
