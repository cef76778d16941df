//! A radio over Bluetooth: a BlueZ of our own on a private D-Bus.

mod common;

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{NUM, answers, down, event, said, up};
use compotastic_links::{FaultKind, RadioEvent, RadioHandle, RadioLink, SessionConfig, ble::Ble};
use compotastic_messages::{ClientNotification, FromRadioPayload};
use zbus::{Connection, OwnedVariant, connection::Builder, fdo, interface};

const DEVICE: &str = "/org/bluez/hci0/dev_AA_BB_CC_DD_EE_FF";
const FROM_NUM: &str = "/org/bluez/hci0/dev_AA_BB_CC_DD_EE_FF/service0010/char0011";

/// A bus that ends with the test.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Option<Self> {
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut daemon) = daemon else {
            eprintln!("SKIPPED: dbus-daemon is not installed");
            return None;
        };
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Some(Self { daemon, address: address.trim().to_owned() })
    }

    fn open(&self, name: &str) -> RadioHandle {
        let config = SessionConfig { backoff_min: Duration::from_millis(50), ..SessionConfig::default() };
        RadioLink::spawn_with(Ble::on_bus(name, &self.address).scan(Duration::from_secs(1)), config)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What the radio has to say, and what it does.
#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    connected: bool,
    discovering: bool,
    refuses: bool,
}

type Shared = Arc<Mutex<State>>;

struct Adapter {
    state: Shared,
    powered: bool,
}

#[interface(name = "org.bluez.Adapter1")]
impl Adapter {
    #[zbus(property)]
    fn powered(&self) -> bool {
        self.powered
    }

    fn set_discovery_filter(&self, filter: HashMap<String, OwnedVariant>) {
        assert!(filter.contains_key("UUIDs"));
    }

    /// The radio is found in the air.
    async fn start_discovery(&self, #[zbus(connection)] connection: &Connection) {
        self.state.lock().unwrap().discovering = true;
        let server = connection.object_server();
        let device = Device { state: self.state.clone(), alias: "Found_5678".into() };
        server.at("/org/bluez/hci0/dev_00_00_00_00_56_78", device).await.unwrap();
    }

    fn stop_discovery(&self) {
        self.state.lock().unwrap().discovering = false;
    }
}

struct Device {
    state: Shared,
    alias: String,
}

#[interface(name = "org.bluez.Device1")]
impl Device {
    #[zbus(property)]
    fn alias(&self) -> String {
        self.alias.clone()
    }

    #[zbus(property)]
    fn address(&self) -> String {
        "AA:BB:CC:DD:EE:FF".into()
    }

    #[zbus(property)]
    fn connected(&self) -> bool {
        self.state.lock().unwrap().connected
    }

    #[zbus(property)]
    fn services_resolved(&self) -> bool {
        self.state.lock().unwrap().connected
    }

    fn connect(&self) -> fdo::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.refuses {
            return Err(fdo::Error::AccessDenied("no".into()));
        }
        state.connected = true;
        Ok(())
    }

    fn disconnect(&self) {
        self.state.lock().unwrap().connected = false;
    }
}

struct Characteristic {
    state: Shared,
    uuid: &'static str,
}

#[interface(name = "org.bluez.GattCharacteristic1")]
impl Characteristic {
    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        self.uuid.into()
    }

    #[zbus(property)]
    fn value(&self) -> Vec<u8> {
        vec![1, 0, 0, 0]
    }

    fn write_value(&self, value: Vec<u8>, options: HashMap<String, OwnedVariant>) {
        assert!(options.contains_key("type"));
        self.state.lock().unwrap().queue.extend(answers(&value, 3));
    }

    fn read_value(&self, _options: HashMap<String, OwnedVariant>) -> Vec<u8> {
        self.state.lock().unwrap().queue.pop_front().unwrap_or_default()
    }

    fn start_notify(&self) {}
}

/// BlueZ with one adapter and one radio.
async fn bluez(bus: &Bus, state: &Shared, powered: bool, with_service: bool) -> Connection {
    let characteristic = |uuid| Characteristic { state: state.clone(), uuid };
    let mut builder = Builder::address(bus.address.as_str())
        .serve_at("/", fdo::ObjectManager)
        .serve_at("/org/bluez/hci0", Adapter { state: state.clone(), powered })
        .serve_at(DEVICE, Device { state: state.clone(), alias: "Meshtastic_1234".into() });
    if with_service {
        let service = format!("{DEVICE}/service0010");
        builder = builder
            .serve_at(FROM_NUM, characteristic("ed9da18c-a800-4f66-a670-aa7547e34453"))
            .serve_at(format!("{service}/char0013"), characteristic("2c55e69e-4993-11ed-b878-0242ac120002"))
            .serve_at(format!("{service}/char0015"), characteristic("f75c76d2-129e-4dad-a1dd-7866124401e7"));
    }
    builder.name("org.bluez").build().await.unwrap()
}

#[tokio::test]
async fn a_radio_over_bluetooth_tells_its_state_and_what_it_is_notified_of() {
    let Some(bus) = Bus::start() else { return };
    let state = Shared::default();
    let bluez = bluez(&bus, &state, true, true).await;
    let mut radio = bus.open("meshtastic_1234");
    assert_eq!(up(&mut radio).await.num, NUM);

    // Something waits, and the radio says so.
    let notice = ClientNotification { message: "psst".into(), ..ClientNotification::default() };
    state.lock().unwrap().queue.push_back(said(FromRadioPayload::ClientNotification(notice)));
    let from_num = bluez.object_server().interface::<_, Characteristic>(FROM_NUM).await.unwrap();
    let before = std::time::Instant::now();
    from_num.get().await.value_changed(from_num.signal_emitter()).await.unwrap();
    event(&mut radio, "notice", |event| matches!(event, RadioEvent::Notice(_)).then_some(())).await;
    assert!(before.elapsed() < Duration::from_secs(2), "read on the notification, not by chance");

    // It goes out of reach, and comes back.
    state.lock().unwrap().connected = false;
    let device = bluez.object_server().interface::<_, Device>(DEVICE).await.unwrap();
    device.get().await.connected_changed(device.signal_emitter()).await.unwrap();
    assert_eq!(down(&mut radio).await.kind, FaultKind::Closed);
    up(&mut radio).await;
}

#[tokio::test]
async fn what_is_wrong_with_bluetooth_is_named() {
    let Some(bus) = Bus::start() else { return };
    let fault = down(&mut bus.open("Meshtastic_1234")).await;
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
    assert!(fault.to_string().contains("apt install bluez"), "{fault}");

    let state = Shared::default();
    let off = bluez(&bus, &state, false, true).await;
    let fault = down(&mut bus.open("Meshtastic_1234")).await;
    assert!(fault.to_string().contains("bluetoothctl power on"), "{fault}");
    off.close().await.unwrap();

    let on = bluez(&bus, &state, true, false).await;
    let fault = down(&mut bus.open("AA:BB:CC:DD:EE:FF")).await;
    assert_eq!(fault.kind, FaultKind::NotMeshtastic, "{fault}");
    state.lock().unwrap().refuses = true;
    let fault = down(&mut bus.open("Meshtastic_1234")).await;
    assert_eq!(fault.kind, FaultKind::Permission, "{fault}");

    // Unknown names are looked for in the air.
    state.lock().unwrap().refuses = false;
    let fault = down(&mut bus.open("Found_5678")).await;
    assert_eq!(fault.kind, FaultKind::NotMeshtastic, "found, and without the service: {fault}");
    let fault = down(&mut bus.open("Nobody")).await;
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    assert!(!state.lock().unwrap().discovering, "the search has ended");
    on.close().await.unwrap();
}

#[tokio::test]
async fn a_missing_bus_is_named() {
    let config = SessionConfig::default();
    let mut radio = RadioLink::spawn_with(Ble::on_bus("x", "unix:path=/nowhere/bus"), config);
    let fault = down(&mut radio).await;
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
}
