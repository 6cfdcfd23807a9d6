//! A multimodal projector of llama.cpp: a tower for images (or sound) in a GGUF file of its own.
//!
//! Keys as in llama.cpp 0c1e57098 (`tools/mtmd/clip-impl.h`).

use crate::model::read::TensorInfo;
use crate::model::read::gguf::Gguf;
use crate::model::{Kind, Part, Tensor};

/// A projector.
#[derive(Clone, Debug)]
pub struct Projector {
    /// The file, as the user named it.
    pub name: String,
    /// Its tensors; all stand before the chain.
    pub tensors: Vec<Tensor>,
    /// What it makes of an image; none of one for sound alone.
    pub image: Option<Image>,
}

/// The widths of a tower for images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Patches of the largest image that the header states.
    pub patches: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Width of the feed-forward inside.
    pub ffn: u64,
}

/// Why a file is no projector of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectorError {
    /// A file of another architecture.
    #[error("`general.architecture` is `{0}`, and a projector says `clip`")]
    Architecture(String),
    /// A header that says nothing of a tower's widths.
    #[error("the header has no `{0}`, or one that no tower has")]
    Missing(&'static str),
    /// A projector into another width.
    #[error("none of its tensors is {0} wide, as the model's embedding is: it is another model's")]
    Width(u64),
}

impl Projector {
    /// Reads the projector of a header, for a model of this width.
    pub(super) fn new(name: String, header: &Gguf, hidden: u64) -> Result<Self, ProjectorError> {
        let architecture = header.text("general.architecture").unwrap_or_default();
        if architecture != "clip" {
            return Err(ProjectorError::Architecture(architecture.to_owned()));
        }
        let mut tensors = header.tensors.iter();
        if !tensors.any(|tensor| tensor.dims.contains(&hidden)) {
            return Err(ProjectorError::Width(hidden));
        }
        let has_image = header.unsigned("clip.vision.block_count").is_some();
        Ok(Self {
            name,
            tensors: header.tensors.iter().map(tensor).collect(),
            image: match has_image {
                true => Some(image(header)?),
                false => None,
            },
        })
    }
}

fn image(header: &Gguf) -> Result<Image, ProjectorError> {
    // No tower is wider, and no image larger.
    let number = |key| {
        let value = header.unsigned(key);
        value
            .filter(|value| (1..=1 << 16).contains(value))
            .ok_or(ProjectorError::Missing(key))
    };
    let (side, patch) = (
        number("clip.vision.image_size")?,
        number("clip.vision.patch_size")?,
    );
    let most = header.unsigned("clip.vision.image_max_pixels").unwrap_or(0);
    let pixels = (side * side).max(most.min(1 << 32));
    Ok(Image {
        patches: pixels.div_ceil(patch * patch),
        hidden: number("clip.vision.embedding_length")?,
        ffn: number("clip.vision.feed_forward_length")?,
    })
}

fn tensor(info: &TensorInfo) -> Tensor {
    let kind = match info.dims.len() {
        0 | 1 => Kind::Bias,
        _ => Kind::OwnLinear,
    };
    Tensor::of_gguf(info, Part::Tower, kind)
}
