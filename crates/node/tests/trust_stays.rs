//! What an operator revoked or rotated holds after a restart, and after a power cut at any flash operation on the way.

mod common;

use common::{Flash, at, keys};
use compotastic_bundle::{
    ClassMask, Delegation, Geometry, KeyId, KindMask, RecordChange, RecordError, Revocation, Rotation, Slots,
    TrustStore, ramflash::Cut,
};
use compotastic_mesh::{packet::NodeNum, time::Duration};
use compotastic_node::{Agent, AgentConfig, policy::MissionProfile, state::StateLog};
use ed25519_dalek::SigningKey;

type Node = Box<Agent<'static, Flash>>;

const ROOT: u8 = 1;
const NEXT_ROOT: u8 = 2;
const EDGE: u8 = 3;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

fn start(state: Flash, root: u8) -> Option<Node> {
    let config = AgentConfig {
        num: NodeNum(1),
        device_class: 1,
        record_hash: 0,
        keys: keys(),
        trust: TrustStore::new(&[public(root)]).unwrap(),
        base: None,
        task: 1,
        profile: MissionProfile::default(),
        command_post: None,
        foundation_model: false,
        foundation_version: 0,
        mains_power: false,
        job_lifetime: Duration::from_secs(3600),
        hop_limit: 3,
    };
    let slots = Slots::open(Flash::default(), Geometry::packed::<Flash>(0, 4096, 176, 2).unwrap()).unwrap();
    Some(Box::new(Agent::new(config, slots, StateLog::open(state).ok()?, 1, at(0))?))
}

fn restarted(node: Node, root: u8) -> Node {
    let (_, mut state) = node.into_flash();
    state.power_on();
    start(state, root).expect("it starts from whatever power loss left")
}

fn delegation(epoch: u32, by: u8) -> Vec<u8> {
    let delegation = Delegation {
        public_key: public(EDGE),
        kinds: KindMask::EDGE,
        classes: ClassMask(2),
        size_cap: 4096,
        epoch,
    };
    delegation.sign(&key(by)).to_vec()
}

fn revocation(epoch: u32, by: u8) -> Vec<u8> {
    Revocation { key_id: KeyId::of(&public(EDGE)), epoch }.sign(&key(by)).to_vec()
}

fn rotation(to: u8, epoch: u32, by: u8) -> Vec<u8> {
    Rotation { rank: 0, public_key: public(to), epoch }.sign(&key(by)).to_vec()
}

#[test]
fn a_revoked_key_stays_revoked_and_a_root_key_that_went_stays_away() {
    let mut node = start(Flash::default(), ROOT).unwrap();
    assert!(matches!(node.add_trust_record(at(1), &delegation(1, ROOT)), Ok(RecordChange::Delegated(_))));
    assert!(matches!(node.add_trust_record(at(2), &revocation(2, ROOT)), Ok(RecordChange::Revoked(_))));
    for _ in 0..3 {
        node = restarted(node, ROOT);
        assert_eq!(node.add_trust_record(at(3), &delegation(1, ROOT)), Err(RecordError::Outdated));
        assert_eq!(node.add_trust_record(at(3), &revocation(2, ROOT)), Ok(RecordChange::Unchanged));
    }
    assert!(matches!(
        node.add_trust_record(at(4), &rotation(NEXT_ROOT, 1, ROOT)),
        Ok(RecordChange::Rotated(_))
    ));
    node = restarted(node, ROOT);
    assert_eq!(node.add_trust_record(at(5), &delegation(9, ROOT)), Err(RecordError::NotByRoot));
    assert_eq!(node.add_trust_record(at(5), &delegation(1, NEXT_ROOT)), Err(RecordError::Outdated));
    assert!(matches!(
        node.add_trust_record(at(5), &delegation(2, NEXT_ROOT)),
        Ok(RecordChange::Delegated(_))
    ));
    // And back again: epochs go on.
    assert!(matches!(
        node.add_trust_record(at(6), &rotation(ROOT, 2, NEXT_ROOT)),
        Ok(RecordChange::Rotated(_))
    ));
    node = restarted(node, ROOT);
    assert_eq!(node.add_trust_record(at(7), &rotation(NEXT_ROOT, 2, ROOT)), Err(RecordError::Outdated));
    // Another enrolment begins anew.
    node = restarted(node, NEXT_ROOT);
    assert!(matches!(
        node.add_trust_record(at(8), &delegation(1, NEXT_ROOT)),
        Ok(RecordChange::Delegated(_))
    ));
}

#[test]
fn whatever_flash_operation_power_fails_in_what_was_kept_holds() {
    let (mut cuts, mut kept) = (0, [0; 2]);
    for cut in [Cut::After, Cut::Fading, Cut::Garbled, Cut::Unseen] {
        for operations in 0.. {
            let mut node = start(Flash::default(), ROOT).unwrap();
            assert!(node.add_trust_record(at(1), &revocation(2, ROOT)).is_ok());
            let (_, mut state) = node.into_flash();
            state.cut_after(operations, cut);
            let Some(mut node) = start(state, ROOT) else { continue };
            // In RAM it holds at once, whatever flash says.
            assert!(node.add_trust_record(at(2), &revocation(5, ROOT)).is_ok());
            assert!(node.add_trust_record(at(3), &rotation(NEXT_ROOT, 1, ROOT)).is_ok());
            let (_, state) = node.into_flash();
            let whole = state.has_power();
            let mut node = {
                let mut state = state;
                state.power_on();
                start(state, ROOT).expect("it starts")
            };
            let rotated = node.add_trust_record(at(4), &delegation(1, ROOT)) == Err(RecordError::NotByRoot);
            let by = if rotated { NEXT_ROOT } else { ROOT };
            // What was kept before the cut is never lost.
            assert_eq!(node.add_trust_record(at(5), &delegation(1, by)), Err(RecordError::Outdated));
            let revoked = node.add_trust_record(at(6), &delegation(4, by)) == Err(RecordError::Outdated);
            assert!(revoked || !rotated, "in the order in which they came");
            kept[0] += u32::from(revoked);
            kept[1] += u32::from(rotated);
            if whole {
                assert!(revoked && rotated);
                break;
            }
            cuts += 1;
        }
    }
    println!("{cuts} cuts, the later revocation kept in {}, the rotation in {}", kept[0], kept[1]);
    assert!(cuts > 40 && kept[0] > kept[1] && kept[1] >= 4);
}

#[test]
fn what_flash_refuses_is_written_later() {
    let mut node = start(Flash::default(), ROOT).unwrap();
    let (_, mut state) = node.into_flash();
    state.cut_after(0, Cut::After);
    // The first write fails, and all until power is back; the agent runs on.
    node = start(state, ROOT).expect("a start only reads");
    assert!(node.add_trust_record(at(1), &revocation(2, ROOT)).is_ok());
    assert!(node.poll_timeout().is_some_and(|next| next <= at(302)));
    assert_eq!(node.add_trust_record(at(2), &delegation(1, ROOT)), Err(RecordError::Outdated));
}
