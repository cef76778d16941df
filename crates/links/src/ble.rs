//! A radio over Bluetooth, by BlueZ's D-Bus interface. Bluetooth has no stream: one message is one write or read.
//!
//! The radio has three characteristics: what is written to `ToRadio` is a message to it, `FromRadio` is read until it is
//! empty, and `FromNum` notifies that there is something to read.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt;
use tokio::{sync::mpsc, time::sleep};
use zbus::{
    Connection, DBusError, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant,
    connection::Builder, message::Type,
};

use crate::{
    Fault, FaultKind,
    connect::{Connector, Opening, Pipe},
};

/// Meshtastic's service.
const SERVICE: &str = "6ba1b218-15a8-461f-9fa8-5dcae273eafd";
/// Characteristics of it.
const TO_RADIO: &str = "f75c76d2-129e-4dad-a1dd-7866124401e7";
const FROM_RADIO: &str = "2c55e69e-4993-11ed-b878-0242ac120002";
const FROM_NUM: &str = "ed9da18c-a800-4f66-a670-aa7547e34453";
const BLUEZ: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Messages that may wait either way.
const MESSAGES: usize = 16;
/// The radio is looked for so long, unless a caller says otherwise.
const SCAN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);
/// A notification can be lost; then what waits is read after this time.
const READ_ANYWAY: Duration = Duration::from_secs(5);

type Properties = HashMap<String, OwnedVariant>;
type Objects = HashMap<OwnedObjectPath, HashMap<String, Properties>>;

/// Opens connections to a radio by Bluetooth.
pub struct Ble {
    name: String,
    bus: Option<String>,
    scan: Duration,
}

impl Ble {
    /// To the radio of this name or address.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), bus: None, scan: SCAN }
    }

    /// The same on another bus than the system's, for tests.
    pub fn on_bus(name: &str, address: &str) -> Self {
        Self { bus: Some(address.to_owned()), ..Self::new(name) }
    }

    /// A radio that is not known yet is looked for so long, and one that connects may take so long to tell its services.
    #[must_use]
    pub fn scan(mut self, scan: Duration) -> Self {
        self.scan = scan;
        self
    }

    async fn pipe(&self) -> Result<Pipe, Fault> {
        let builder = match &self.bus {
            None => Builder::system(),
            Some(address) => Builder::address(address.as_str()),
        };
        let connection = builder.build().await.map_err(|error| {
            Fault::new(
                FaultKind::Unavailable,
                format!("the system's D-Bus does not answer: {error}"),
                "start it (`systemctl start dbus`), or use the radio's cable or Wi-Fi",
            )
        })?;
        let bluez = Bluez(connection);
        let device = self.find(&bluez).await?;
        self.connect(&bluez, &device).await?;
        let radio = self.characteristics(&bluez, device).await?;
        let (to_radio, outgoing) = mpsc::channel(MESSAGES);
        let (incoming, from_radio) = mpsc::channel(MESSAGES);
        let notices = radio.notices(&bluez).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(async move {
            if let Err(error) = radio.pump(&bluez, notices, outgoing, &incoming).await {
                tracing::debug!(%error, "Bluetooth ended");
            }
            let _ = bluez.call::<()>(&radio.device, DEVICE, "Disconnect", &()).await;
        });
        Ok(Pipe::Messages { to_radio, from_radio })
    }

    /// The device's object; looks for it in the air where it is not known.
    async fn find(&self, bluez: &Bluez) -> Result<OwnedObjectPath, Fault> {
        let objects = bluez.objects().await.map_err(|error| self.no_service(&error))?;
        let adapter = objects
            .iter()
            .filter_map(|(path, interfaces)| Some((path, interfaces.get(ADAPTER)?)))
            .min_by_key(|(path, _)| path.to_string());
        let Some((adapter, properties)) = adapter else {
            return Err(Fault::new(
                FaultKind::Unavailable,
                "this machine has no Bluetooth adapter",
                "attach one, or use the radio's cable or Wi-Fi",
            ));
        };
        if boolean(properties, "Powered") == Some(false) {
            return Err(Fault::new(
                FaultKind::Unavailable,
                "Bluetooth is switched off",
                "switch it on: `bluetoothctl power on` (and `rfkill unblock bluetooth`)",
            ));
        }
        if let Some(device) = self.device(&objects) {
            return Ok(device);
        }
        let filter: HashMap<&str, Variant<'_>> =
            HashMap::from([("Transport", Variant::from("le")), ("UUIDs", Variant::from(vec![SERVICE]))]);
        let _ = bluez.call::<()>(adapter, ADAPTER, "SetDiscoveryFilter", &(filter,)).await;
        bluez
            .call::<()>(adapter, ADAPTER, "StartDiscovery", &())
            .await
            .map_err(|error| self.broken(&error))?;
        let mut found = None;
        let mut waited = Duration::ZERO;
        while found.is_none() && waited < self.scan {
            sleep(LOOK).await;
            waited += LOOK;
            found = bluez.objects().await.ok().and_then(|objects| self.device(&objects));
        }
        let _ = bluez.call::<()>(adapter, ADAPTER, "StopDiscovery", &()).await;
        found.ok_or_else(|| {
            Fault::new(
                FaultKind::Missing,
                format!("no radio named `{}` is in reach of Bluetooth", self.name),
                "switch Bluetooth on in the radio and disconnect the phone: a radio serves one; `bluetoothctl devices` lists names",
            )
        })
    }

    fn device(&self, objects: &Objects) -> Option<OwnedObjectPath> {
        let is = |properties: &Properties| {
            ["Address", "Alias", "Name"]
                .iter()
                .any(|key| text(properties, key).is_some_and(|value| value.eq_ignore_ascii_case(&self.name)))
        };
        let mut paths: Vec<_> = objects
            .iter()
            .filter(|(_, interfaces)| interfaces.get(DEVICE).is_some_and(is))
            .map(|(path, _)| path.clone())
            .collect();
        paths.sort_by_key(ToString::to_string);
        paths.into_iter().next()
    }

    async fn connect(&self, bluez: &Bluez, device: &OwnedObjectPath) -> Result<(), Fault> {
        bluez.call::<()>(device, DEVICE, "Connect", &()).await.map_err(|error| self.broken(&error))?;
        let mut waited = Duration::ZERO;
        loop {
            let objects = bluez.objects().await.map_err(|error| self.broken(&error))?;
            let properties = objects.get(device).and_then(|interfaces| interfaces.get(DEVICE));
            if properties.and_then(|properties| boolean(properties, "ServicesResolved")) == Some(true) {
                return Ok(());
            }
            if waited >= self.scan {
                return Err(Fault::new(
                    FaultKind::Silent,
                    format!("`{}` connects and does not tell its services", self.name),
                    "restart the radio, and pair it anew: `bluetoothctl remove ADDRESS`, then `bluetoothctl pair ADDRESS`",
                ));
            }
            sleep(LOOK).await;
            waited += LOOK;
        }
    }

    async fn characteristics(&self, bluez: &Bluez, device: OwnedObjectPath) -> Result<Radio, Fault> {
        let objects = bluez.objects().await.map_err(|error| self.broken(&error))?;
        let below = format!("{}/", device.as_str());
        let find = |uuid: &str| {
            let found = objects.iter().find(|(path, interfaces)| {
                path.as_str().starts_with(&below)
                    && interfaces
                        .get(CHARACTERISTIC)
                        .and_then(|properties| text(properties, "UUID"))
                        .is_some_and(|found| found.eq_ignore_ascii_case(uuid))
            });
            found.map(|(path, _)| path.clone())
        };
        match (find(TO_RADIO), find(FROM_RADIO), find(FROM_NUM)) {
            (Some(to_radio), Some(from_radio), Some(from_num)) => {
                Ok(Radio { device, to_radio, from_radio, from_num })
            }
            _ => Err(Fault::new(
                FaultKind::NotMeshtastic,
                format!("`{}` is no Meshtastic radio: it has not the service", self.name),
                "see whether it is the right name; `bluetoothctl devices` lists them",
            )),
        }
    }

    fn no_service(&self, error: &zbus::Error) -> Fault {
        match error_name(error).as_deref() {
            Some(
                "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner",
            ) => Fault::new(
                FaultKind::Unavailable,
                "the Bluetooth service is missing",
                "install and start it: `sudo apt install bluez`, `sudo systemctl start bluetooth`",
            ),
            _ => self.broken(error),
        }
    }

    fn broken(&self, error: &zbus::Error) -> Fault {
        let name = error_name(error).unwrap_or_default();
        if name.starts_with("org.bluez.Error.Auth") || name == "org.bluez.Error.NotPermitted" {
            return Fault::new(
                FaultKind::Refusal,
                format!("`{}` wants to be paired: {error}", self.name),
                "pair it: `bluetoothctl pair ADDRESS`, with the number on its screen (123456 without one)",
            );
        }
        if name == "org.freedesktop.DBus.Error.AccessDenied" {
            return Fault::new(
                FaultKind::Permission,
                "this user may not use Bluetooth",
                "join the group that may: `sudo usermod -aG bluetooth $USER`, then log in again",
            );
        }
        Fault::new(
            FaultKind::Other,
            format!("Bluetooth to `{}` failed: {error}", self.name),
            "see whether the radio is on, near, and not connected to a phone",
        )
    }
}

impl Connector for Ble {
    fn open(&mut self) -> Opening<'_> {
        Box::pin(self.pipe())
    }

    fn name(&self) -> String {
        format!("ble:{}", self.name)
    }

    fn silence(&self) -> Fault {
        Fault::new(
            FaultKind::Silent,
            format!("`{}` is connected and says nothing", self.name),
            "restart the radio, and pair it anew",
        )
    }
}

/// BlueZ behind a connection.
struct Bluez(Connection);

impl Bluez {
    async fn call<R>(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        method: &str,
        body: &(impl serde::Serialize + zbus::DynamicType),
    ) -> zbus::Result<R>
    where
        R: serde::de::DeserializeOwned + zbus::Type,
    {
        let reply = self.0.call_method(Some(BLUEZ), path.as_ref(), Some(interface), method, body).await?;
        reply.body().deserialize()
    }

    async fn objects(&self) -> zbus::Result<Objects> {
        let root = OwnedObjectPath::try_from("/")?;
        self.call(&root, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).await
    }
}

/// A connected radio.
struct Radio {
    device: OwnedObjectPath,
    to_radio: OwnedObjectPath,
    from_radio: OwnedObjectPath,
    from_num: OwnedObjectPath,
}

impl Radio {
    /// Notifications of the radio, and its end.
    async fn notices(&self, bluez: &Bluez) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(BLUEZ)
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .path_namespace(self.device.as_ref())
            .build()?;
        let notices = MessageStream::for_match_rule(rule, &bluez.0, None).await?;
        bluez.call::<()>(&self.from_num, CHARACTERISTIC, "StartNotify", &()).await?;
        Ok(notices)
    }

    /// Carries messages until either side ends.
    async fn pump(
        &self,
        bluez: &Bluez,
        mut notices: MessageStream,
        mut outgoing: mpsc::Receiver<Vec<u8>>,
        incoming: &mpsc::Sender<Vec<u8>>,
    ) -> zbus::Result<()> {
        let request = || HashMap::from([("type", Variant::from("request"))]);
        loop {
            tokio::select! {
                message = outgoing.recv() => {
                    let Some(message) = message else { return Ok(()) };
                    bluez.call::<()>(&self.to_radio, CHARACTERISTIC, "WriteValue", &(message, request())).await?;
                }
                notice = notices.next() => {
                    let Some(notice) = notice else { return Ok(()) };
                    if self.is_end(&notice?) {
                        return Ok(());
                    }
                }
                () = sleep(READ_ANYWAY) => {}
            }
            loop {
                let nothing: HashMap<&str, Variant<'_>> = HashMap::new();
                let message: Vec<u8> =
                    bluez.call(&self.from_radio, CHARACTERISTIC, "ReadValue", &(nothing,)).await?;
                if message.is_empty() {
                    break;
                }
                if incoming.send(message).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// The device is not connected any more.
    fn is_end(&self, notice: &zbus::Message) -> bool {
        let ours = notice.header().path().is_some_and(|path| path.as_str() == self.device.as_str());
        let changed = notice.body().deserialize::<(String, Properties, Vec<String>)>();
        ours && changed.is_ok_and(|(interface, changed, _)| {
            interface == DEVICE && boolean(&changed, "Connected") == Some(false)
        })
    }
}

fn text<'p>(properties: &'p Properties, key: &str) -> Option<&'p str> {
    match &**properties.get(key)? {
        Variant::Str(value) => Some(value.as_str()),
        _ => None,
    }
}

fn boolean(properties: &Properties, key: &str) -> Option<bool> {
    match &**properties.get(key)? {
        Variant::Bool(value) => Some(*value),
        _ => None,
    }
}

fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, _, _) => Some(name.to_string()),
        zbus::Error::FDO(error) => Some(error.name().to_string()),
        _ => None,
    }
}
