//! Admin messages of the node's own client: what it reads and sets.

use compotastic_messages::{
    AdminMessage, AdminPayload, Channel, ChannelRole, ConfigType, Data, Message as _, ModuleConfigType,
    PortNum, Position, Priority, RoutingError,
    pb::{Fields, Wire, Writer},
};

use super::{
    CHANNELS, CONFIGS, Device, DeviceEvent, MODULE_CONFIGS, PAYLOAD_MAX, Part, Settings, SettingsFull,
};

/// A session's key is valid for this long, milliseconds.
const PASSKEY_VALID_MS: u64 = 300_000;
/// An answer after this time has a new one.
const PASSKEY_RENEWED_MS: u64 = 150_000;
/// Fields of `AdminMessage`.
const GET_CHANNEL_RESPONSE: u32 = 2;
const GET_CONFIG_RESPONSE: u32 = 6;
const GET_MODULE_CONFIG_RESPONSE: u32 = 8;
const GET_UI_CONFIG_RESPONSE: u32 = 45;
const SET_CHANNEL: u32 = 33;
const SET_CONFIG: u32 = 34;
const SET_MODULE_CONFIG: u32 = 35;
const SESSION_PASSKEY: u32 = 101;
/// An answer longer than a packet's payload still goes to the own client.
const ANSWER_MAX: usize = 320;

/// State of settings that are being changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Admin {
    /// Between `begin_edit_settings` and `commit_edit_settings`.
    editing: bool,
    /// Something was changed meanwhile.
    changed: bool,
    passkey: [u8; 8],
    passkey_at_ms: Option<u64>,
}

impl Admin {
    pub(super) fn end_edit(&mut self) {
        self.editing = false;
    }
}

/// What an admin message leads to.
#[allow(clippy::large_enum_variant, reason = "used up at once; a box would need an allocator")]
enum Answer {
    /// Nothing but an acknowledgement.
    Done,
    /// Nothing that this device has.
    Unknown,
    /// It makes no sense, or there is no room for it.
    Bad,
    /// An admin message, already encoded but for the session's key.
    Message(heapless::Vec<u8, ANSWER_MAX>),
}

impl From<Result<(), SettingsFull>> for Answer {
    fn from(set: Result<(), SettingsFull>) -> Self {
        if set.is_ok() { Self::Done } else { Self::Bad }
    }
}

/// An answer written by `body`.
fn answer(body: impl FnOnce(&mut Writer<'_>)) -> Answer {
    let mut bytes = heapless::Vec::new();
    let _ = bytes.resize(ANSWER_MAX, 0);
    let mut writer = Writer::new(&mut bytes);
    body(&mut writer);
    match writer.finish() {
        Ok(length) => {
            bytes.truncate(length);
            Answer::Message(bytes)
        }
        Err(_) => Answer::Bad,
    }
}

fn message(payload: AdminPayload<'_>) -> Answer {
    answer(|writer| AdminMessage::from(payload).encode(writer))
}

impl Device {
    /// An admin message of the own client.
    pub(super) fn handle_admin(
        &mut self,
        now_ms: u64,
        id: u32,
        want_ack: bool,
        data: &Data<'_>,
        settings: &mut Settings,
    ) {
        let answer = self.administer(now_ms, data.payload, settings);
        let wanted = data.want_response || want_ack;
        match answer {
            Answer::Message(mut bytes) => {
                let passkey = self.passkey(now_ms);
                let mut field = [0; 16];
                let mut writer = Writer::new(&mut field);
                writer.bytes_field(SESSION_PASSKEY, &passkey);
                if let Ok(length) = writer.finish() {
                    let _ = bytes.extend_from_slice(&field[..length]);
                }
                self.push_own(now_ms, PortNum::ADMIN_APP, &bytes, id, Priority::RESPONSE);
            }
            Answer::Done if wanted => self.push_error(now_ms, id, RoutingError::NONE),
            Answer::Done => {}
            Answer::Unknown if data.want_response => self.push_error(now_ms, id, RoutingError::NO_RESPONSE),
            Answer::Unknown => {}
            Answer::Bad => self.push_error(now_ms, id, RoutingError::BAD_REQUEST),
        }
    }

    /// The session's key; a new one when the last is half over.
    fn passkey(&mut self, now_ms: u64) -> [u8; 8] {
        let fresh = |at_ms: u64| now_ms < at_ms.saturating_add(PASSKEY_RENEWED_MS);
        if !self.admin.passkey_at_ms.is_some_and(fresh) {
            self.admin.passkey = self.draw().to_le_bytes();
            self.admin.passkey_at_ms = Some(now_ms);
        }
        self.admin.passkey
    }

    /// True if this is the key of a session that is still valid: what a host asks before it sets anything from afar.
    pub fn is_session(&self, now_ms: u64, passkey: &[u8]) -> bool {
        let valid = |at_ms: u64| now_ms < at_ms.saturating_add(PASSKEY_VALID_MS);
        self.admin.passkey_at_ms.is_some_and(valid) && passkey == self.admin.passkey
    }

    fn changed(&mut self) {
        if self.admin.editing {
            self.admin.changed = true;
        } else {
            self.push_event(DeviceEvent::SettingsChanged);
        }
    }

    fn set(&mut self, settings: &mut Settings, part: Part, message: &[u8]) -> Answer {
        let set = settings.set(part, message);
        if set.is_ok() {
            self.changed();
        }
        set.into()
    }

    fn administer(&mut self, now_ms: u64, bytes: &[u8], settings: &mut Settings) -> Answer {
        let Ok(admin) = AdminMessage::decode(bytes) else { return Answer::Bad };
        let Some(payload) = admin.payload else { return Answer::Bad };
        match payload {
            AdminPayload::GetChannelRequest(number @ 1..=8) => {
                let index = number as u8 - 1;
                let stored = settings.get(Part::Channel(index));
                if stored.is_empty() {
                    message(AdminPayload::GetChannelResponse(settings.channel(index)))
                } else {
                    answer(|writer| writer.bytes_field(GET_CHANNEL_RESPONSE, stored))
                }
            }
            AdminPayload::GetChannelRequest(_) => Answer::Bad,
            AdminPayload::GetOwnerRequest(_) => {
                let user = settings.user(self.about.num, self.about.hw_model);
                message(AdminPayload::GetOwnerResponse(user.as_user()))
            }
            AdminPayload::GetConfigRequest(ConfigType(kind)) if kind < u32::from(CONFIGS) => {
                let section = settings.get(Part::Config(kind as u8));
                answer(|writer| {
                    writer.nested_field(GET_CONFIG_RESPONSE, |config| config.bytes_field(kind + 1, section));
                })
            }
            AdminPayload::GetModuleConfigRequest(ModuleConfigType(kind)) if kind < 64 => {
                let section = settings.get(Part::Module(kind as u8));
                answer(|writer| {
                    writer.nested_field(GET_MODULE_CONFIG_RESPONSE, |config| {
                        config.bytes_field(kind + 1, section)
                    });
                })
            }
            AdminPayload::GetDeviceMetadataRequest(_) => {
                message(AdminPayload::GetDeviceMetadataResponse(self.metadata(settings)))
            }
            AdminPayload::GetCannedMessageModuleMessagesRequest(_) => {
                let text = compotastic_messages::Text(settings.get(Part::CannedMessages));
                message(AdminPayload::GetCannedMessageModuleMessagesResponse(text))
            }
            AdminPayload::GetRingtoneRequest(_) => {
                let text = compotastic_messages::Text(settings.get(Part::Ringtone));
                message(AdminPayload::GetRingtoneResponse(text))
            }
            AdminPayload::GetDeviceConnectionStatusRequest(_) => {
                message(AdminPayload::GetDeviceConnectionStatusResponse(&[]))
            }
            AdminPayload::GetUiConfigRequest(_) => {
                let section = settings.get(Part::Config(9));
                answer(|writer| writer.bytes_field(GET_UI_CONFIG_RESPONSE, section))
            }
            AdminPayload::SetOwner(user) => {
                settings.merge_owner(&user);
                self.changed();
                Answer::Done
            }
            AdminPayload::SetChannel(channel) => self.set_channel(&channel, bytes, settings),
            AdminPayload::SetConfig(_) => {
                self.set_section(bytes, SET_CONFIG, CONFIGS, Part::Config, settings)
            }
            AdminPayload::SetModuleConfig(_) => {
                self.set_section(bytes, SET_MODULE_CONFIG, MODULE_CONFIGS, Part::Module, settings)
            }
            AdminPayload::SetCannedMessageModuleMessages(text) if text.0.len() <= 200 => {
                self.set(settings, Part::CannedMessages, text.0)
            }
            AdminPayload::SetRingtoneMessage(text) if text.0.len() <= 230 => {
                self.set(settings, Part::Ringtone, text.0)
            }
            AdminPayload::StoreUiConfig(section) => self.set(settings, Part::Config(9), section),
            AdminPayload::SetFixedPosition(position) => {
                let Ok(stored) = position.to_vec::<PAYLOAD_MAX>() else { return Answer::Bad };
                self.set_fixed(settings, &stored, Some(position))
            }
            AdminPayload::RemoveFixedPosition(_) => self.set_fixed(settings, &[], None),
            AdminPayload::BeginEditSettings(_) => {
                self.admin.editing = true;
                Answer::Done
            }
            AdminPayload::CommitEditSettings(_) => {
                self.admin.editing = false;
                if core::mem::take(&mut self.admin.changed) {
                    self.push_event(DeviceEvent::SettingsChanged);
                }
                Answer::Done
            }
            AdminPayload::SetTimeOnly(unix_s) => {
                self.set_time(now_ms, unix_s);
                self.done(DeviceEvent::Time(unix_s))
            }
            AdminPayload::RebootSeconds(..0) | AdminPayload::ShutdownSeconds(..0) => {
                self.done(DeviceEvent::Stay)
            }
            AdminPayload::RebootSeconds(in_s) => self.done(DeviceEvent::Reboot { in_s: in_s as u32 }),
            AdminPayload::ShutdownSeconds(in_s) => self.done(DeviceEvent::Shutdown { in_s: in_s as u32 }),
            AdminPayload::RemoveByNodenum(num) => self.done(DeviceEvent::ForgetNode(num)),
            AdminPayload::SetFavoriteNode(num) => self.done(DeviceEvent::Favourite(num, true)),
            AdminPayload::RemoveFavoriteNode(num) => self.done(DeviceEvent::Favourite(num, false)),
            AdminPayload::SetIgnoredNode(num) => self.done(DeviceEvent::Ignored(num, true)),
            AdminPayload::RemoveIgnoredNode(num) => self.done(DeviceEvent::Ignored(num, false)),
            AdminPayload::ToggleMutedNode(num) => self.done(DeviceEvent::ToggleMuted(num)),
            AdminPayload::NodedbReset(_) => self.done(DeviceEvent::ForgetNodes),
            AdminPayload::FactoryResetConfig(_) => self.done(DeviceEvent::FactoryReset { keys: false }),
            AdminPayload::FactoryResetDevice(_) => self.done(DeviceEvent::FactoryReset { keys: true }),
            _ => Answer::Unknown,
        }
    }

    fn done(&mut self, event: DeviceEvent) -> Answer {
        self.push_event(event);
        Answer::Done
    }

    /// A channel: there is always exactly one primary.
    fn set_channel(&mut self, channel: &Channel<'_>, bytes: &[u8], settings: &mut Settings) -> Answer {
        let index = channel.index;
        let Some(index) = u8::try_from(index).ok().filter(|index| *index < CHANNELS) else {
            return Answer::Bad;
        };
        let (psk, name) = channel.settings.as_ref().map_or((0, 0), |one| (one.psk.len(), one.name.0.len()));
        if psk > 32 || name > 11 || index == 0 && channel.role == ChannelRole::DISABLED {
            return Answer::Bad;
        }
        if channel.role == ChannelRole::PRIMARY {
            for other in (0..CHANNELS).filter(|other| *other != index) {
                if settings.channel(other).role == ChannelRole::PRIMARY {
                    let demoted = Channel { role: ChannelRole::SECONDARY, ..settings.channel(other) };
                    let Ok(demoted) = demoted.to_vec::<128>() else { return Answer::Bad };
                    if settings.set(Part::Channel(other), &demoted).is_err() {
                        return Answer::Bad;
                    }
                }
            }
        }
        match nested(bytes, SET_CHANNEL) {
            Some(message) => self.set(settings, Part::Channel(index), message),
            None => Answer::Bad,
        }
    }

    /// Sections of configuration in the field `outer` of an admin message.
    fn set_section(
        &mut self,
        bytes: &[u8],
        outer: u32,
        count: u8,
        part: impl Fn(u8) -> Part,
        settings: &mut Settings,
    ) -> Answer {
        let Some(config) = nested(bytes, outer) else { return Answer::Bad };
        let mut answer = Answer::Bad;
        for field in Fields::new(config).flatten() {
            if let (number @ 1.., Wire::Bytes(section)) = field
                && number <= u32::from(count)
            {
                answer = self.set(settings, part(number as u8 - 1), section);
            }
        }
        answer
    }

    fn set_fixed(&mut self, settings: &mut Settings, stored: &[u8], position: Option<Position>) -> Answer {
        if settings.set_fixed_position(stored).is_err() {
            return Answer::Bad;
        }
        self.changed();
        self.done(DeviceEvent::FixedPosition(position))
    }
}

/// The bytes of a field of an admin message.
fn nested(bytes: &[u8], number: u32) -> Option<&[u8]> {
    Fields::new(bytes).flatten().find_map(|field| match field {
        (at, Wire::Bytes(message)) if at == number => Some(message),
        _ => None,
    })
}
