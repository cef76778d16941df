//! What a client is told, and in which order: first the state as it asked for it, then what comes.

use compotastic_messages::{
    ClientNotification, FromRadio, FromRadioPayload, Message as _, MyNodeInfo, NONCE_CONFIG_ONLY,
    NONCE_NODES_ONLY, NodeInfo,
    pb::{Text, Writer},
};

use super::{CHANNELS, CONFIGS, Device, MODULE_CONFIGS, Nodes, Part, Settings};

/// Field of `FromRadio` with a part of the configuration.
const CONFIG: u32 = 5;
/// Field of `FromRadio` with a module's configuration.
const MODULE_CONFIG: u32 = 9;
/// Field of `FromRadio` with a channel.
const CHANNEL: u32 = 10;
/// Least app version that the firmware names.
const MIN_APP_VERSION: u32 = 30_200;

/// Where a handshake stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Nobody has asked yet: nothing is told.
    #[default]
    Silent,
    MyInfo,
    Ui,
    Own,
    Metadata,
    Channel(u8),
    Config(u8),
    Module(u8),
    Other(usize),
    Complete,
    /// All is told; what comes is passed on.
    Live,
}

/// The handshake of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handshake {
    nonce: u32,
    step: Step,
}

impl Handshake {
    /// The client asks for the state: all of it, or with one of two nonces a part.
    pub(super) fn begin(&mut self, nonce: u32) {
        let step = if nonce == NONCE_NODES_ONLY { Step::Own } else { Step::MyInfo };
        *self = Self { nonce, step };
    }

    /// The step after this one. Files would come between the nodes and the end; there are none.
    fn next(&self) -> Step {
        match self.step {
            Step::Silent => Step::Silent,
            Step::MyInfo => Step::Ui,
            Step::Ui => Step::Own,
            Step::Own if self.nonce == NONCE_NODES_ONLY => Step::Other(0),
            Step::Own => Step::Metadata,
            Step::Metadata => Step::Channel(0),
            Step::Channel(index) if index + 1 < CHANNELS => Step::Channel(index + 1),
            Step::Channel(_) => Step::Config(0),
            Step::Config(kind) if kind + 1 < CONFIGS => Step::Config(kind + 1),
            Step::Config(_) => Step::Module(0),
            Step::Module(kind) if kind + 1 < MODULE_CONFIGS => Step::Module(kind + 1),
            Step::Module(_) if self.nonce == NONCE_CONFIG_ONLY => Step::Complete,
            Step::Module(_) => Step::Other(0),
            Step::Other(index) => Step::Other(index + 1),
            Step::Complete | Step::Live => Step::Live,
        }
    }
}

fn encode(payload: FromRadioPayload<'_>, out: &mut [u8]) -> Option<usize> {
    FromRadio::from(payload).encode_to(out).ok()
}

impl Device {
    /// The next `FromRadio` message for the client, written to the start of `out` ([`super::FROM_RADIO_MAX`] bytes are
    /// enough); its length. `None`: there is nothing to tell now.
    pub fn poll_from_radio(
        &mut self,
        now_ms: u64,
        settings: &Settings,
        nodes: &impl Nodes,
        out: &mut [u8],
    ) -> Option<usize> {
        if core::mem::take(&mut self.rebooted) {
            return encode(FromRadioPayload::Rebooted(true), out);
        }
        while self.handshake.step != Step::Live {
            let told = self.tell(settings, nodes, out);
            let step = self.handshake.step;
            // A step without a message, or whose message has no room, is passed over.
            self.handshake.step = match step {
                Step::Silent => return None,
                Step::Other(index) if index >= nodes.count() => Step::Complete,
                _ => self.handshake.next(),
            };
            if told.is_some() {
                return told;
            }
        }
        self.poll_live(now_ms, out)
    }

    /// The message of the present step.
    fn tell(&self, settings: &Settings, nodes: &impl Nodes, out: &mut [u8]) -> Option<usize> {
        match self.handshake.step {
            Step::Silent | Step::Live => None,
            Step::MyInfo => encode(
                FromRadioPayload::MyInfo(MyNodeInfo {
                    my_node_num: self.about.num,
                    reboot_count: self.about.reboot_count,
                    min_app_version: MIN_APP_VERSION,
                    device_id: &self.about.device_id,
                    pio_env: self.about.build.into(),
                    firmware_edition: 0,
                    nodedb_count: nodes.count() as u32 + 1,
                }),
                out,
            ),
            Step::Ui => encode(FromRadioPayload::DeviceuiConfig(settings.get(Part::Config(9))), out),
            Step::Own => {
                let user = settings.user(self.about.num, self.about.hw_model);
                let own = NodeInfo { num: self.about.num, user: Some(user.as_user()), ..nodes.own() };
                encode(FromRadioPayload::NodeInfo(own), out)
            }
            Step::Metadata => encode(FromRadioPayload::Metadata(self.metadata(settings)), out),
            Step::Channel(index) => {
                let mut writer = Writer::new(out);
                match settings.get(Part::Channel(index)) {
                    // A slot that was never set has its index alone, and settings without content.
                    [] => writer.nested_field(CHANNEL, |channel| {
                        if index > 0 {
                            channel.varint_field(1, u64::from(index));
                        }
                        channel.bytes_field(2, &[]);
                    }),
                    channel => writer.bytes_field(CHANNEL, channel),
                }
                writer.finish().ok()
            }
            Step::Config(kind) => {
                let mut writer = Writer::new(out);
                let section = settings.get(Part::Config(kind));
                writer.nested_field(CONFIG, |config| config.bytes_field(u32::from(kind) + 1, section));
                writer.finish().ok()
            }
            Step::Module(kind) => {
                let mut writer = Writer::new(out);
                let section = settings.get(Part::Module(kind));
                writer.nested_field(MODULE_CONFIG, |config| config.bytes_field(u32::from(kind) + 1, section));
                writer.finish().ok()
            }
            Step::Other(index) => {
                let mut told = None;
                nodes.other(index, &mut |node| {
                    if node.num != self.about.num {
                        told = encode(FromRadioPayload::NodeInfo(node), out);
                    }
                });
                told
            }
            Step::Complete => encode(FromRadioPayload::ConfigCompleteId(self.handshake.nonce), out),
        }
    }

    /// What came since: queue states first, since a client waits for them.
    fn poll_live(&mut self, now_ms: u64, out: &mut [u8]) -> Option<usize> {
        if let Some(state) = self.states.pop_front() {
            return encode(FromRadioPayload::QueueStatus(state), out);
        }
        if let Some(notification) = self.notifications.pop_front() {
            let payload = ClientNotification {
                reply_id: notification.reply_id,
                time: self.unix_s(now_ms),
                level: notification.level,
                message: Text(notification.message.as_bytes()),
                payload: None,
            };
            return encode(FromRadioPayload::ClientNotification(payload), out);
        }
        let packet = self.packets.pop_front()?;
        out.get_mut(..packet.len())?.copy_from_slice(&packet);
        Some(packet.len())
    }

    /// Something waits for the client, or will once it has asked for the state.
    pub fn has_something(&self) -> bool {
        !matches!(self.handshake.step, Step::Silent | Step::Live)
            || self.rebooted
            || self.handshake.step == Step::Live
                && !(self.states.is_empty() && self.notifications.is_empty() && self.packets.is_empty())
    }
}
