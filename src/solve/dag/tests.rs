//! Small graphs against brute force.

use super::scatter::in_steps;
use super::*;
use crate::solve::Stop;
use crate::solve::random::Random;

fn item(work: u64, host_work: u64, bytes: u64) -> Item {
    Item {
        work: vec![Some(Ticks(work)), Some(Ticks(host_work))],
        bytes: Bytes(bytes),
    }
}

/// Equal accelerators of a memory each, and host processors whose memory is not counted.
fn machine(accelerators: usize, memory: u64, hosts: usize) -> Machine {
    let kind = |count, memory, crossing| Kind {
        count,
        memory: Bytes(memory),
        crossing,
    };
    Machine {
        kinds: vec![kind(accelerators, memory, 1.0), kind(hosts, u64::MAX, 0.0)],
    }
}

fn best(graph: &Graph, machine: &Machine) -> Option<Partition> {
    contiguous(graph, machine, &Stop::default()).found()
}

/// Every way to give each item a device; the least largest load of those that `allowed` lets pass.
fn by_force(graph: &Graph, machine: &Machine, allowed: impl Fn(&[usize]) -> bool) -> Option<Ticks> {
    let kinds = machine.kinds.iter().enumerate();
    let devices: Vec<usize> = kinds.flat_map(|(kind, it)| vec![kind; it.count]).collect();
    let (n_items, n_devices) = (graph.items.len(), devices.len());
    let ways = (0..n_devices.pow(n_items as u32)).filter_map(|way| {
        let device_of: Vec<usize> = (0..n_items as u32)
            .map(|item| way / n_devices.pow(item) % n_devices)
            .collect();
        if !allowed(&device_of) {
            return None;
        }
        let parts = devices.iter().enumerate().map(|(device, kind)| {
            let part = (0..n_items).filter(|item| device_of[*item] == device);
            (*kind, part.collect())
        });
        graph.largest_load(machine, &parts.collect::<Vec<_>>())
    });
    ways.min()
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

/// A random graph, some of its items free of cost, some for hosts alone, on up to three kinds.
fn random_graph(random: &mut Random) -> (Graph, Machine) {
    let n_items = 1 + random.below(5);
    let mut devices = machine(
        random.below(3),
        3 + random.below(12) as u64,
        random.below(2),
    );
    let n_kinds = 2 + random.below(2);
    if n_kinds > 2 {
        devices.kinds.push(Kind {
            count: random.below(2),
            memory: Bytes(2 + random.below(9) as u64),
            crossing: [0.5, 1.0][random.below(2)],
        });
    }
    let items = (0..n_items).map(|_| {
        let mut item = match random.below(6) {
            0 => item(0, 0, random.below(3) as u64),
            1 => Item {
                work: vec![None, Some(Ticks(random.below(30) as u64))],
                bytes: Bytes(0),
            },
            _ => item(
                random.below(9) as u64,
                random.below(40) as u64,
                random.below(5) as u64,
            ),
        };
        let third = [None, Some(Ticks(random.below(12) as u64))][random.below(2)];
        item.work.extend((n_kinds > 2).then_some(third));
        item
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
        let time = Ticks(random.below(4) as u64);
        (members.len() > 1).then_some(Transfer { members, time })
    });
    let transfers = transfers.collect();
    (
        Graph::new(items, order, transfers).expect("edges lead upwards"),
        devices,
    )
}

#[test]
fn brute_force_agrees_on_small_pipelines() {
    let mut random = Random(1);
    let (mut found, mut none) = (0, 0);
    for _ in 0..2_000 {
        let (graph, machine) = random_graph(&mut random);
        let force = by_force(&graph, &machine, |way| is_pipeline(&graph, way));
        let ours = contiguous(&graph, &machine, &Stop::default());
        let load = ours.clone().found().map(|ours| ours.load);
        assert_eq!(load, force, "{graph:?} {machine:?}");
        match ours {
            Searched::Found(ours) => {
                assert_eq!(ours.bound, ours.load);
                assert_eq!(graph.largest_load(&machine, &ours.parts), Some(ours.load));
                found += 1;
            }
            Searched::Impossible => none += 1,
            Searched::Unknown => panic!("small graphs are decided"),
        }
    }
    assert!(found > 900 && none > 150, "{found} found, {none} not");
}

#[test]
fn free_placement_lies_between_its_bound_and_the_pipeline_and_is_mostly_the_best() {
    let mut random = Random(2);
    let (mut cases, mut met, mut tight) = (0, 0, 0);
    while cases < 300 {
        let (graph, machine) = random_graph(&mut random);
        let Some(start) = best(&graph, &machine) else {
            continue;
        };
        let force = by_force(&graph, &machine, |_| true).expect("a pipeline is a way");
        let exact = scattered(&graph, &machine, &start.parts, &Stop::default());
        let exact = exact.expect("so is it here");
        assert_eq!(
            (exact.load, exact.bound),
            (force, force),
            "{graph:?} {machine:?}"
        );
        let ours = in_steps(&graph, &machine, &start.parts, (300, &Stop::default()))
            .expect("so is it here");
        assert!(ours.bound <= force, "{graph:?} {machine:?}");
        assert!(force <= ours.load && ours.load <= start.load);
        cases += 1;
        met += usize::from(ours.load == force);
        tight += usize::from(ours.bound == force);
    }
    assert!(met * 100 >= cases * 95, "{met} of {cases}");
    assert!(tight * 100 >= cases * 40, "{tight} of {cases}");
}

#[test]
fn one_more_device_or_byte_never_makes_a_pipeline_slower() {
    let mut random = Random(3);
    for _ in 0..150 {
        let (graph, machine) = random_graph(&mut random);
        let Some(load) = best(&graph, &machine).map(|it| it.load) else {
            continue;
        };
        for kind in 0..machine.kinds.len() {
            let mut larger = machine.clone();
            larger.kinds[kind].count += 1;
            let mut roomier = machine.clone();
            roomier.kinds[kind].memory += Bytes(2);
            for more in [larger, roomier] {
                let other = best(&graph, &more).expect("it had room before");
                assert!(other.load <= load);
            }
        }
    }
}

#[test]
fn an_output_crosses_a_border_once_however_many_read_it() {
    let items = vec![item(1, 10, 1); 3];
    let members = vec![0, 1, 2];
    let time = Ticks(5);
    let graph = Graph::new(
        items,
        vec![(0, 1), (0, 2)],
        vec![Transfer { members, time }],
    )
    .unwrap();
    let machine = machine(2, 9, 1);
    let load = |kind, part: &[usize]| graph.load(&machine, kind, part);
    assert_eq!(load(0, &[0]), Some(Ticks(6)));
    assert_eq!(load(0, &[1, 2]), Some(Ticks(7)));
    assert_eq!(load(0, &[0, 1, 2]), Some(Ticks(3)));
    assert_eq!(load(1, &[0]), Some(Ticks(10)));
}

/// An operator of a training graph.
fn operator(group: usize, backward: bool) -> Operator {
    Operator {
        group,
        backward,
        item: item(1, 10, 1),
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
        time: Ticks(1),
    };
    let wires = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6)].map(|(from, to)| wire(from, to));
    let pipeline = join(&operators, &wires, Order::Pipeline).unwrap();
    assert_eq!(pipeline.item_of, [0, 1, 1, 1, 1, 0, 1]);
    assert_eq!(pipeline.graph.order, [(0, 1)]);
    // The forward output of 0 and the backward one of 1 share their members.
    let members = vec![0, 1];
    let time = Ticks(2);
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
        time: Ticks(1),
    });
    let joined = join(&operators, &wires, Order::Pipeline).unwrap();
    assert_eq!(joined.graph.order, [(1, 0)]);
}

#[test]
fn what_is_no_graph_is_refused() {
    let items = || vec![item(1, 1, 1); 2];
    let cycle = Graph::new(items(), vec![(0, 1), (1, 0)], Vec::new());
    assert_eq!(cycle, Err(GraphError::Cycle));
    let lost = Graph::new(items(), vec![(0, 2)], Vec::new());
    assert_eq!(lost, Err(GraphError::NoSuchItem { item: 2, items: 2 }));
    let mut uneven = items();
    uneven[1].work.pop();
    let uneven = Graph::new(uneven, Vec::new(), Vec::new());
    assert_eq!(uneven, Err(GraphError::Kinds(1)));
    let long = Graph::new(vec![item(u64::MAX, 1, 1)], Vec::new(), Vec::new());
    assert_eq!(long, Err(GraphError::TooLong));
}
