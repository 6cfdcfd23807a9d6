//! How many layers each device of a ring takes, where the slowest device sets the pace of further
//! rounds.
//!
//! A ring is walked several times for one token, and in every walk device i has a window of `w_i`
//! layers. What is least is `Σ time_i(w_i) + weight · max_i pace_i(w_i)` with `Σ w_i` given: the
//! problem of Halda (Li et al., prima.cpp, arXiv 2504.08791) once the rest of a device's choices is
//! made inside its window. Windows of no layers leave a device out. Exact: for every pace that a
//! device can have, from the fastest on, a dynamic program over the devices takes the windows that
//! keep it.

use crate::units::Seconds;

/// What a window of some number of layers costs a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// What it adds to the time of the first round.
    pub time: Seconds,
    /// The time below which no further round can stay.
    pub pace: Seconds,
}

/// The windows of a ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// Layers of each device.
    pub layers: Vec<usize>,
    /// Time of all rounds. No other windows have less.
    pub time: Seconds,
}

/// The windows that take least; none where no windows hold all layers.
///
/// `windows[device][w]` is the price of w layers, none where the device cannot take them; `weight`
/// is how often the slowest pace counts.
pub fn share(windows: &[Vec<Option<Window>>], n_layers: usize, weight: f64) -> Option<Shares> {
    let mut paces: Vec<f64> = windows
        .iter()
        .flatten()
        .flatten()
        .map(|window| window.pace.0)
        .collect();
    paces.sort_by(f64::total_cmp);
    paces.dedup();
    let mut best: Option<Shares> = None;
    // Any pace allowed: what is left of a bound once the pace is fixed.
    let least = within(windows, n_layers, f64::INFINITY)?.1;
    for pace in paces {
        if best
            .as_ref()
            .is_some_and(|best| least + weight * pace >= best.time.0)
        {
            break;
        }
        let Some((layers, time)) = within(windows, n_layers, pace) else {
            continue;
        };
        let time = time + weight * slowest(windows, &layers);
        if best.as_ref().is_none_or(|best| time < best.time.0) {
            let time = Seconds(time);
            best = Some(Shares { layers, time });
        }
    }
    best
}

fn slowest(windows: &[Vec<Option<Window>>], layers: &[usize]) -> f64 {
    let taken = windows.iter().zip(layers);
    let taken = taken.filter_map(|(windows, layers)| windows.get(*layers).copied().flatten());
    taken.map(|window| window.pace.0).fold(0.0, f64::max)
}

/// The windows with the least summed time among those that keep the pace.
fn within(
    windows: &[Vec<Option<Window>>],
    n_layers: usize,
    pace: f64,
) -> Option<(Vec<usize>, f64)> {
    let mut least = vec![f64::INFINITY; n_layers + 1];
    least[0] = 0.0;
    let mut taken: Vec<Vec<usize>> = Vec::new();
    for device in windows {
        let mut next = vec![f64::INFINITY; n_layers + 1];
        let mut by = vec![0; n_layers + 1];
        for (layers, window) in device.iter().enumerate().take(n_layers + 1) {
            let Some(window) = window.filter(|window| window.pace.0 <= pace) else {
                continue;
            };
            for before in 0..=n_layers - layers {
                let time = least[before] + window.time.0;
                if time < next[before + layers] {
                    next[before + layers] = time;
                    by[before + layers] = layers;
                }
            }
        }
        least = next;
        taken.push(by);
    }
    let time = least[n_layers];
    let mut left = n_layers;
    let mut layers: Vec<usize> = taken
        .iter()
        .rev()
        .map(|by| {
            let layers = by[left];
            left -= layers;
            layers
        })
        .collect();
    layers.reverse();
    time.is_finite().then_some((layers, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::random::Random;

    /// Every way to share the layers.
    fn by_force(windows: &[Vec<Option<Window>>], n_layers: usize, weight: f64) -> Option<f64> {
        fn go(
            windows: &[Vec<Option<Window>>],
            left: usize,
            weight: f64,
            (time, pace): (f64, f64),
        ) -> Option<f64> {
            let Some((device, rest)) = windows.split_first() else {
                return (left == 0).then_some(time + weight * pace);
            };
            let ways = device.iter().enumerate().take(left + 1);
            let ways = ways.filter_map(|(layers, window)| {
                let window = (*window)?;
                let sums = (time + window.time.0, pace.max(window.pace.0));
                go(rest, left - layers, weight, sums)
            });
            ways.min_by(f64::total_cmp)
        }
        go(windows, n_layers, weight, (0.0, 0.0))
    }

    #[test]
    fn brute_force_agrees_on_small_rings() {
        let mut random = Random(7);
        let (mut found, mut none) = (0, 0);
        for _ in 0..3_000 {
            let n_layers = 1 + random.below(6);
            let weight = random.below(4) as f64;
            let windows: Vec<Vec<Option<Window>>> = (0..1 + random.below(4))
                .map(|_| {
                    let window = |_| {
                        (random.below(4) > 0).then(|| Window {
                            time: Seconds(random.below(20) as f64),
                            pace: Seconds(random.below(20) as f64),
                        })
                    };
                    (0..=1 + n_layers.min(4)).map(window).collect()
                })
                .collect();
            let ours = share(&windows, n_layers, weight);
            let force = by_force(&windows, n_layers, weight);
            assert_eq!(ours.as_ref().map(|ours| ours.time.0), force, "{windows:?}");
            match ours {
                Some(ours) => {
                    assert_eq!(ours.layers.iter().sum::<usize>(), n_layers);
                    found += 1;
                }
                None => none += 1,
            }
        }
        assert!(found > 1_000 && none > 100, "{found} found, {none} not");
    }

    #[test]
    fn a_slow_device_is_left_out() {
        let window = |time: f64| {
            let time = Seconds(time);
            Some(Window { time, pace: time })
        };
        let fast = (0..=4).map(|layers| window(f64::from(layers))).collect();
        let slow = (0..=4)
            .map(|layers| window(f64::from(layers) * 9.0))
            .collect();
        let shares = share(&[fast, slow], 4, 3.0).expect("the fast one holds all");
        assert_eq!((shares.layers, shares.time), (vec![4, 0], Seconds(16.0)));
    }
}
