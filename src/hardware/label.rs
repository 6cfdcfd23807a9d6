//! From the memory on a GPU's label to what an application can get of it.

use super::DeviceClass;
use crate::units::Bytes;

/// What an application can get of the memory on the label, where no log says it.
///
/// Discrete cards: the driver keeps 2 % of it, at least 256 and at most 640 MiB. A safe envelope:
/// it gives no more than CUDA's totals that were seen on Linux, which are 7.76 GiB of an RTX 3070,
/// 11.75 GiB of an RTX 3060, 9.78 GiB of an RTX 3080, 5.79 GiB of an RTX 2060, 44.43 GiB of an RTX
/// 6000 Ada with ECC (PyTorch's messages in sshan-zhao/GASDA#19, StyleGaussian#12, CogVideo#34,
/// meshrcnn#92, MTVCrafter#21), 24,124 MiB of an RTX 3090, 24,080 of a 4090, 81,121 of an H100 and
/// 97,252 of 97,887 of a PRO 6000 (logs of llama.cpp and ik_llama.cpp). Windows gives the label.
///
/// Apple: macOS lets the GPU have two thirds of up to 32 GiB and three quarters above, commonly
/// reported as llama.cpp's `recommendedMaxWorkingSetSize`; a setting of the system raises it.
pub(super) fn visible(class: DeviceClass, label: Bytes) -> Bytes {
    if class == DeviceClass::Apple {
        return match label > Bytes::gib(32) {
            true => whole_mib(label.0 / 4 * 3),
            false => whole_mib(label.0 / 3 * 2),
        };
    }
    let kept = Bytes(label.0 / 50).clamp(Bytes::mib(256), Bytes::mib(640));
    whole_mib(label.saturating_sub(kept).0)
}

/// Rounded down to whole MiB: nobody means the bytes below it.
fn whole_mib(bytes: u64) -> Bytes {
    Bytes::mib(bytes >> 20)
}

/// Splits `RTX 3060 12 GB` into name and label; a box that says GB means GiB.
pub(super) fn split_label(name: &str) -> Option<(String, Bytes)> {
    let words: Vec<_> = name.split_whitespace().collect();
    let (stem, size) = match words.as_slice() {
        [stem @ .., number, unit] if !unit.starts_with(|letter: char| letter.is_ascii_digit()) => {
            (stem, format!("{number} {unit}"))
        }
        [stem @ .., size] => (stem, (*size).to_owned()),
        [] => return None,
    };
    let size = size.to_ascii_lowercase().replace("gb", "gib");
    let label: Bytes = size.parse().ok()?;
    (!stem.is_empty() && label > Bytes::ZERO).then(|| (stem.join(" "), label))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (label, what CUDA reported) in MiB; from the sources of `visible`.
    const SEEN: [(u64, u64); 9] = [
        (6_144, 5_924),
        (8_192, 7_941),
        (10_240, 10_009),
        (12_288, 12_027),
        (24_576, 24_124),
        (24_564, 24_080),
        (46_068, 45_491),
        (81_559, 81_121),
        (97_887, 97_252),
    ];

    #[test]
    fn the_rule_promises_no_more_than_cuda_gave() {
        for (label, seen) in SEEN {
            let promised = visible(DeviceClass::Ampere, Bytes::mib(label));
            assert!(promised <= Bytes::mib(seen + 5), "{label}: {promised}");
            assert!(
                promised.0 as f64 > 0.97 * Bytes::mib(seen).0 as f64,
                "{label}"
            );
        }
        assert_eq!(
            visible(DeviceClass::Apple, Bytes::gib(16)),
            Bytes::mib(10_922)
        );
        assert_eq!(visible(DeviceClass::Apple, Bytes::gib(64)), Bytes::gib(48));
        assert_eq!(visible(DeviceClass::Unknown, Bytes(5)), Bytes::ZERO);
    }

    #[test]
    fn a_label_is_split_off_a_name() {
        let split = |text| split_label(text).map(|(stem, label)| (stem, label.0 >> 30));
        assert_eq!(split("RTX 3060 12 GB"), Some(("RTX 3060".into(), 12)));
        assert_eq!(split("RTX 3060 12GiB"), Some(("RTX 3060".into(), 12)));
        for text in [
            "RTX 3060",
            "12 GiB",
            "",
            "RTX 3060 Ti",
            "A 1e9 GiB",
            "B 0 GiB",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
