//! How long a stage takes: for sequences that it decodes together, and for a prompt.

use crate::cost::Span;
use crate::cost::prefill;
use crate::cost::served::Batch;
use crate::cost::serving::sums::Sums;
use crate::cost::serving::{ALL_REDUCE, ALL_REDUCES, Serving};
use crate::cost::time::{self, Coefficients};
use crate::hardware::{Device, Transfer};
use crate::units::{Bytes, Seconds};

impl Serving<'_> {
    /// What a stage takes for sequences that it decodes together, each with its whole context.
    pub(super) fn batch(&self, device: &Device, degree: u32, own: &Sums, span: &Span) -> Batch {
        let law: Coefficients = time::serving(device.class);
        let (weights, keys) = (device.bandwidth * law.weights, device.bandwidth * law.kv);
        let hop = if span.units.start > 0 { 1.0 } else { 0.0 };
        let page = self.server.engine().page().0;
        let context = own.page * self.workload.context.0.div_ceil(page);
        let sum = self.all_reduce(device, degree) * own.n_blocks as f64;
        let latency = match degree {
            1 => Seconds::default(),
            _ => ALL_REDUCE * (ALL_REDUCES * own.n_blocks as f64),
        };
        let rate = device.bandwidth.0 * prefill::operations_per_byte(device.class);
        Batch {
            fixed: law.block * own.n_blocks as f64 + time::HOP * hop + latency,
            weights: own.read / weights,
            experts: own.experts / weights,
            share: self.expert_share,
            token: Seconds(own.operations / rate),
            sequence: context / keys + sum,
        }
    }

    /// The way of one token's vectors around the GPUs of a group, for one block.
    pub(super) fn all_reduce(&self, device: &Device, degree: u32) -> Seconds {
        let degree = f64::from(degree);
        let around = 2.0 * (degree - 1.0) / degree;
        let vector = Bytes(2 * self.hidden) / device.link.bandwidth(Transfer::Pinned);
        vector * (ALL_REDUCES * around)
    }

    /// A prompt through a stage: a group divides the operations and adds up every token.
    pub(super) fn prompt(&self, device: &Device, degree: u32, span: &Span) -> prefill::Prefill {
        let card = (device.class, device.bandwidth);
        let link = device.link.bandwidth(Transfer::Pinned);
        let alone = self.work.on_gpu(&span.units, card, (Bytes::ZERO, link));
        let part = 1.0 / f64::from(degree);
        let sum = self.all_reduce(device, degree) * span.units.len() as f64;
        prefill::Prefill {
            token: alone.token * part + sum,
            pair: alone.pair * part,
            ..alone
        }
    }
}
