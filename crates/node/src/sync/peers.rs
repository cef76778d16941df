//! The neighbours: what they last said, and how patient we are with them.

use compotastic_mesh::time::Instant;
use heapless::Vec;

/// Neighbours remembered; the one heard longest ago makes room.
const PEERS: usize = 32;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) node: u32,
    pub(crate) digest: u64,
    heard_at: Instant,
    /// Changes here when both were last equal.
    pub(crate) equal_at: Option<u32>,
    /// It does not have the same members.
    pub(crate) other_members: bool,
    digests: Patience,
    lists: Patience,
}

/// Reactions since both were last equal, or since it brought news; and when the next one may be.
#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    reactions: u8,
    muted_until: Instant,
}

impl Patience {
    fn reactions(&self, now: Instant) -> Option<u8> {
        (now >= self.muted_until).then_some(self.reactions)
    }

    fn mute(&mut self, until: Instant) {
        self.reactions = self.reactions.saturating_add(1);
        self.muted_until = until;
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    peers: Vec<Peer, PEERS>,
}

impl Peers {
    fn entry(&mut self, now: Instant, node: u32, digest: u64) -> &mut Peer {
        let index = match self.peers.iter().position(|peer| peer.node == node) {
            Some(index) => index,
            None => {
                if self.peers.is_full()
                    && let Some((oldest, _)) =
                        self.peers.iter().enumerate().min_by_key(|(_, peer)| peer.heard_at)
                {
                    self.peers.swap_remove(oldest);
                }
                let peer = Peer {
                    node,
                    digest,
                    heard_at: now,
                    equal_at: None,
                    other_members: false,
                    digests: Patience::default(),
                    lists: Patience::default(),
                };
                // There is room: one was removed above if there was none.
                let _ = self.peers.push(peer);
                self.peers.len() - 1
            }
        };
        let peer = &mut self.peers[index];
        (peer.digest, peer.heard_at) = (digest, now);
        peer
    }

    pub(crate) fn get(&self, node: u32) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    /// Whether one that was heard since then knows something, and not the same as we.
    pub(crate) fn any_ahead(&self, since: Instant, own: u64) -> bool {
        self.peers.iter().any(|peer| peer.heard_at >= since && peer.digest != 0 && peer.digest != own)
    }

    /// It said what we would say.
    pub(crate) fn agree(&mut self, now: Instant, node: u32, digest: u64, changes: u32) {
        let peer = self.entry(now, node, digest);
        peer.equal_at = Some(changes);
        peer.other_members = false;
        (peer.digests, peer.lists) = (Patience::default(), Patience::default());
    }

    /// It brought something new.
    pub(crate) fn brought_news(&mut self, node: u32) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            (peer.digests, peer.lists) = (Patience::default(), Patience::default());
        }
    }

    /// It said something else. Reactions to it so far, if it is time for another.
    pub(crate) fn differ(&mut self, now: Instant, node: u32, digest: u64) -> Option<u8> {
        self.entry(now, node, digest).digests.reactions(now)
    }

    /// It sent a list. As [`Self::differ`].
    pub(crate) fn list(&mut self, now: Instant, node: u32) -> Option<u8> {
        let digest = self.get(node).map_or(0, |peer| peer.digest);
        self.entry(now, node, digest).lists.reactions(now)
    }

    /// A reaction was set in motion; the next one not before this time.
    pub(crate) fn mute(&mut self, node: u32, until: Instant) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.digests.mute(until);
        }
    }

    /// As [`Self::mute`], for lists.
    pub(crate) fn mute_lists(&mut self, node: u32, until: Instant) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.lists.mute(until);
        }
    }

    /// Whether it has the same members.
    pub(crate) fn set_other_members(&mut self, node: u32, others: bool) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.other_members = others;
        }
    }
}
