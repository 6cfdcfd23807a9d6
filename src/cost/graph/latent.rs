//! Attention over a compressed cache (DeepSeek), whose matrices are absorbed on the way in and out.
//!
//! Source: `deepseek2.cpp` (llama.cpp 0c1e57098), of files that keep the two matrices apart.

use super::attention::{Heads, Look};
use super::build::{Builder, CacheInput};
use super::formats::Matrix;
use super::shape::{LatentShape, Norm};
use super::tensor::{Id, Op, Tensor};

impl Builder<'_> {
    /// Attention over a compressed cache, as `deepseek2.cpp` absorbs its matrices.
    pub(super) fn latent(&mut self, shape: &LatentShape, input: Id) -> Id {
        let tokens = self.batch.tokens;
        let (plain, rotated, rank) = (shape.plain_dim, shape.rotated_dim, shape.rank);
        let (dim, wide) = (plain + rotated, rank + rotated);
        let into_queries = match shape.query_rank {
            Some(rank) => {
                let narrow = self.project(Matrix::QueryDown, rank, false, input);
                self.pinned_norm(narrow, Norm::Rms)
            }
            None => input,
        };
        let queries = self.project(Matrix::Query, shape.heads * dim, false, into_queries);
        let queries = self.tape.reshape(queries, [dim, shape.heads, tokens, 1]);
        let compressed = self.project(Matrix::LatentDown, wide, false, input);
        let row = 4 * wide;
        let latent = self.tape.view(
            compressed,
            [rank, tokens, 1, 1],
            [4, row, row * tokens, row * tokens],
        );
        let place = self.tape.view(
            compressed,
            [rotated, 1, tokens, 1],
            [4, row, row, row * tokens],
        );
        let place = self.rotate(place);
        let latent = self.pinned_norm(latent, Norm::Rms);
        let strides = self.tape.get(queries).strides;
        let head = |dim: u64| [dim, shape.heads, tokens, 1];
        let plain_queries = self.tape.view(queries, head(plain), strides);
        let rotated_queries = self.tape.view(queries, head(rotated), strides);
        let rotated_queries = self.rotate(rotated_queries);
        let absorb = self.formats.of(Matrix::LatentKey);
        let absorb = self.weight(absorb, [plain, rank, shape.heads, 1]);
        let by_head = self.tape.permute(plain_queries, [0, 2, 1, 3]);
        let absorbed = self.tape.mat_mul(absorb, by_head);
        let absorbed = self.tape.permute(absorbed, [0, 2, 1, 3]);
        let queries = self
            .tape
            .result(Op::Other, head(wide), &[absorbed, rotated_queries]);
        let latent = self.tape.reshape(latent, [rank, 1, tokens, 1]);
        let keys = self
            .tape
            .result(Op::Other, [wide, 1, tokens, 1], &[latent, place]);
        for id in [queries, latent, keys] {
            self.tape.expand(id);
        }
        let cache = self.latent_input(wide);
        let stored = self.store_keys(keys, Heads { n: 1, dim: wide }, &cache);
        let Tensor {
            extents, strides, ..
        } = *self.tape.get(stored);
        let values = self
            .tape
            .view(stored, [rank, 1, extents[2], extents[3]], strides);
        let unfold = self.formats.of(Matrix::LatentValue);
        let unfold = self.weight(unfold, [rank, shape.value_dim, shape.heads, 1]);
        let look = Look {
            queries,
            keys: stored,
            values,
            sinks: None,
            unfold: Some(unfold),
            capped: false,
        };
        let seen = self.look(look, &cache);
        self.project(Matrix::AttentionOutput, self.shape.hidden, false, seen)
    }

    /// The inputs of a compressed cache, which is never turned.
    fn latent_input(&mut self, wide: u64) -> CacheInput {
        let cells = self.batch.cells;
        // No width that is a multiple of 64 is asked for, so nothing turns.
        self.cache_input(None, cells, wide, [1, 1])
    }
}
