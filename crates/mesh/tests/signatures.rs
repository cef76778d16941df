//! Signatures of broadcasts: who is believed under which policy; and that another implementation of Ed25519 agrees.

mod common;

use common::{
    TEXT_PORT,
    natives::{Natives, citizen, keys, num},
};
use compotastic_mesh::{
    citizen::{CitizenConfig, Message},
    modules::NODEINFO_PORT,
    nodedb::User,
    packet::{Data, NodeNum, PacketId, SIGNATURE},
    xeddsa::{Policy, Signed, Signer, verify},
};
use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signature, VerifyingKey};

/// Node 0 signs or not, node 1 has a policy.
fn mesh(sign: bool, policy: Policy) -> Natives {
    let mut mesh =
        Natives::line([CitizenConfig { sign, ..citizen(0) }, CitizenConfig { policy, ..citizen(1) }]);
    mesh.introduce(0, 1);
    mesh
}

fn say(mesh: &mut Natives, text: &str) -> usize {
    mesh.send(0, &Message::text(NodeNum::BROADCAST, 0, text, None));
    mesh.run(20);
    mesh.packets(1, TEXT_PORT).len()
}

#[test]
fn a_signed_broadcast_is_trusted_and_an_unsigned_one_is_heard() {
    for (sign, trusted) in [(true, true), (false, false)] {
        let mut mesh = mesh(sign, Policy::Compatible);
        say(&mut mesh, "hello");
        assert_eq!(mesh.packets(1, TEXT_PORT)[0].1, trusted);
        assert_eq!(mesh.nodes[1].citizen().node(num(0)).unwrap().signs, sign);
        let longer = if sign { 66 } else { 0 };
        assert_eq!(mesh.sent[0].bytes.len(), 16 + 2 + 2 + 5 + 2 + longer);
    }
}

#[test]
fn strict_nodes_hear_signed_broadcasts_only() {
    assert_eq!(say(&mut mesh(false, Policy::Strict), "hello"), 0);
    assert_eq!(say(&mut mesh(true, Policy::Strict), "hello"), 1);
    // What is too long for a signature is not heard either, and direct messages are.
    let mut mesh = mesh(true, Policy::Strict);
    assert_eq!(say(&mut mesh, &"x".repeat(200)), 0);
    let id = mesh.send(0, &Message::text(num(1), 0, "hello", None));
    mesh.run(20);
    assert!(mesh.packets(1, TEXT_PORT)[0].1);
    // The acknowledgement itself is neither: node 0 is not strict.
    assert!(mesh.acked(0, id));
}

/// A broadcast that somebody else says is node 0's.
fn forged(id: u32, payload: &[u8], signature: Option<&[u8; SIGNATURE]>) -> Vec<u8> {
    let header = common::header(num(0), NodeNum::BROADCAST, id);
    common::frame(&header, &Data { port: TEXT_PORT, payload, signature, ..Data::default() })
}

#[test]
fn balanced_nodes_do_not_believe_the_unsigned_words_of_who_signs() {
    let mut mesh = mesh(true, Policy::Balanced);
    mesh.hear(1, &forged(1, b"before anything was signed", None));
    mesh.run(5);
    assert_eq!(mesh.packets(1, TEXT_PORT).len(), 1);
    assert_eq!(say(&mut mesh, "signed"), 2);
    mesh.hear(1, &forged(2, b"a forgery", None));
    mesh.run(5);
    assert_eq!(mesh.packets(1, TEXT_PORT).len(), 2);
    assert_eq!(mesh.nodes[1].citizen().refused(), 1);
    // What is too long to be signed cannot be told from a forgery, and is heard.
    mesh.hear(1, &forged(3, &[b'x'; 200], None));
    mesh.run(5);
    assert_eq!(mesh.packets(1, TEXT_PORT).len(), 3);
}

#[test]
fn a_wrong_signature_is_never_heard() {
    for policy in [Policy::Compatible, Policy::Balanced, Policy::Strict] {
        let mut mesh = mesh(false, policy);
        let what = Signed { from: num(0), id: PacketId(1), port: TEXT_PORT };
        let good = Signer::new(&keys(0)).sign(&what, b"hello", &[1; 64]);
        let other = Signer::new(&keys(2)).sign(&what, b"hello", &[1; 64]);
        mesh.hear(1, &forged(1, b"hello", Some(&other)));
        mesh.run(5);
        assert_eq!(mesh.packets(1, TEXT_PORT).len(), 0, "{policy:?}");
        mesh.hear(1, &forged(4, b"hello", Some(&good)));
        mesh.run(5);
        assert_eq!(mesh.packets(1, TEXT_PORT).len(), 0, "it is another packet's");
    }
}

#[test]
fn who_introduces_itself_signs_with_the_key_that_it_tells() {
    let mut mesh = Natives::line([citizen(0), CitizenConfig { policy: Policy::Strict, ..citizen(1) }]);
    let user = User { public_key: Some(*keys(0).public()), ..User::named("new", "n") };
    let info = user.to_message("!00000000").to_vec_or_panic();
    for (signer, known) in [(2, false), (0, true)] {
        let id = 10 + signer as u32;
        let what = Signed { from: num(0), id: PacketId(id), port: NODEINFO_PORT };
        let signature = Signer::new(&keys(signer)).sign(&what, &info, &[1; 64]);
        let header = common::header(num(0), NodeNum::BROADCAST, id);
        let data =
            Data { port: NODEINFO_PORT, payload: &info, signature: Some(&signature), ..Data::default() };
        mesh.hear(1, &common::frame(&header, &data));
        mesh.run(5);
        let user = mesh.nodes[1].citizen().node(num(0)).and_then(|node| node.user.clone());
        assert_eq!(user.is_some(), known);
    }
}

trait Encoded {
    fn to_vec_or_panic(&self) -> Vec<u8>;
}

impl Encoded for compotastic_messages::User<'_> {
    fn to_vec_or_panic(&self) -> Vec<u8> {
        compotastic_messages::Message::to_vec::<128>(self).unwrap().to_vec()
    }
}

#[test]
fn another_implementation_of_ed25519_agrees() {
    let what = Signed { from: NodeNum(0x1234_5678), id: PacketId(0xdead_beef), port: 256 };
    let message =
        [&0x1234_5678u32.to_le_bytes()[..], &[0xef, 0xbe, 0xad, 0xde, 0, 1, 0, 0], b"hello"].concat();
    for index in 0..20 {
        let keys = keys(index);
        let signature = Signer::new(&keys).sign(&what, b"hello", &[index as u8; 64]);
        let edwards = MontgomeryPoint(*keys.public()).to_edwards(0).unwrap().compress();
        let theirs = VerifyingKey::from_bytes(edwards.as_bytes()).unwrap();
        theirs.verify_strict(&message, &Signature::from_bytes(&signature)).unwrap();
        assert!(verify(keys.public(), &what, b"hello", &signature));
    }
}
