//! Enumerations: the number as it came, with the names that are known. Unknown numbers are kept.

use core::fmt;

/// An enumeration on the wire.
pub trait Enumeration: Copy + Default + PartialEq + fmt::Debug {
    /// From its number.
    fn from_value(value: u32) -> Self;
    /// Its number.
    fn value(self) -> u32;
}

macro_rules! enumerations {
    ($($(#[$doc:meta])* $name:ident { $($constant:ident = $value:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            $(
                #[doc = concat!("`", stringify!($constant), "`")]
                pub const $constant: Self = Self($value);
            )*
            /// All that have a name.
            pub const NAMES: &'static [(Self, &'static str)] =
                &[$((Self($value), stringify!($constant))),*];

            /// Meshtastic's name of it.
            pub fn name(self) -> Option<&'static str> {
                Self::NAMES.iter().find(|(value, _)| *value == self).map(|(_, name)| *name)
            }

            /// By its name, whatever the case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(value, _)| *value)
            }
        }

        impl Enumeration for $name {
            fn from_value(value: u32) -> Self {
                Self(value)
            }

            fn value(self) -> u32 {
                self.0
            }
        }

        /// The name, or the number where there is none.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

enumerations! {
    /// What the payload of a packet is. 0..=63 are Meshtastic's own, 64..=127 registered ones, 256..=511 private.
    PortNum {
        UNKNOWN_APP = 0,
        TEXT_MESSAGE_APP = 1,
        REMOTE_HARDWARE_APP = 2,
        POSITION_APP = 3,
        NODEINFO_APP = 4,
        ROUTING_APP = 5,
        ADMIN_APP = 6,
        TEXT_MESSAGE_COMPRESSED_APP = 7,
        WAYPOINT_APP = 8,
        AUDIO_APP = 9,
        DETECTION_SENSOR_APP = 10,
        ALERT_APP = 11,
        KEY_VERIFICATION_APP = 12,
        REMOTE_SHELL_APP = 13,
        REPLY_APP = 32,
        IP_TUNNEL_APP = 33,
        PAXCOUNTER_APP = 34,
        STORE_FORWARD_PLUSPLUS_APP = 35,
        NODE_STATUS_APP = 36,
        MESH_BEACON_APP = 37,
        SERIAL_APP = 64,
        STORE_FORWARD_APP = 65,
        RANGE_TEST_APP = 66,
        TELEMETRY_APP = 67,
        ZPS_APP = 68,
        SIMULATOR_APP = 69,
        TRACEROUTE_APP = 70,
        NEIGHBORINFO_APP = 71,
        ATAK_PLUGIN = 72,
        MAP_REPORT_APP = 73,
        POWERSTRESS_APP = 74,
        LORAWAN_BRIDGE = 75,
        RETICULUM_TUNNEL_APP = 76,
        CAYENNE_APP = 77,
        ATAK_PLUGIN_V2 = 78,
        LORA_OTA_APP = 79,
        GROUPALARM_APP = 112,
        PRIVATE_APP = 256,
        ATAK_FORWARDER = 257,
        MAX = 511,
    }

    /// Why a packet did not arrive; 0 acknowledges it.
    RoutingError {
        NONE = 0,
        NO_ROUTE = 1,
        GOT_NAK = 2,
        TIMEOUT = 3,
        NO_INTERFACE = 4,
        MAX_RETRANSMIT = 5,
        NO_CHANNEL = 6,
        TOO_LARGE = 7,
        NO_RESPONSE = 8,
        DUTY_CYCLE_LIMIT = 9,
        BAD_REQUEST = 32,
        NOT_AUTHORIZED = 33,
        PKI_FAILED = 34,
        PKI_UNKNOWN_PUBKEY = 35,
        ADMIN_BAD_SESSION_KEY = 36,
        ADMIN_PUBLIC_KEY_UNAUTHORIZED = 37,
        RATE_LIMIT_EXCEEDED = 38,
        PKI_SEND_FAIL_PUBLIC_KEY = 39,
    }

    /// Order in the radio's queue; it is not on the air.
    Priority {
        UNSET = 0,
        MIN = 1,
        BACKGROUND = 10,
        DEFAULT = 64,
        RELIABLE = 70,
        RESPONSE = 80,
        HIGH = 100,
        ALERT = 110,
        ACK = 120,
        MAX = 127,
    }

    /// How a packet came.
    TransportMechanism {
        TRANSPORT_INTERNAL = 0,
        TRANSPORT_LORA = 1,
        TRANSPORT_LORA_ALT1 = 2,
        TRANSPORT_LORA_ALT2 = 3,
        TRANSPORT_LORA_ALT3 = 4,
        TRANSPORT_MQTT = 5,
        TRANSPORT_MULTICAST_UDP = 6,
        TRANSPORT_API = 7,
        TRANSPORT_UNICAST_UDP = 8,
    }

    /// What a node is for.
    Role {
        CLIENT = 0,
        CLIENT_MUTE = 1,
        ROUTER = 2,
        ROUTER_CLIENT = 3,
        REPEATER = 4,
        TRACKER = 5,
        SENSOR = 6,
        TAK = 7,
        CLIENT_HIDDEN = 8,
        LOST_AND_FOUND = 9,
        TAK_TRACKER = 10,
        ROUTER_LATE = 11,
        CLIENT_BASE = 12,
    }

    /// What a node relays.
    RebroadcastMode {
        ALL = 0,
        ALL_SKIP_DECODING = 1,
        LOCAL_ONLY = 2,
        KNOWN_ONLY = 3,
        NONE = 4,
        CORE_PORTNUMS_ONLY = 5,
    }

    /// Where the radio is, as far as its law matters.
    RegionCode {
        UNSET = 0,
        US = 1,
        EU_433 = 2,
        EU_868 = 3,
        CN = 4,
        JP = 5,
        ANZ = 6,
        KR = 7,
        TW = 8,
        RU = 9,
        IN = 10,
        NZ_865 = 11,
        TH = 12,
        LORA_24 = 13,
        UA_433 = 14,
        UA_868 = 15,
        MY_433 = 16,
        MY_919 = 17,
        SG_923 = 18,
        PH_433 = 19,
        PH_868 = 20,
        PH_915 = 21,
        ANZ_433 = 22,
        KZ_433 = 23,
        KZ_863 = 24,
        NP_865 = 25,
        BR_902 = 26,
        ITU1_2M = 27,
        ITU2_2M = 28,
        EU_866 = 29,
        EU_874 = 30,
        EU_917 = 31,
        EU_N_868 = 32,
        ITU3_2M = 33,
        ITU1_70CM = 34,
        ITU2_70CM = 35,
        ITU3_70CM = 36,
        ITU2_125CM = 37,
    }

    /// Speed against range.
    ModemPreset {
        LONG_FAST = 0,
        LONG_SLOW = 1,
        VERY_LONG_SLOW = 2,
        MEDIUM_SLOW = 3,
        MEDIUM_FAST = 4,
        SHORT_SLOW = 5,
        SHORT_FAST = 6,
        LONG_MODERATE = 7,
        SHORT_TURBO = 8,
        LONG_TURBO = 9,
        LITE_FAST = 10,
        LITE_SLOW = 11,
        NARROW_FAST = 12,
        NARROW_SLOW = 13,
        TINY_FAST = 14,
        TINY_SLOW = 15,
        MEDIUM_TURBO = 16,
    }

    /// What a channel's slot is used for.
    ChannelRole {
        DISABLED = 0,
        PRIMARY = 1,
        SECONDARY = 2,
    }

    /// Where a position is from.
    LocationSource {
        LOC_UNSET = 0,
        LOC_MANUAL = 1,
        LOC_INTERNAL = 2,
        LOC_EXTERNAL = 3,
    }

    /// Where an altitude is from.
    AltitudeSource {
        ALT_UNSET = 0,
        ALT_MANUAL = 1,
        ALT_INTERNAL = 2,
        ALT_EXTERNAL = 3,
        ALT_BAROMETRIC = 4,
    }

    /// How grave a line of a log or a notification is.
    LogLevel {
        UNSET = 0,
        CRITICAL = 50,
        ERROR = 40,
        WARNING = 30,
        INFO = 20,
        DEBUG = 10,
        TRACE = 5,
    }

    /// Which part of the configuration is asked for; its field in `Config` is one more.
    ConfigType {
        DEVICE_CONFIG = 0,
        POSITION_CONFIG = 1,
        POWER_CONFIG = 2,
        NETWORK_CONFIG = 3,
        DISPLAY_CONFIG = 4,
        LORA_CONFIG = 5,
        BLUETOOTH_CONFIG = 6,
        SECURITY_CONFIG = 7,
        SESSIONKEY_CONFIG = 8,
        DEVICEUI_CONFIG = 9,
    }

    /// Which module's configuration is asked for.
    ModuleConfigType {
        MQTT_CONFIG = 0,
        SERIAL_CONFIG = 1,
        EXTNOTIF_CONFIG = 2,
        STOREFORWARD_CONFIG = 3,
        RANGETEST_CONFIG = 4,
        TELEMETRY_CONFIG = 5,
        CANNEDMSG_CONFIG = 6,
        AUDIO_CONFIG = 7,
        REMOTEHARDWARE_CONFIG = 8,
        NEIGHBORINFO_CONFIG = 9,
        AMBIENTLIGHTING_CONFIG = 10,
        DETECTIONSENSOR_CONFIG = 11,
        PAXCOUNTER_CONFIG = 12,
        STATUSMESSAGE_CONFIG = 13,
        TRAFFICMANAGEMENT_CONFIG = 14,
        TAK_CONFIG = 15,
        MESHBEACON_CONFIG = 16,
    }

    /// Control bytes of file transfers.
    XModemControl {
        NUL = 0,
        SOH = 1,
        STX = 2,
        EOT = 4,
        ACK = 6,
        NAK = 21,
        CAN = 24,
        CTRLZ = 26,
    }

    /// What a store and forward message is.
    StoreAndForwardRequest {
        UNSET = 0,
        ROUTER_ERROR = 1,
        ROUTER_HEARTBEAT = 2,
        ROUTER_PING = 3,
        ROUTER_PONG = 4,
        ROUTER_BUSY = 5,
        ROUTER_HISTORY = 6,
        ROUTER_STATS = 7,
        ROUTER_TEXT_DIRECT = 8,
        ROUTER_TEXT_BROADCAST = 9,
        CLIENT_ERROR = 64,
        CLIENT_HISTORY = 65,
        CLIENT_STATS = 66,
        CLIENT_PING = 67,
        CLIENT_PONG = 68,
        CLIENT_ABORT = 106,
    }

    /// The make of a device.
    HardwareModel {
        UNSET = 0,
        TLORA_V2 = 1,
        TLORA_V1 = 2,
        TLORA_V2_1_1P6 = 3,
        TBEAM = 4,
        HELTEC_V2_0 = 5,
        TBEAM_V0P7 = 6,
        T_ECHO = 7,
        TLORA_V1_1P3 = 8,
        RAK4631 = 9,
        HELTEC_V2_1 = 10,
        HELTEC_V1 = 11,
        LILYGO_TBEAM_S3_CORE = 12,
        RAK11200 = 13,
        NANO_G1 = 14,
        TLORA_V2_1_1P8 = 15,
        TLORA_T3_S3 = 16,
        NANO_G1_EXPLORER = 17,
        NANO_G2_ULTRA = 18,
        LORA_TYPE = 19,
        WIPHONE = 20,
        WIO_WM1110 = 21,
        RAK2560 = 22,
        HELTEC_HRU_3601 = 23,
        HELTEC_WIRELESS_BRIDGE = 24,
        STATION_G1 = 25,
        RAK11310 = 26,
        MAKERFABS_TRACKER = 27,
        MAKERFABS_RESERVED = 28,
        CANARYONE = 29,
        RP2040_LORA = 30,
        STATION_G2 = 31,
        LORA_RELAY_V1 = 32,
        T_ECHO_PLUS = 33,
        PPR = 34,
        GENIEBLOCKS = 35,
        NRF52_UNKNOWN = 36,
        PORTDUINO = 37,
        ANDROID_SIM = 38,
        DIY_V1 = 39,
        NRF52840_PCA10059 = 40,
        DR_DEV = 41,
        M5STACK = 42,
        HELTEC_V3 = 43,
        HELTEC_WSL_V3 = 44,
        BETAFPV_2400_TX = 45,
        BETAFPV_900_NANO_TX = 46,
        RPI_PICO = 47,
        HELTEC_WIRELESS_TRACKER = 48,
        HELTEC_WIRELESS_PAPER = 49,
        T_DECK = 50,
        T_WATCH_S3 = 51,
        PICOMPUTER_S3 = 52,
        HELTEC_HT62 = 53,
        EBYTE_ESP32_S3 = 54,
        ESP32_S3_PICO = 55,
        CHATTER_2 = 56,
        HELTEC_WIRELESS_PAPER_V1_0 = 57,
        HELTEC_WIRELESS_TRACKER_V1_0 = 58,
        UNPHONE = 59,
        TD_LORAC = 60,
        CDEBYTE_EORA_S3 = 61,
        TWC_MESH_V4 = 62,
        NRF52_PROMICRO_DIY = 63,
        RADIOMASTER_900_BANDIT_NANO = 64,
        HELTEC_CAPSULE_SENSOR_V3 = 65,
        HELTEC_VISION_MASTER_T190 = 66,
        HELTEC_VISION_MASTER_E213 = 67,
        HELTEC_VISION_MASTER_E290 = 68,
        HELTEC_MESH_NODE_T114 = 69,
        SENSECAP_INDICATOR = 70,
        TRACKER_T1000_E = 71,
        RAK3172 = 72,
        WIO_E5 = 73,
        RADIOMASTER_900_BANDIT = 74,
        ME25LS01_4Y10TD = 75,
        RP2040_FEATHER_RFM95 = 76,
        M5STACK_COREBASIC = 77,
        M5STACK_CORE2 = 78,
        RPI_PICO2 = 79,
        M5STACK_CORES3 = 80,
        SEEED_XIAO_S3 = 81,
        MS24SF1 = 82,
        TLORA_C6 = 83,
        WISMESH_TAP = 84,
        ROUTASTIC = 85,
        MESH_TAB = 86,
        MESHLINK = 87,
        XIAO_NRF52_KIT = 88,
        THINKNODE_M1 = 89,
        THINKNODE_M2 = 90,
        T_ETH_ELITE = 91,
        HELTEC_SENSOR_HUB = 92,
        MUZI_BASE = 93,
        HELTEC_MESH_POCKET = 94,
        SEEED_SOLAR_NODE = 95,
        NOMADSTAR_METEOR_PRO = 96,
        CROWPANEL = 97,
        LINK_32 = 98,
        SEEED_WIO_TRACKER_L1 = 99,
        SEEED_WIO_TRACKER_L1_EINK = 100,
        MUZI_R1_NEO = 101,
        T_DECK_PRO = 102,
        T_LORA_PAGER = 103,
        M5STACK_RESERVED = 104,
        WISMESH_TAG = 105,
        RAK3312 = 106,
        THINKNODE_M5 = 107,
        HELTEC_MESH_SOLAR = 108,
        T_ECHO_LITE = 109,
        HELTEC_V4 = 110,
        M5STACK_C6L = 111,
        M5STACK_CARDPUTER_ADV = 112,
        HELTEC_WIRELESS_TRACKER_V2 = 113,
        T_WATCH_ULTRA = 114,
        THINKNODE_M3 = 115,
        WISMESH_TAP_V2 = 116,
        RAK3401 = 117,
        RAK6421 = 118,
        THINKNODE_M4 = 119,
        THINKNODE_M6 = 120,
        MESHSTICK_1262 = 121,
        TBEAM_1_WATT = 122,
        T5_S3_EPAPER_PRO = 123,
        TBEAM_BPF = 124,
        MINI_EPAPER_S3 = 125,
        TDISPLAY_S3_PRO = 126,
        HELTEC_MESH_NODE_T096 = 127,
        MESH_TRACKER_X1 = 128,
        THINKNODE_M7 = 129,
        THINKNODE_M8 = 130,
        THINKNODE_M9 = 131,
        HELTEC_V4_R8 = 132,
        HELTEC_MESH_NODE_T1 = 133,
        STATION_G3 = 134,
        T_IMPULSE_PLUS = 135,
        T_ECHO_CARD = 136,
        SEEED_WIO_TRACKER_L2 = 137,
        CROWPANEL_P4 = 138,
        HELTEC_MESH_TOWER_V2 = 139,
        MESHNOLOGY_W10 = 140,
        HELTEC_RC32 = 141,
        HELTEC_RC52 = 142,
        HELTEC_RCC6 = 143,
        SEEED_WIO_TRACKER_L1_PRO_1W = 144,
        MESHNOLOGY_W12 = 145,
        MESHPAGER_X2 = 146,
        PRIVATE_HW = 255,
    }
}

impl RoutingError {
    /// What it means, and what to do about it, for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NONE => "the packet arrived",
            Self::NO_ROUTE => "no way to the destination is known; try again when it has been heard",
            Self::GOT_NAK => "a node on the way refused the packet",
            Self::TIMEOUT => "no answer came in time; try again later",
            Self::NO_INTERFACE => "the radio has no working transmitter; see whether its LoRa part is set up",
            Self::MAX_RETRANSMIT => {
                "nobody acknowledged the packet after all tries; the destination may be off or out of reach"
            }
            Self::NO_CHANNEL => {
                "the other side has not got this channel or its key; compare the channels of both"
            }
            Self::TOO_LARGE => "the packet is too large for one frame; send less",
            Self::NO_RESPONSE => "the packet arrived, but nothing there answers such packets",
            Self::DUTY_CYCLE_LIMIT => "the radio has used up its air time for this hour; wait",
            Self::BAD_REQUEST => "the other side did not understand the request",
            Self::NOT_AUTHORIZED => "the other side does not allow this from us",
            Self::PKI_FAILED => {
                "encryption with the destination's public key failed; let both exchange their node information anew"
            }
            Self::PKI_UNKNOWN_PUBKEY => {
                "the destination does not know our public key; it is told with our next node information, then try again"
            }
            Self::ADMIN_BAD_SESSION_KEY => {
                "the admin session has run out; ask for a value first, then set again"
            }
            Self::ADMIN_PUBLIC_KEY_UNAUTHORIZED => {
                "our public key is not among the admin keys of the destination"
            }
            Self::RATE_LIMIT_EXCEEDED => "the radio takes such packets only now and then; wait some seconds",
            Self::PKI_SEND_FAIL_PUBLIC_KEY => {
                "our radio does not know the destination's public key; wait for its node information"
            }
            _ => "an error that this version does not know",
        }
    }
}
