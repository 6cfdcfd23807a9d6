//! What is in no block of a mix: the accounting of any rest beside any blocks, put together from files
//! of one recipe each.

use std::cell::OnceCell;

use super::super::{LlamaCpp, Sums};

impl LlamaCpp<'_> {
    /// The accounting of a file whose blocks are stored as here and all else as in another. Buffers
    /// stay as they are: the table is read on the CPU and the head where it lies, so that no graph
    /// copies either of them (tested in `cost/compute`).
    pub(super) fn with_rest_of(&self, other: &Self) -> Self {
        let n_blocks = self.units.len() - 1;
        let (blocks, head) = (self.sums[n_blocks], other.head());
        let mut sums = self.sums.clone();
        sums[n_blocks + 1] = Sums {
            on_device: blocks.on_device + head.on_device,
            on_host: blocks.on_host + head.on_host,
            read: blocks.read + head.read,
            ..sums[n_blocks + 1]
        };
        Self {
            sums,
            everywhere: other.everywhere,
            input: other.input,
            paces: OnceCell::new(),
            ..self.clone()
        }
    }

    /// Whether beside the same blocks this rest needs no more than another, wherever they are, and
    /// takes no longer.
    pub(super) fn has_no_larger_rest_than(&self, other: &Self) -> bool {
        let (own, others) = (self.head(), other.head());
        own.on_device <= others.on_device
            && own.on_host <= others.on_host
            && own.read <= others.read
            && self.everywhere <= other.everywhere
            && self.input <= other.input
    }

    /// Whether beside the same blocks both need and take the same on devices, and on the CPU but for
    /// what RAM holds in any plan.
    pub(super) fn has_rest_of(&self, other: &Self) -> bool {
        let (own, others) = (self.head(), other.head());
        let of = |sums: &Sums| [sums.on_device, sums.on_host, sums.read];
        of(&own) == of(&others) && self.everywhere == other.everywhere
    }

    fn head(&self) -> Sums {
        let n_units = self.units.len();
        self.between(&(n_units - 1..n_units))
    }
}

#[cfg(test)]
mod tests {
    use crate::cost::llama_cpp::LlamaCpp;
    use crate::hardware;
    use crate::model::mix::Mix;
    use crate::model::recipe::Recipe;
    use crate::model::{self, Precision};
    use crate::units::Tokens;
    use crate::workload::Workload;

    #[test]
    fn what_is_put_together_is_the_accounting_of_that_very_file() {
        let rig = hardware::read("RTX 3060, ram 64 GiB").unwrap();
        let workload = Workload::of_context(Tokens(4096));
        let recipes = [Recipe::Q8_0, Recipe::Q6K, Recipe::Q4KM, Recipe::Q2K];
        // With a head of its own, with one that copies the embedding, and with experts.
        for name in ["llama-3-8b", "gemma-3-4b", "mixtral-8x7b"] {
            let model = model::open(name).unwrap();
            let of_one = |recipe| {
                let precision = Precision::Gguf(recipe);
                LlamaCpp::new(&model, precision, &rig, &workload).unwrap()
            };
            let alone: Vec<_> = recipes.into_iter().map(of_one).collect();
            for (blocks, of_blocks) in recipes.iter().zip(&alone) {
                for (rest, of_rest) in recipes.iter().zip(&alone) {
                    let mix = Mix {
                        rest: *rest,
                        blocks: vec![*blocks; model.dimensions.n_layers as usize],
                    };
                    let formats = mix.formats(&model).unwrap();
                    let own = LlamaCpp::of_formats(&model, formats, &rig, &workload).unwrap();
                    let found = of_blocks.with_rest_of(of_rest);
                    assert_eq!(found.sums, own.sums, "{name} {blocks} {rest}");
                    assert_eq!(found.input, own.input, "{name} {blocks} {rest}");
                    assert_eq!(found.everywhere, own.everywhere, "{name} {blocks} {rest}");
                }
            }
        }
    }
}
