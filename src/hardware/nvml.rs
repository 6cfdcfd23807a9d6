//! What NVML says of each GPU. Any answer may be missing: old drivers lack calls, parts lack
//! properties, and a GPU can be lost. Each gap becomes a note and is filled with the catalogue's
//! figure, or with a guess that the device's source admits.

use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::MemoryInfo;
use nvml_wrapper::{Device as NvmlDevice, Nvml};

use super::catalogue::{self, Gpu};
use super::detect::printable;
use super::label::visible;
use super::rig::MOST_DEVICES;
use super::{ComputeCapability, Device, DeviceClass, HostId, Pcie, Source};
use crate::units::{Bytes, BytesPerSecond};

/// Bandwidth of a GPU of which nothing is known: 300 GB/s, that of a small card. A guess on the
/// slow side, so that no plan counts on it.
const ASSUMED_BANDWIDTH: BytesPerSecond = BytesPerSecond(300e9);

/// The GPUs that the driver lists, in its order.
pub(super) fn devices(driver: &Nvml, notes: &mut Vec<String>) -> Vec<Device> {
    let count = match driver.device_count() {
        Ok(0) => {
            notes.push("the NVIDIA driver lists no GPU".to_owned());
            0
        }
        Ok(count) => count.min(MOST_DEVICES as u32),
        Err(error) => {
            notes.push(format!("the NVIDIA driver can't count its GPUs: {error}"));
            0
        }
    };
    (0..count)
        .filter_map(|index| {
            let mut answers = Answers {
                name: format!("cuda{index}"),
                notes,
            };
            let gpu = driver.device_by_index(index);
            let gpu = answers.ask("it does not answer", gpu)?;
            device(&gpu, &mut answers)
        })
        .collect()
}

/// The name of the GPU that is asked, and where its silences are noted.
struct Answers<'a> {
    name: String,
    notes: &'a mut Vec<String>,
}

impl Answers<'_> {
    fn note(&mut self, text: &str) {
        self.notes.push(format!("{}: {text}", self.name));
    }

    fn ask<T>(&mut self, gap: &str, answer: Result<T, NvmlError>) -> Option<T> {
        answer
            .map_err(|error| self.note(&format!("{gap} ({error})")))
            .ok()
    }
}

fn device(gpu: &NvmlDevice<'_>, answers: &mut Answers<'_>) -> Option<Device> {
    let model = answers.ask("its name can't be read", gpu.name());
    let memory = answers.ask("its memory can't be read", gpu.memory_info());
    let total = memory.as_ref().map(|memory| Bytes(memory.total));
    let known = model
        .as_deref()
        .and_then(|model| catalogue::find_nvml(model, total.unwrap_or(Bytes::ZERO)));
    let capability = answers
        .ask(
            "its compute capability can't be read",
            gpu.cuda_compute_capability(),
        )
        .and_then(|answer| {
            Some(ComputeCapability {
                major: u32::try_from(answer.major).ok()?,
                minor: u32::try_from(answer.minor).ok()?,
            })
        })
        .or(known.and_then(|known| known.compute_capability));
    let class = match (known, capability) {
        (Some(known), _) => known.class,
        (None, Some(capability)) => DeviceClass::of_capability(capability),
        (None, None) => DeviceClass::Unknown,
    };
    let (size, reserve) = match (memory, known.and_then(Gpu::memory)) {
        (Some(memory), _) => sizes(&memory, known, class, answers),
        (None, Some(size)) => {
            answers.note(&format!("its memory is taken from the table, {size}"));
            (size, Bytes::ZERO)
        }
        (None, None) => {
            answers.note("it is left out, since nothing says how much memory it has");
            return None;
        }
    };
    let (bandwidth, source) = bandwidth(gpu, known, answers);
    let model = match known {
        Some(known) => known.model.clone(),
        None => printable(model).unwrap_or_else(|| "NVIDIA GPU".to_owned()),
    };
    let pci = answers.ask("its PCI address can't be read", gpu.pci_info());
    Some(Device {
        name: answers.name.clone(),
        model,
        class,
        memory: size,
        bandwidth,
        host: HostId::FIRST,
        link: link(gpu, known, answers),
        reserve,
        compute_capability: capability,
        pci: pci.and_then(|pci| printable(Some(short_address(&pci.bus_id)))),
        source,
    })
}

/// What an application can get, and what others hold of it now.
///
/// The driver says what it keeps for itself, but CUDA's total is less still (an RTX 3090 shows both
/// 24,576 and 24,124 MiB), so the table's rule is the other bound.
fn sizes(
    memory: &MemoryInfo,
    known: Option<&Gpu>,
    class: DeviceClass,
    answers: &mut Answers<'_>,
) -> (Bytes, Bytes) {
    let total = Bytes(memory.total);
    let by_rule = match known {
        Some(known) => known.memory_of(total),
        None => visible(class, total),
    };
    let size = by_rule.min(total.saturating_sub(Bytes(memory.reserved)));
    let held = Bytes(memory.used).min(size);
    if held > Bytes::ZERO {
        answers.note(&format!("{held} is in use now and kept as its reserve"));
    }
    (size, held)
}

/// Peak rate of the memory: the table's, else bus width in bytes × memory clock × 2 transfers.
///
/// NVML's memory clock of GDDR and HBM counts half the transfers: an RTX 3090's 384 bits at 9751
/// MHz are 936 GB/s.
fn bandwidth(
    gpu: &NvmlDevice<'_>,
    known: Option<&Gpu>,
    answers: &mut Answers<'_>,
) -> (BytesPerSecond, Source) {
    if let Some(known) = known {
        return (known.bandwidth, known.source);
    }
    let width = answers.ask("its bus width can't be read", gpu.memory_bus_width());
    let clock = answers.ask(
        "its memory clock can't be read",
        gpu.max_clock_info(Clock::Memory),
    );
    match (width, clock) {
        (Some(bits @ 1..), Some(megahertz @ 1..)) => {
            let rate = f64::from(bits) / 8.0 * f64::from(megahertz) * 1e6 * 2.0;
            let rate = BytesPerSecond(rate);
            answers.note(&format!(
                "it is not in the table; bus and clock give {rate}"
            ));
            (rate, Source::Measured)
        }
        _ => {
            answers.note(&format!(
                "its bandwidth is assumed to be {ASSUMED_BANDWIDTH}"
            ));
            (ASSUMED_BANDWIDTH, Source::Assumed)
        }
    }
}

/// The link as it is under load: the highest generation (an idle GPU shows 1.0) over the lanes that
/// are connected now.
fn link(gpu: &NvmlDevice<'_>, known: Option<&Gpu>, answers: &mut Answers<'_>) -> Pcie {
    let generation = answers.ask("its PCIe generation can't be read", gpu.max_pcie_link_gen());
    let lanes = gpu
        .current_pcie_link_width()
        .or_else(|_| gpu.max_pcie_link_width());
    let lanes = answers.ask("its PCIe lanes can't be read", lanes);
    let by_table = known.and_then(|known| known.link).unwrap_or(Pcie::ASSUMED);
    let link = Pcie {
        generation: generation
            .and_then(|generation| u8::try_from(generation).ok())
            .unwrap_or(by_table.generation),
        lanes: lanes
            .and_then(|lanes| u8::try_from(lanes).ok())
            .unwrap_or(by_table.lanes),
    };
    match link.exists() {
        true => link,
        false => {
            answers.note(&format!("no PCIe link is {link}; {by_table} is assumed"));
            by_table
        }
    }
}

/// `00000000:01:00.0`, as NVML writes it, as `0000:01:00.0`, as Linux does.
fn short_address(address: &str) -> String {
    match address.strip_prefix("0000") {
        Some(short) if address.len() == "00000000:01:00.0".len() => short.to_ascii_lowercase(),
        _ => address.to_ascii_lowercase(),
    }
}
