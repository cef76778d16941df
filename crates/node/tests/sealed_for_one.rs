//! A broadcast that is sealed for one node alone, as nodes behind a stock radio send what would be a unicast.

mod common;

use common::{Mate, Node, agent, at, events, sent};
use compotastic_mesh::packet::NodeNum;
use compotastic_node::AgentEvent;
use compotastic_wire::{Beacon, Frame, Report, ReportEntry, ReportWriter};

const US: NodeNum = NodeNum(1);
const FROM: u32 = 0x0a00_0001;

/// What a command post is told.
fn report(to: NodeNum, header_to: NodeNum, agent: &mut Node, mate: &mut Mate) -> usize {
    let entry = ReportEntry {
        priority: 2,
        form: 0,
        confidence: 9,
        class: 3,
        model_version: 1,
        age_min: 0,
        origin: 7,
        text: None,
    };
    let mut buffer = [0; 100];
    let mut writer = ReportWriter::new(&mut buffer);
    writer.push(&entry).unwrap();
    let frame = Frame::Report(Report::from_entries(writer.finish()));
    mate.says_under(agent, at(10), header_to, to, &frame);
    let received = |event: &AgentEvent| matches!(event, AgentEvent::ReportReceived { .. });
    events(agent).iter().filter(|event| received(event)).count()
}

#[test]
fn what_is_sealed_for_us_is_ours_and_is_answered() {
    let (mut agent, mut mate) = (agent(US), Mate::new(FROM));
    assert_eq!(report(US, NodeNum::BROADCAST, &mut agent, &mut mate), 1);
    assert_eq!(agent.refused_frames(), 0);
    let receipt = sent(&mut agent, at(10));
    assert!(receipt.iter().any(|out| out.to == mate.num), "{receipt:?}");
}

#[test]
fn what_is_sealed_for_another_is_refused() {
    let (mut agent, mut mate) = (agent(US), Mate::new(FROM));
    assert_eq!(report(NodeNum(2), NodeNum::BROADCAST, &mut agent, &mut mate), 0);
    // And a unicast says for whom it is.
    assert_eq!(report(US, NodeNum(2), &mut agent, &mut mate), 0);
    assert_eq!(report(NodeNum(2), US, &mut agent, &mut mate), 0);
    assert_eq!(agent.refused_frames(), 3);
}

#[test]
fn it_counts_once_whichever_header_it_comes_under() {
    let (mut agent, mut mate) = (agent(US), Mate::new(FROM));
    assert_eq!(report(US, US, &mut agent, &mut mate), 1);
    // Somebody sends it again under the other header.
    let mut replayer = Mate::new(FROM);
    assert_eq!(report(US, NodeNum::BROADCAST, &mut agent, &mut replayer), 0);
    assert_eq!(agent.refused_frames(), 1);
}

#[test]
fn broadcasts_for_all_are_read_as_before() {
    let (mut agent, mut mate) = (agent(US), Mate::new(FROM));
    mate.says(&mut agent, at(10), NodeNum::BROADCAST, &Frame::Beacon(Beacon::default()));
    assert!(agent.registry().get(mate.num).is_some());
    assert_eq!(agent.refused_frames(), 0);
}
