//! What the CPU's weights cost that RAM does not hold: llama.cpp maps its file, and pages that fell out
//! of RAM are read from disk again.
//!
//! Weights that every token needs pass in the same order again and again, so that the page that is
//! needed next is the one that fell out longest ago: if they exceed RAM, all are read for every token
//! (published runs of 60B to 70B models on 10 GiB of free RAM take the whole part at 0.9 to 1.0 of the
//! disk's rate; prima.cpp, arXiv 2504.08791). Experts are needed at random, and the share is read that
//! RAM does not hold.

use super::LlamaCpp;
use crate::cost::parts::Sums;
use crate::cost::{Layout, Matrices, Memory, OnDisk, Parts, Place, Span, Store, capacity};
use crate::units::{Bytes, Seconds};

/// What is read from disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reread {
    /// For a token.
    pub(super) of_tokens: Bytes,
    /// For a micro-batch of a prompt, which needs every expert.
    pub(super) of_prompts: Bytes,
}

/// What is read of weights of which a token reads `read`, among it `routed` of experts, where RAM has
/// `room` for them.
fn reread(read: Bytes, routed: &Sums, room: Bytes) -> Reread {
    let always = read.saturating_sub(routed.read);
    let weights = always + routed.on_host;
    let of_tokens = match room.checked_sub(always) {
        // What a token reads pushes out what the next one reads first.
        _ if read > room => read,
        None => read,
        Some(room) => {
            let lacking = routed.on_host.saturating_sub(room);
            routed
                .read
                .scale(lacking.0 as f64 / routed.on_host.0.max(1) as f64)
        }
    };
    Reread {
        of_tokens,
        of_prompts: match weights > room {
            true => weights,
            false => Bytes::ZERO,
        },
    }
}

impl LlamaCpp<'_> {
    pub(super) fn disk_time(&self, bytes: Bytes) -> Seconds {
        let rate = self.rig.host().and_then(|host| host.disk);
        rate.map_or(Seconds::default(), |rate| bytes / rate)
    }

    /// RAM that is left for pages of the file, beside what a stage on the CPU needs.
    fn room_for_pages(&self, layout: Layout, beside: &Memory) -> Bytes {
        let taken = self.on_host_in_any_plan(layout).total() + beside.total();
        capacity(self.rig, Place::Host).saturating_sub(taken)
    }

    /// For the blocks of a stage on the CPU.
    pub(super) fn reread_by_host(&self, layout: Layout, span: &Span, needs: &Memory) -> Reread {
        match layout.store() {
            Store::Ram => Reread::default(),
            Store::Disk => {
                let every = Parts {
                    matrices: Matrices::Experts,
                    n_blocks: u32::MAX,
                };
                let routed = self.in_ram(Layout::parts_alone(every), &span.units);
                let room = self.room_for_pages(layout, needs);
                reread(self.between(&span.units).read, &routed, room)
            }
        }
    }

    /// The share of a stage in what is read for all parts in RAM.
    pub(super) fn reread_of_parts(&self, layout: Layout, own: &Sums) -> Reread {
        let Parts { matrices, .. } = layout.parts();
        match layout.store() {
            Store::Disk if own.n_blocks > 0 => {
                let all = self.in_ram(layout, &(0..self.units.len()));
                let routed = match matrices {
                    Matrices::Experts => all,
                    Matrices::FeedForward => Sums::default(),
                };
                let room = self.room_for_pages(layout, &Memory::default());
                let of_all = reread(all.read, &routed, room);
                let share = own.read.0 as f64 / all.read.0.max(1) as f64;
                Reread {
                    of_tokens: of_all.of_tokens.scale(share),
                    of_prompts: of_all.of_prompts.scale(share),
                }
            }
            Store::Disk | Store::Ram => Reread::default(),
        }
    }

    /// What RAM holds of the weights on the CPU, and what is left on disk.
    pub(super) fn left_on_disk(&self, layout: Layout, stages: &[Span]) -> OnDisk {
        if layout.store() == Store::Ram {
            return OnDisk::default();
        }
        let (mut weights, mut needs, mut read) = (self.input, Memory::default(), Bytes::ZERO);
        for span in stages {
            let sums = self.between(&span.units);
            let in_ram = self.in_ram(layout, &span.units);
            match span.place {
                Place::Host => {
                    weights += sums.on_host;
                    needs = self.on_host(layout, span, &sums);
                    read += self.reread_by_host(layout, span, &needs).of_tokens;
                }
                Place::Device(_) => {
                    weights += in_ram.on_host;
                    read += self.reread_of_parts(layout, &in_ram).of_tokens;
                }
            }
        }
        let in_ram = weights.min(self.room_for_pages(layout, &needs));
        OnDisk {
            units: 0..0,
            in_ram,
            weights: weights.saturating_sub(in_ram),
            read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_token_needs_is_read_whole_and_of_experts_what_ram_lacks() {
        let none = Sums::default();
        let gib = Bytes::gib;
        // 36 GiB of a dense model through 10 GiB of RAM, or through enough.
        let dense = |room| reread(gib(36), &none, room);
        assert_eq!(dense(gib(10)).of_tokens, gib(36));
        assert_eq!(dense(gib(36)).of_tokens, Bytes::ZERO);
        // 2 GiB that every token needs, and a sixteenth of 160 GiB of experts.
        let experts = Sums {
            on_host: gib(160),
            read: gib(10),
            ..none
        };
        let mixture = |room| reread(gib(12), &experts, room);
        // Half of the experts are in RAM beside the rest.
        assert_eq!(mixture(gib(82)).of_tokens, gib(5));
        assert_eq!(mixture(gib(82)).of_prompts, gib(162));
        assert_eq!(mixture(gib(162)).of_tokens, Bytes::ZERO);
        assert_eq!(mixture(gib(162)).of_prompts, Bytes::ZERO);
        // A token pushes out what the next one needs.
        assert_eq!(mixture(gib(11)).of_tokens, gib(12));
        let more = (0..170).map(|room| mixture(gib(room)).of_tokens);
        assert!(
            more.clone()
                .zip(more.skip(1))
                .all(|(less, more)| more <= less)
        );
    }
}
