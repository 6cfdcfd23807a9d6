//! Small graphs against brute force.

use super::scatter::in_steps;
use super::*;
use crate::solve::random::Random;

fn item(work: f64, host_work: f64, bytes: u64) -> Item {
    Item {
        work: Some(Seconds(work)),
        host_work: Seconds(host_work),
        bytes: Bytes(bytes),
    }
}

/// Every way to give each item a device; the least largest load of those that `allowed` lets pass.
fn by_force(graph: &Graph, machine: &Machine, allowed: impl Fn(&[usize]) -> bool) -> Option<f64> {
    let (n_items, n_devices) = (graph.items.len(), machine.accelerators + machine.hosts);
    let ways = (0..n_devices.pow(n_items as u32)).filter_map(|way| {
        let device_of: Vec<usize> = (0..n_items as u32)
            .map(|item| way / n_devices.pow(item) % n_devices)
            .collect();
        if !allowed(&device_of) {
            return None;
        }
        let parts = (0..n_devices).map(|device| {
            let kind = if device < machine.accelerators {
                Device::Accelerator
            } else {
                Device::Host
            };
            let part = (0..n_items)
                .filter(|item| device_of[*item] == device)
                .collect();
            (kind, part)
        });
        graph.largest_load(machine, &parts.collect::<Vec<_>>())
    });
    ways.map(|load| load.0).min_by(f64::total_cmp)
}

/// Whether the devices can be put in an order in which no item waits for a later one.
fn is_pipeline(graph: &Graph, device_of: &[usize]) -> bool {
    let edges: Vec<(usize, usize)> = graph
        .order
        .iter()
        .map(|(from, to)| (device_of[*from], device_of[*to]))
        .filter(|(from, to)| from != to)
        .collect();
    let mut left: Vec<usize> = device_of.to_vec();
    left.sort_unstable();
    left.dedup();
    while !left.is_empty() {
        let waits = |device: usize| {
            edges
                .iter()
                .any(|(from, to)| *to == device && left.contains(from))
        };
        let Some(at) = left.iter().position(|device| !waits(*device)) else {
            return false;
        };
        left.remove(at);
    }
    true
}

/// A random graph, some of its items free of cost, some for hosts alone.
fn random_graph(random: &mut Random) -> (Graph, Machine) {
    let n_items = 1 + random.below(5);
    let items = (0..n_items).map(|_| match random.below(6) {
        0 => item(0.0, 0.0, random.below(3) as u64),
        1 => Item {
            work: None,
            ..item(0.0, random.below(30) as f64, 0)
        },
        _ => item(
            random.below(9) as f64,
            random.below(40) as f64,
            random.below(5) as u64,
        ),
    });
    let items: Vec<Item> = items.collect();
    let pairs = (0..n_items).flat_map(|from| (from + 1..n_items).map(move |to| (from, to)));
    let order: Vec<(usize, usize)> = pairs.filter(|_| random.below(5) < 2).collect();
    let transfers = (0..n_items).filter_map(|from| {
        let readers = order.iter().filter(|(other, _)| *other == from);
        let members: Vec<usize> = [from]
            .into_iter()
            .chain(readers.map(|(_, to)| *to))
            .collect();
        let time = Seconds(random.below(4) as f64);
        (members.len() > 1).then_some(Transfer { members, time })
    });
    let transfers = transfers.collect();
    let machine = Machine {
        accelerators: random.below(3),
        memory: Bytes(3 + random.below(12) as u64),
        hosts: random.below(2),
    };
    (
        Graph::new(items, order, transfers).expect("edges lead upwards"),
        machine,
    )
}

#[test]
fn brute_force_agrees_on_small_pipelines() {
    let mut random = Random(1);
    let (mut found, mut none) = (0, 0);
    for _ in 0..4_000 {
        let (graph, machine) = random_graph(&mut random);
        let force = by_force(&graph, &machine, |way| is_pipeline(&graph, way));
        let ours = contiguous(&graph, &machine);
        assert_eq!(
            ours.as_ref().map(|ours| ours.load.0),
            force,
            "{graph:?} {machine:?}"
        );
        match ours {
            Some(ours) => {
                assert_eq!(ours.bound, ours.load);
                assert_eq!(graph.largest_load(&machine, &ours.parts), Some(ours.load));
                found += 1;
            }
            None => none += 1,
        }
    }
    assert!(found > 2_000 && none > 300, "{found} found, {none} not");
}

#[test]
fn free_placement_lies_between_its_bound_and_the_pipeline_and_is_mostly_the_best() {
    let mut random = Random(2);
    let (mut cases, mut best) = (0, 0);
    while cases < 600 {
        let (graph, machine) = random_graph(&mut random);
        let Some(start) = contiguous(&graph, &machine) else {
            continue;
        };
        let force = by_force(&graph, &machine, |_| true).expect("a pipeline is a way");
        let ours = in_steps(&graph, &machine, &start.parts, 300).expect("so is it here");
        assert!(ours.bound.0 <= force + 1e-9, "{graph:?} {machine:?}");
        assert!(force <= ours.load.0 && ours.load.0 <= start.load.0);
        cases += 1;
        best += usize::from(ours.load.0 == force);
    }
    assert!(best * 100 >= cases * 95, "{best} of {cases}");
}

#[test]
fn one_more_accelerator_or_byte_never_makes_a_pipeline_slower() {
    let mut random = Random(3);
    for _ in 0..500 {
        let (graph, machine) = random_graph(&mut random);
        let Some(load) = contiguous(&graph, &machine).map(|it| it.load.0) else {
            continue;
        };
        let accelerators = machine.accelerators + 1;
        let memory = machine.memory + Bytes(2);
        for more in [
            Machine {
                accelerators,
                ..machine
            },
            Machine { memory, ..machine },
        ] {
            let other = contiguous(&graph, &more).expect("it had room before");
            assert!(other.load.0 <= load);
        }
    }
}

#[test]
fn an_output_crosses_a_border_once_however_many_read_it() {
    let items = vec![item(1.0, 10.0, 1); 3];
    let members = vec![0, 1, 2];
    let time = Seconds(5.0);
    let graph = Graph::new(
        items,
        vec![(0, 1), (0, 2)],
        vec![Transfer { members, time }],
    )
    .unwrap();
    let machine = Machine {
        accelerators: 2,
        memory: Bytes(9),
        hosts: 1,
    };
    let load = |part: &[usize]| graph.load(&machine, Device::Accelerator, part);
    assert_eq!(load(&[0]), Some(Seconds(6.0)));
    assert_eq!(load(&[1, 2]), Some(Seconds(7.0)));
    assert_eq!(load(&[0, 1, 2]), Some(Seconds(3.0)));
    assert_eq!(
        graph.load(&machine, Device::Host, &[0]),
        Some(Seconds(10.0))
    );
}

/// An operator of a training graph.
fn operator(group: usize, backward: bool) -> Operator {
    Operator {
        group,
        backward,
        item: item(1.0, 10.0, 1),
    }
}

#[test]
fn backward_operators_follow_their_forward_ones_and_cycles_of_groups_are_one_item() {
    // 0 → 1 → 2 forward, 2' → 1' → 0' backward; group 1 has a second operator behind group 2.
    let operators = [
        operator(10, false),
        operator(11, false),
        operator(12, false),
        operator(12, true),
        operator(11, true),
        operator(10, true),
        operator(11, false),
    ];
    let wire = |from, to| Wire {
        from,
        to,
        time: Seconds(1.0),
    };
    let wires = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6)].map(|(from, to)| wire(from, to));
    let pipeline = join(&operators, &wires, Order::Pipeline).unwrap();
    assert_eq!(pipeline.item_of, [0, 1, 1, 1, 1, 0, 1]);
    assert_eq!(pipeline.graph.order, [(0, 1)]);
    // The forward output of 0 and the backward one of 1 share their members.
    let members = vec![0, 1];
    let time = Seconds(2.0);
    assert_eq!(pipeline.graph.transfers, [Transfer { members, time }]);
    let free = join(&operators, &wires, Order::Free).unwrap();
    assert_eq!(free.item_of, [0, 1, 2, 2, 1, 0, 1]);
    assert!(free.graph.order.is_empty());
}

#[test]
fn a_group_without_forward_operators_takes_the_mirrored_order() {
    let operators = [operator(0, false), operator(0, true), operator(1, true)];
    let wires = [(0, 1), (1, 2)].map(|(from, to)| Wire {
        from,
        to,
        time: Seconds(1.0),
    });
    let joined = join(&operators, &wires, Order::Pipeline).unwrap();
    assert_eq!(joined.graph.order, [(1, 0)]);
}

#[test]
fn what_is_no_graph_is_refused() {
    let items = || vec![item(1.0, 1.0, 1); 2];
    let cycle = Graph::new(items(), vec![(0, 1), (1, 0)], Vec::new());
    assert_eq!(cycle, Err(GraphError::Cycle));
    let lost = Graph::new(items(), vec![(0, 2)], Vec::new());
    assert_eq!(lost, Err(GraphError::NoSuchItem { item: 2, items: 2 }));
    let negative = Graph::new(vec![item(-1.0, 1.0, 1)], Vec::new(), Vec::new());
    assert_eq!(negative, Err(GraphError::Time("-1".to_owned())));
}
