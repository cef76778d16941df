//! No loop, with any links between any nodes.

use std::collections::{HashMap, HashSet, VecDeque};

use compotastic_links::bridge::{Bridge, Facts, LINKS, LinkRule, Medium};
use proptest::prelude::*;

const MEDIA: [Medium; 4] = [Medium::Radio, Medium::Lora, Medium::Udp, Medium::Mqtt];

/// A network: what it is, and which nodes are on it.
#[derive(Clone, Debug)]
struct Net {
    medium: Medium,
    nodes: Vec<usize>,
}

#[derive(Clone, Debug)]
struct World {
    nodes: usize,
    nets: Vec<Net>,
    /// Packets that are sent: by node, with a hop limit, allowed on MQTT or not.
    packets: Vec<(usize, u8, bool)>,
    window: usize,
    mqtt_to_lora: bool,
}

fn world() -> impl Strategy<Value = World> {
    (2usize..7).prop_flat_map(|nodes| {
        let net = (0..MEDIA.len(), prop::collection::vec(0..nodes, 2..6))
            .prop_map(|(medium, nodes)| Net { medium: MEDIA[medium], nodes });
        let packets = prop::collection::vec((0..nodes, 0u8..8, any::<bool>()), 1..12);
        (Just(nodes), prop::collection::vec(net, 1..9), packets, 1usize..40, any::<bool>()).prop_map(
            |(nodes, nets, packets, window, mqtt_to_lora)| World {
                nodes,
                nets,
                packets,
                window,
                mqtt_to_lora,
            },
        )
    })
}

/// What went over a net.
struct Sending {
    net: usize,
    sender: usize,
    facts: Facts,
}

struct Outcome {
    sendings: Vec<Sending>,
    delivered: HashMap<(usize, u32), usize>,
}

fn number(node: usize) -> u32 {
    node as u32 + 1
}

/// Runs a world until nothing moves. All packets are under way at the same time.
fn run(world: &World) -> Outcome {
    // The links of each node: the nets it is on, each once.
    let links: Vec<Vec<usize>> = (0..world.nodes)
        .map(|node| {
            (0..world.nets.len()).filter(|net| world.nets[*net].nodes.contains(&node)).take(LINKS).collect()
        })
        .collect();
    let mut bridges: Vec<Bridge> = (0..world.nodes)
        .map(|node| {
            let rules: Vec<LinkRule> = links[node]
                .iter()
                .map(|net| LinkRule {
                    mqtt_to_lora: world.mqtt_to_lora,
                    ..LinkRule::of(world.nets[*net].medium)
                })
                .collect();
            Bridge::with_window(number(node), &rules, world.window)
        })
        .collect();
    let mut waiting: VecDeque<Sending> = VecDeque::new();
    for (index, (node, hop_limit, ok_to_mqtt)) in world.packets.iter().enumerate() {
        let facts = Facts {
            from: number(*node),
            id: index as u32 + 1,
            hop_limit: *hop_limit,
            via_mqtt: false,
            ok_to_mqtt: *ok_to_mqtt,
        };
        for link in bridges[*node].handle_own(&facts).forwards() {
            waiting.push_back(Sending { net: links[*node][link], sender: *node, facts });
        }
    }
    let mut outcome = Outcome { sendings: Vec::new(), delivered: HashMap::new() };
    while let Some(sending) = waiting.pop_front() {
        assert!(outcome.sendings.len() < 200_000, "a loop");
        for hearer in world.nets[sending.net].nodes.iter().copied().collect::<HashSet<_>>() {
            if hearer == sending.sender {
                continue;
            }
            let Some(on) = links[hearer].iter().position(|net| *net == sending.net) else { continue };
            let decision = bridges[hearer].handle_packet(on, &sending.facts);
            *outcome.delivered.entry((hearer, sending.facts.id)).or_default() +=
                usize::from(decision.deliver);
            for link in decision.forwards() {
                assert_ne!(link, on, "back to where it came from");
                let facts =
                    Facts { hop_limit: decision.hop_limit, via_mqtt: decision.via_mqtt, ..sending.facts };
                waiting.push_back(Sending { net: links[hearer][link], sender: hearer, facts });
            }
        }
        outcome.sendings.push(sending);
    }
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// With a window that holds what is under way, each node sends a packet at most once on each net, and takes it once.
    #[test]
    fn each_node_sends_a_packet_once_on_a_net(world in world()) {
        let world = World { window: 64, ..world };
        let outcome = run(&world);
        let mut seen = HashSet::new();
        for Sending { net, sender, facts } in &outcome.sendings {
            prop_assert!(seen.insert((*net, *sender, facts.id)), "{sender} sends {} on {net} twice", facts.id);
        }
        prop_assert!(outcome.delivered.values().all(|times| *times <= 1));
    }

    /// With any window, however short, it ends: each bridge takes a hop. (`run` fails where it does not.)
    #[test]
    fn a_short_window_ends_too(world in world()) {
        run(&World { window: 1, nets: world.nets.iter().take(4).cloned().collect(), ..world });
    }

    /// Others' packets keep to the rules on every net.
    #[test]
    fn rules_hold_on_every_net(world in world()) {
        for Sending { net, sender, facts } in &run(&world).sendings {
            let others = facts.from != number(*sender);
            let medium = world.nets[*net].medium;
            prop_assert!(!others || medium != Medium::Radio, "others' packets go to a stock radio");
            prop_assert!(!others || medium != Medium::Mqtt || (facts.ok_to_mqtt && !facts.via_mqtt));
            prop_assert!(
                !others || medium == Medium::Mqtt || !facts.via_mqtt || world.mqtt_to_lora,
                "MQTT leads onto LoRa"
            );
        }
    }

    /// A packet for direct neighbours is passed on by nobody.
    #[test]
    fn zero_hops_are_never_bridged(world in world()) {
        let packets = world.packets.iter().map(|(node, _, ok)| (*node, 0, *ok)).collect();
        for Sending { sender, facts, .. } in &run(&World { packets, ..world }).sendings {
            prop_assert_eq!(facts.from, number(*sender));
        }
    }
}
