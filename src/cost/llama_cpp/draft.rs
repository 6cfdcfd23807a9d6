//! A whole model beside another one, as its draft: on one GPU, or in RAM.

use std::rc::Rc;

use super::{CUDA_CONTEXT, LlamaCpp};
use crate::cost::extras::Beside;
use crate::cost::{Accounting, Layout, Memory, Place, Position, Span};
use crate::hardware::DeviceId;

impl LlamaCpp<'_> {
    /// The same model as a draft: it gives one row of logits a sequence.
    ///
    /// Source: `common_base_params_to_speculative` (`common/speculative.cpp`, 0c1e57098).
    pub(in crate::cost) fn into_draft(mut self) -> Self {
        let compute = Rc::unwrap_or_clone(self.compute);
        self.compute = Rc::new(compute.with_one_output_a_sequence());
        self
    }

    /// What the whole chain takes on one GPU, whose own loss others have counted.
    pub(in crate::cost) fn whole_on_gpu(&self) -> Beside {
        let span = self.whole(Place::Device(DeviceId(0)));
        let device = self.on_device(Layout::OneDevice, &span, &self.between(&span.units));
        Beside {
            first: Memory {
                overhead: device.overhead.saturating_sub(CUDA_CONTEXT),
                ..device
            },
            host: self.host_base(Layout::OneDevice),
        }
    }

    /// What the whole chain takes in RAM.
    pub(in crate::cost) fn whole_in_ram(&self) -> Beside {
        let span = self.whole(Place::Host);
        Beside {
            first: self.on_host(Layout::HOST_ONLY, &span, &self.between(&span.units)),
            host: self.host_base(Layout::HOST_ONLY),
        }
    }

    fn whole(&self, place: Place) -> Span {
        Span {
            place,
            units: 0..self.units.len(),
            streamed: 0..0,
            position: Position::First,
        }
    }
}
