//! A configuration held against the headers of its checkpoint: every weight must be there, whole, in
//! parts or packed by a quantiser, and nothing that the model has no place for.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::format::Format;
use crate::model::quantisation::{
    Found, Grouped, Layout, Matrix, Scheme, StorageError, Stored, group, is_cache_scale,
};
use crate::model::read::TensorInfo;
use crate::model::{Kind, Model, Packed, Precision, Tensor, World};
use crate::units::Bytes;

/// Where a checkpoint differs from its configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A tensor that the configuration asks for.
    #[error(
        "the tensor `{0}`, which config.json asks for, is missing\nhint: the checkpoint is incomplete, or config.json is another model's"
    )]
    Missing(String),
    /// A tensor of another shape.
    #[error("the tensor `{name}` is {found:?}, and config.json makes it {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the header.
        found: Vec<u64>,
        /// Its shape by the configuration.
        expected: Vec<u64>,
    },
    /// A packed tensor that is not what its quantisation makes it.
    #[error(transparent)]
    Packed(#[from] StorageError),
    /// A tensor that no part of the model is.
    #[error("the tensor `{0}` is no part of this architecture")]
    Extra(String),
}

/// Tensors that older versions saved and nothing loads, and stored ones that no precision changes.
const CONSTANTS: [&str; 17] = [
    "rotary_emb.inv_freq",
    "attn.bias",
    "masked_bias",
    "cos_cached",
    "sin_cached",
    "position_ids",
    "_extra_state",
    "rope.freqs",
    "layer_scalar",
    "std_bias",
    "std_scale",
    "input_min",
    "input_max",
    "output_min",
    "output_max",
    "act_fn.beta",
    "act_fn.eps",
];

/// The tensors of headers that no tensor of the model has taken yet.
struct Left<'a> {
    modules: BTreeMap<&'a str, Found<'a>>,
    others: BTreeMap<&'a str, &'a TensorInfo>,
}

impl<'a> Left<'a> {
    fn new(found: &'a [TensorInfo]) -> Self {
        let Grouped { modules, others } = group(found);
        let others = others.into_iter().map(|info| (info.name.as_str(), info));
        Self {
            modules,
            others: others.collect(),
        }
    }

    /// Takes what stands for one matrix, under the first of its names that is there.
    fn take(
        &mut self,
        names: &[String],
        matrix: &Matrix<'_>,
        scheme: Option<&Scheme>,
    ) -> Result<Taken, Mismatch> {
        for name in names {
            if let Some(info) = self.others.remove(name.as_str()) {
                return plain(info, matrix);
            }
            let module = name.strip_suffix(".weight").unwrap_or(name);
            let Some(found) = self.modules.remove(module) else {
                continue;
            };
            return match (scheme, found.tensors().next()) {
                (None, Some(info)) if !found.is_quantised() => plain(info, matrix),
                (Some(scheme), _) if found.is_quantised() => {
                    let stored = scheme.held(matrix, &found)?;
                    Ok(Taken::Packed(Packed::from(stored)))
                }
                (Some(_), Some(info)) => plain(info, matrix),
                (None, _) => Err(Mismatch::Extra(format!("{module} (quantised)"))),
                (Some(_), None) => Err(Mismatch::Missing(matrix.name.to_owned())),
            };
        }
        Err(Mismatch::Missing(matrix.name.to_owned()))
    }
}

/// What the headers have for one tensor.
enum Taken {
    Plain(Format, Bytes),
    Packed(Packed),
}

/// A tensor as it is; `Conv1D` and some routers are stored with their sides exchanged.
fn plain(info: &TensorInfo, matrix: &Matrix<'_>) -> Result<Taken, Mismatch> {
    let exchanged = matrix.kind == Kind::TransposedLinear && info.dims.iter().rev().eq(matrix.dims);
    let elements = |dims: &[u64]| {
        dims.iter()
            .try_fold(1_u64, |product, dim| product.checked_mul(*dim))
    };
    // A convolution of one tap is stored with and without the dimension of its one channel.
    let squeezed = matrix.kind != Kind::Linear && elements(&info.dims) == elements(matrix.dims);
    if info.dims != matrix.dims && !exchanged && !squeezed {
        return Err(Mismatch::Shape {
            name: info.name.clone(),
            found: info.dims.clone(),
            expected: matrix.dims.to_vec(),
        });
    }
    Ok(Taken::Plain(info.format, info.bytes))
}

/// The model with what its headers say of each tensor.
///
/// # Errors
/// At the first difference.
pub fn held(
    mut model: Model,
    found: &[TensorInfo],
    scheme: Option<&Scheme>,
) -> Result<Model, Mismatch> {
    let mut left = Left::new(found);
    let source = source(&model);
    let renamed = model
        .modules
        .as_ref()
        .map(|modules| modules.stored.clone())
        .unwrap_or_default();
    // The names that a module's may have in a checkpoint: a checkpoint of the base model leaves out
    // the name of the module around it.
    let names = |name: &str| {
        let mut names = vec![name.to_owned()];
        for rename in &renamed {
            if let Some(rest) = name.strip_prefix(rename.module.as_str()) {
                names.push(format!("{}{rest}", rename.stored));
            }
        }
        names.extend(name.split_once('.').map(|(_, bare)| bare.to_owned()));
        names
    };
    for tensor in model
        .tensors
        .iter_mut()
        .filter(|tensor| tensor.is_trained())
    {
        let whole = Matrix {
            name: &tensor.hf_name,
            kind: tensor.kind,
            dims: &tensor.dims,
            source,
        };
        let taken = left.take(&names(whole.name), &whole, scheme);
        let taken = match taken {
            Err(Mismatch::Missing(_)) if !tensor.checkpoint.is_empty() => {
                parts(&mut left, tensor, source, scheme, &names)?
            }
            taken => taken?,
        };
        match taken {
            Taken::Plain(format, _) => tensor.stored = Some(format),
            Taken::Packed(packed) => tensor.packed = Some(packed),
        }
    }
    let loaded = model.blocks.iter().filter(|block| !block.module.is_empty());
    let n_layers = loaded.count() as u64;
    let lists = model
        .blocks
        .iter()
        .filter_map(|block| block.module.rsplit_once('.'));
    let lists: BTreeSet<_> = lists.map(|(list, _)| list).collect();
    let lists: BTreeSet<_> = lists.into_iter().flat_map(&names).collect();
    // Blocks beyond the last predict tokens further ahead, and are loaded only for that.
    let is_next_token = |name: &str| {
        lists.iter().any(|list| {
            let rest = name
                .strip_prefix(list.as_str())
                .and_then(|rest| rest.strip_prefix('.'));
            let number = rest.and_then(|rest| rest.split('.').next());
            number
                .and_then(|number| number.parse::<u64>().ok())
                .is_some_and(|number| number >= n_layers)
        }) || name.starts_with("mtp.")
    };
    // What only a GGUF file keeps of the checkpoint: matrices of blocks that share keys and values;
    // and tables, which some checkpoints store and others leave to be computed.
    let unloaded: BTreeSet<_> = (model.tensors.iter())
        .filter(|tensor| tensor.world == World::Gguf || tensor.kind.is_constant())
        .filter(|tensor| !tensor.hf_name.is_empty())
        .flat_map(|tensor| tensor.checkpoint.iter().chain([&tensor.hf_name]))
        .flat_map(|name| names(name.trim_end_matches(".weight")))
        .collect();
    let is_unloaded = |name: &str| unloaded.contains(name);
    let is_loaded = |name: &&str| {
        let second_head = model.tied && name.contains("lm_head");
        let constant = CONSTANTS.iter().any(|constant| name.ends_with(constant));
        !second_head
            && !constant
            && !is_unloaded(name)
            && !is_cache_scale(name)
            && !is_next_token(name)
    };
    let names = left.modules.keys().chain(left.others.keys()).copied();
    match names.into_iter().find(|name| is_loaded(name)) {
        Some(extra) => Err(Mismatch::Extra(extra.to_owned())),
        None => Ok(model),
    }
}

/// The numbers of a model before anybody quantised it.
fn source(model: &Model) -> Format {
    match model.stored {
        Some(Precision::Checkpoint(checkpoint)) => checkpoint.plain(),
        _ => Format::BF16,
    }
}

/// How a checkpoint cuts a tensor that it does not store whole: into equal shares of the rows, and
/// for each expert where the names are numbered.
struct Cut {
    experts: u64,
    kind: Kind,
    dims: [u64; 2],
}

impl Cut {
    fn of(tensor: &Tensor) -> Self {
        let numbered = tensor.checkpoint.iter().any(|name| name.contains("{}"));
        let (experts, rows, columns) = match tensor.dims.as_slice() {
            [experts, rows, columns] if numbered => (*experts, *rows, *columns),
            _ => (1, tensor.rows(), tensor.columns()),
        };
        Self {
            experts,
            kind: if numbered { Kind::Linear } else { tensor.kind },
            dims: [rows / tensor.checkpoint.len() as u64, columns],
        }
    }

    /// A part under its name.
    fn part<'a>(&'a self, name: &'a str, source: Format) -> Matrix<'a> {
        Matrix {
            name,
            kind: self.kind,
            dims: &self.dims,
            source,
        }
    }
}

/// A tensor that the checkpoint stores in parts: one of each name for every expert.
fn parts(
    left: &mut Left<'_>,
    tensor: &Tensor,
    source: Format,
    scheme: Option<&Scheme>,
    names: &dyn Fn(&str) -> Vec<String>,
) -> Result<Taken, Mismatch> {
    let cut = Cut::of(tensor);
    let mut packed = Packed::default();
    let mut plain_format = None;
    let mut is_packed = false;
    for expert in 0..cut.experts {
        for template in &tensor.checkpoint {
            let name = template.replace("{}", &expert.to_string());
            match left.take(&names(&name), &cut.part(&name, source), scheme)? {
                Taken::Plain(format, bytes) => {
                    plain_format = Some(format);
                    packed.file += bytes;
                    packed.loaded += bytes;
                }
                Taken::Packed(part) => {
                    is_packed = true;
                    packed.file += part.file;
                    packed.loaded += part.loaded;
                }
            }
        }
    }
    Ok(match plain_format {
        Some(format) if !is_packed => Taken::Plain(format, packed.file),
        _ => Taken::Packed(packed),
    })
}

/// What a scheme makes of each tensor where no headers are at hand.
///
/// # Errors
/// Where only the headers tell.
pub fn packed_by(mut model: Model, scheme: &Scheme) -> Result<Model, StorageError> {
    let source = source(&model);
    for tensor in model
        .tensors
        .iter_mut()
        .filter(|tensor| tensor.is_trained())
    {
        if tensor.checkpoint.is_empty() {
            let whole = Matrix {
                name: &tensor.hf_name,
                kind: tensor.kind,
                dims: &tensor.dims,
                source,
            };
            if *scheme.layout(&whole) != Layout::Plain {
                tensor.packed = Some(Packed::from(scheme.stored(&whole)?));
            }
            continue;
        }
        let cut = Cut::of(tensor);
        let mut packed = Packed::default();
        for template in &tensor.checkpoint {
            // Experts are alike.
            let name = template.replace("{}", "0");
            let stored = scheme.stored(&cut.part(&name, source))?;
            packed.file += stored.file * cut.experts;
            packed.loaded += stored.loaded * cut.experts;
        }
        tensor.packed = Some(packed);
    }
    Ok(model)
}

impl From<Stored> for Packed {
    fn from(stored: Stored) -> Self {
        Self {
            file: stored.file,
            loaded: stored.loaded,
        }
    }
}
