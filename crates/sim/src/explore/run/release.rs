//! Firmware in a plan: what nodes leave the factory with, and releases of the operator.

use super::{Action, Runner, TRY_AGAIN};
use crate::{
    explore::firmware::Firmware,
    swarm::{Flash, NodeFlash, bundles::DEVICE_CLASS},
};

impl Runner<'_> {
    /// As it leaves the factory.
    pub(super) fn blank_flash(&self, id: usize) -> Option<NodeFlash> {
        if self.firmware.is_none() || !self.plan.nodes[id].kind.is_honest() {
            return Some(NodeFlash::default());
        }
        NodeFlash::with_native(&self.kit.factory(self.posts[id].num)?)
    }

    /// What the checker says of a node's firmware, if nodes have any.
    pub(super) fn judge_firmware(
        &mut self,
        id: usize,
        say: impl FnOnce(&mut Firmware, &Flash) -> Result<(), String>,
    ) {
        let Some((firmware, flash)) = self.firmware.as_mut().zip(self.flash[id].native.as_ref()) else {
            return;
        };
        if let Err(what) = say(firmware, flash) {
            self.books.violate("firmware", self.world.now(), what);
        }
    }

    /// The operator looks who runs what before it signs the next delta: who has not confirmed the version before could make nothing of it. If
    /// one had to give that up, the whole image goes out.
    pub(super) fn release(&mut self, index: usize) {
        let version = u32::from(self.plan.firmware[index].version);
        let Some(firmware) = &mut self.firmware else { return };
        let before = version - 1;
        let gave_up = |id: &usize| firmware.gave_up(*id, before);
        let waits = self.members.iter().any(|id| firmware.confirmed(*id) < before && !gave_up(id));
        let whole = self.members.iter().any(gave_up);
        if waits && self.released.is_none_or(|released| released < index) {
            self.later(self.world.now() + TRY_AGAIN, Action::Release(index));
            return;
        }
        // What the operator has signed is on its way from now on, even if power fails meanwhile.
        firmware.publish(version);
        let update = self.kit.firmware((!whole).then_some(before), version, DEVICE_CLASS);
        let Some(update) = update else { return };
        let done = self.world.with_host(0, |body, now| {
            let done = body.with_agent(now, |agent, local| {
                agent.firmware().is_some_and(|firmware| firmware.running.sequence > version)
                    || agent.publish_stream(local, &[], &update.manifest, &update.stream).is_ok()
            });
            done == Some(true)
        });
        self.tell(0, || format!("publishes firmware {version}{}", if done { "" } else { ": not now" }));
        if done {
            self.released = self.released.max(Some(index));
        } else {
            self.later(self.world.now() + TRY_AGAIN, Action::Release(index));
        }
        self.drain(0);
    }
}
