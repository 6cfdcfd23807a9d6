//! Matrices that may be in RAM without their block, as the graph knows them.

use crate::cost::Matrices;
use crate::cost::graph::{self, BlockShape, FeedForwardShape, Matrix};
use crate::model::format::Format;

/// The largest format of each matrix that may be in RAM without its block.
pub(super) fn largest_parts(blocks: &[BlockShape]) -> graph::Formats {
    let mut formats = graph::Formats::all(Format::F16);
    for matrices in Matrices::ALL {
        let have = |block: &&BlockShape| match (matrices, block.feed_forward) {
            (Matrices::Experts, FeedForwardShape::Experts(_))
            | (Matrices::FeedForward, FeedForwardShape::Dense(_)) => true,
            (
                _,
                FeedForwardShape::None | FeedForwardShape::Dense(_) | FeedForwardShape::Experts(_),
            ) => false,
        };
        for matrix in of_graph(matrices) {
            let stored = blocks.iter().filter(have);
            let stored = stored.map(|block| block.formats.of(*matrix));
            if let Some(largest) = stored.max_by_key(|format| format.row_bytes(ROW)) {
                formats = formats.with(*matrix, largest);
            }
        }
    }
    formats
}

/// What the graph calls such matrices.
pub(super) fn of_graph(matrices: Matrices) -> &'static [Matrix] {
    match matrices {
        Matrices::Experts => &[Matrix::ExpertGate, Matrix::ExpertUp, Matrix::ExpertDown],
        Matrices::FeedForward => &[Matrix::Gate, Matrix::Up, Matrix::Down],
    }
}

/// Elements of a row that is whole blocks in every format.
const ROW: u64 = 256;
