//! Packets and what they carry: on the air, over UDP and MQTT.

use crate::{
    enums::{
        AltitudeSource, HardwareModel, LocationSource, ModemPreset, PortNum, Priority, RegionCode, Role,
        RoutingError, StoreAndForwardRequest, TransportMechanism,
    },
    table::{choices, messages},
};

messages! {
    /// A packet of the mesh.
    MeshPacket<'a> {
        /// Node number of the origin. A radio overwrites it in what its clients send.
        1 from: [fixed32],
        /// Node number of the destination; 0xFFFF_FFFF for everybody.
        2 to: [fixed32],
        /// Index of the channel where the content is readable, else the channel's hash; 0 for one under a public key.
        3 channel: [uint32],
        /// The content.
        0 payload: [oneof MeshPacketPayload<'a>],
        /// Packet id; with the origin it is unique. 0 towards a radio: it shall choose.
        6 id: [fixed32],
        /// When it was received, seconds since 1970.
        7 rx_time: [optional fixed32],
        /// Signal to noise ratio at the receiver, dB.
        8 rx_snr: [float],
        /// Hops that are left.
        9 hop_limit: [uint32],
        /// The origin wants an acknowledgement.
        10 want_ack: [bool],
        /// Order in the sender's queue.
        11 priority: [enumeration Priority],
        /// Signal strength at the receiver, dBm.
        12 rx_rssi: [optional int32],
        /// Not used any more.
        13 delayed: [uint32],
        /// It passed MQTT.
        14 via_mqtt: [bool],
        /// Hop limit at the origin.
        15 hop_start: [uint32],
        /// Public key of the sender, or of the receiver towards a radio.
        16 public_key: [bytes],
        /// It was, or shall be, encrypted with public keys.
        17 pki_encrypted: [bool],
        /// Last byte of the node that is asked to relay; 0: any.
        18 next_hop: [uint32],
        /// Last byte of the node that sent this copy; 0: not known.
        19 relay_node: [uint32],
        /// Inside radios: when it may go out.
        20 tx_after: [uint32],
        /// How it came.
        21 transport_mechanism: [enumeration TransportMechanism],
        /// It carried a valid signature.
        22 xeddsa_signed: [bool],
    }

    /// The readable content of a packet.
    Data<'a> {
        /// What the payload is.
        1 portnum: [enumeration PortNum],
        /// The payload: at most 233 bytes when sent.
        2 payload: [bytes],
        /// The receiver shall answer. Never set on broadcasts of private ports: every stock node that reads one answers with an error.
        3 want_response: [bool],
        /// Destination, where the packet itself does not say.
        4 dest: [fixed32],
        /// Origin, where the packet itself does not say.
        5 source: [fixed32],
        /// Id of the packet that this answers or acknowledges.
        6 request_id: [fixed32],
        /// Id of the message that this replies to, for a person.
        7 reply_id: [fixed32],
        /// The text is a reaction to `reply_id`.
        8 emoji: [fixed32],
        /// Bit 0: may go to MQTT; bit 1: wants a response.
        9 bitfield: [optional uint32],
        /// Signature of a broadcast, 64 bytes.
        10 xeddsa_signature: [bytes],
    }

    /// Who a node is; the payload of `NODEINFO_APP`.
    User<'a> {
        /// `!` and eight hexadecimal digits.
        1 id: [string],
        /// At most 39 bytes.
        2 long_name: [string],
        /// At most 4 bytes.
        3 short_name: [string],
        /// Not used any more.
        4 macaddr: [bytes],
        /// The device.
        5 hw_model: [enumeration HardwareModel],
        /// A licensed amateur.
        6 is_licensed: [bool],
        /// What the node is for.
        7 role: [enumeration Role],
        /// X25519 public key, 32 bytes.
        8 public_key: [bytes],
        /// Nobody reads messages there.
        9 is_unmessagable: [optional bool],
    }

    /// Where a node is; the payload of `POSITION_APP`.
    Position {
        /// 1e-7 degrees, north positive.
        1 latitude_i: [optional sfixed32],
        /// 1e-7 degrees, east positive.
        2 longitude_i: [optional sfixed32],
        /// Metres above sea.
        3 altitude: [optional int32],
        /// Seconds since 1970, when it was sent.
        4 time: [fixed32],
        /// Where it is from.
        5 location_source: [enumeration LocationSource],
        /// Where the altitude is from.
        6 altitude_source: [enumeration AltitudeSource],
        /// Seconds since 1970, when it was measured.
        7 timestamp: [fixed32],
        /// Milliseconds to add to it.
        8 timestamp_millis_adjust: [int32],
        /// Metres above the ellipsoid.
        9 altitude_hae: [optional sint32],
        /// Metres.
        10 altitude_geoidal_separation: [optional sint32],
        /// 1/100.
        11 pdop: [uint32],
        /// 1/100.
        12 hdop: [uint32],
        /// 1/100.
        13 vdop: [uint32],
        /// Millimetres.
        14 gps_accuracy: [uint32],
        /// m/s.
        15 ground_speed: [optional uint32],
        /// 1/100 degree.
        16 ground_track: [optional uint32],
        /// Quality of the fix, as NMEA has it.
        17 fix_quality: [uint32],
        /// 2 or 3 dimensions.
        18 fix_type: [uint32],
        /// Satellites.
        19 sats_in_view: [uint32],
        /// Which of several sensors.
        20 sensor_id: [uint32],
        /// Seconds to the next one.
        21 next_update: [uint32],
        /// Counter.
        22 seq_number: [uint32],
        /// Bits of latitude and longitude that are true.
        23 precision_bits: [uint32],
    }

    /// Acknowledgements and route requests; the payload of `ROUTING_APP`.
    Routing {
        /// The content.
        0 variant: [oneof RoutingVariant],
    }

    /// A way through the mesh; the payload of `TRACEROUTE_APP`.
    RouteDiscovery {
        /// Node numbers of the hops towards the destination; 0xFFFF_FFFF for one that did not tell.
        1 route: [packed fixed32, 8],
        /// Signal to noise ratio of each link there, quarters of a dB; -128: not known.
        2 snr_towards: [packed int32, 8],
        /// The hops of the way back.
        3 route_back: [packed fixed32, 8],
        /// Signal to noise ratio of each link back.
        4 snr_back: [packed int32, 8],
    }

    /// Measurements; the payload of `TELEMETRY_APP`.
    Telemetry<'a> {
        /// Seconds since 1970.
        1 time: [fixed32],
        /// What was measured.
        0 variant: [oneof TelemetryVariant<'a>],
    }

    /// A device's battery and air.
    DeviceMetrics {
        /// Percent; 101: powered from outside.
        1 battery_level: [optional uint32],
        /// Volts.
        2 voltage: [optional float],
        /// All air time of the last 60 s, percent.
        3 channel_utilization: [optional float],
        /// Own air time of the last hour, percent.
        4 air_util_tx: [optional float],
        /// Seconds since the start.
        5 uptime_seconds: [optional uint32],
    }

    /// What a radio counts; it tells its client.
    LocalStats {
        /// Seconds since the start.
        1 uptime_seconds: [uint32],
        /// All air time of the last 60 s, percent.
        2 channel_utilization: [float],
        /// Own air time of the last hour, percent.
        3 air_util_tx: [float],
        /// Packets sent.
        4 num_packets_tx: [uint32],
        /// Packets received.
        5 num_packets_rx: [uint32],
        /// Packets received damaged.
        6 num_packets_rx_bad: [uint32],
        /// Nodes heard of in the last two hours.
        7 num_online_nodes: [uint32],
        /// Nodes known.
        8 num_total_nodes: [uint32],
        /// Duplicates received.
        9 num_rx_dupe: [uint32],
        /// Packets relayed.
        10 num_tx_relay: [uint32],
        /// Relays that others made unnecessary.
        11 num_tx_relay_canceled: [uint32],
        /// Bytes.
        12 heap_total_bytes: [uint32],
        /// Bytes.
        13 heap_free_bytes: [uint32],
        /// Packets that the full queue lost.
        14 num_tx_dropped: [uint32],
        /// dBm.
        15 noise_floor: [int32],
    }

    /// A Linux host's measurements.
    HostMetrics<'a> {
        /// Seconds since the start.
        1 uptime_seconds: [uint32],
        /// Bytes.
        2 freemem_bytes: [uint64],
        /// Bytes.
        3 diskfree1_bytes: [uint64],
        /// Bytes.
        4 diskfree2_bytes: [optional uint64],
        /// Bytes.
        5 diskfree3_bytes: [optional uint64],
        /// 1/100, of one minute.
        6 load1: [uint32],
        /// 1/100, of five minutes.
        7 load5: [uint32],
        /// 1/100, of fifteen minutes.
        8 load15: [uint32],
        /// Free text.
        9 user_string: [optional string],
    }

    /// A place for people; the payload of `WAYPOINT_APP`.
    Waypoint<'a> {
        /// Chosen by its maker.
        1 id: [uint32],
        /// 1e-7 degrees.
        2 latitude_i: [optional sfixed32],
        /// 1e-7 degrees.
        3 longitude_i: [optional sfixed32],
        /// Seconds since 1970.
        4 expire: [uint32],
        /// Node number of who alone may change it.
        5 locked_to: [uint32],
        /// At most 29 bytes.
        6 name: [string],
        /// At most 99 bytes.
        7 description: [string],
        /// A Unicode scalar.
        8 icon: [fixed32],
        /// Metres.
        9 geofence_radius: [uint32],
        /// A `BoundingBox`, as it is.
        10 bounding_box: [optional bytes],
        /// Tell who enters.
        11 notify_on_enter: [bool],
        /// Tell who leaves.
        12 notify_on_exit: [bool],
        /// Only of favourites.
        13 notify_favorites_only: [bool],
    }

    /// Whom a node hears; the payload of `NEIGHBORINFO_APP`.
    NeighborInfo {
        /// The node.
        1 node_id: [uint32],
        /// Who passed it on.
        2 last_sent_by_id: [uint32],
        /// Seconds.
        3 node_broadcast_interval_secs: [uint32],
        /// The neighbours.
        4 neighbors: [repeated Neighbor, 10],
    }

    /// A neighbour.
    Neighbor {
        /// The node.
        1 node_id: [uint32],
        /// dB.
        2 snr: [float],
        /// Seconds since 1970.
        3 last_rx_time: [fixed32],
        /// Seconds.
        4 node_broadcast_interval_secs: [uint32],
    }

    /// A payload under another port; what the simulated radio of `meshtasticd` wraps frames in.
    Compressed<'a> {
        /// The port; 0: the data is ciphertext.
        1 portnum: [enumeration PortNum],
        /// The payload.
        2 data: [bytes],
    }

    /// Messages that were missed; the payload of `STORE_FORWARD_APP`.
    StoreAndForward<'a> {
        /// What it is.
        1 rr: [enumeration StoreAndForwardRequest],
        /// The content.
        0 variant: [oneof StoreAndForwardVariant<'a>],
    }

    /// A packet over MQTT.
    ServiceEnvelope<'a> {
        /// The packet.
        1 packet: [message MeshPacket<'a>],
        /// Name of the channel; `PKI` where the packet is under public keys.
        2 channel_id: [string],
        /// `!` and eight hexadecimal digits of the gateway.
        3 gateway_id: [string],
    }

    /// What a node tells public maps; the payload of `MAP_REPORT_APP`.
    MapReport<'a> {
        /// Name.
        1 long_name: [string],
        /// Up to four characters.
        2 short_name: [string],
        /// What it is for.
        3 role: [enumeration Role],
        /// The device.
        4 hw_model: [enumeration HardwareModel],
        /// Firmware.
        5 firmware_version: [string],
        /// Region.
        6 region: [enumeration RegionCode],
        /// Preset.
        7 modem_preset: [enumeration ModemPreset],
        /// The primary channel is the default one.
        8 has_default_channel: [bool],
        /// 1e-7 degrees.
        9 latitude_i: [sfixed32],
        /// 1e-7 degrees.
        10 longitude_i: [sfixed32],
        /// Metres.
        11 altitude: [int32],
        /// Bits that are true.
        12 position_precision: [uint32],
        /// Nodes heard lately.
        13 num_online_local_nodes: [uint32],
        /// Its owner wants it on maps.
        14 has_opted_report_location: [bool],
    }
}

choices! {
    /// Content of a packet.
    MeshPacketPayload<'a> {
        /// Readable.
        4 Decoded: [message Data<'a>],
        /// Not readable, or not yet.
        5 Encrypted: [bytes],
    }

    /// Content of `Routing`.
    RoutingVariant {
        /// A way is looked for.
        1 RouteRequest: [message RouteDiscovery],
        /// A way was found.
        2 RouteReply: [message RouteDiscovery],
        /// Arrived (0), or why not.
        3 ErrorReason: [enumeration RoutingError],
    }

    /// Kinds of telemetry. Those whose fields are not needed here are kept as they are.
    TelemetryVariant<'a> {
        /// Battery and air.
        2 DeviceMetrics: [message DeviceMetrics],
        /// Weather.
        3 EnvironmentMetrics: [bytes],
        /// Air quality.
        4 AirQualityMetrics: [bytes],
        /// Voltages and currents.
        5 PowerMetrics: [bytes],
        /// What the radio counts.
        6 LocalStats: [message LocalStats],
        /// Pulse and the like.
        7 HealthMetrics: [bytes],
        /// A Linux host.
        8 HostMetrics: [message HostMetrics<'a>],
        /// What the traffic module dropped.
        9 TrafficManagementStats: [bytes],
    }

    /// Content of `StoreAndForward`.
    StoreAndForwardVariant<'a> {
        /// Figures.
        2 Stats: [bytes],
        /// What is kept.
        3 History: [bytes],
        /// A sign of life.
        4 Heartbeat: [bytes],
        /// A text.
        5 Text: [bytes],
    }
}

/// Where a packet goes that is for everybody.
pub const BROADCAST: u32 = 0xFFFF_FFFF;
/// Longest `Data.payload` to send.
pub const MAX_PAYLOAD: usize = 233;
/// Longest encoded `Data`, and the longest `encrypted` that may be sent anywhere: over UDP a longer one ends the node that relays it.
pub const MAX_DATA: usize = 239;
/// Longest encoded `MeshPacket` with readable content.
pub const MAX_PACKET: usize = 400;

impl<'a> MeshPacket<'a> {
    /// The content, where it is readable.
    pub const fn decoded(&self) -> Option<&Data<'a>> {
        match &self.payload {
            Some(MeshPacketPayload::Decoded(data)) => Some(data),
            _ => None,
        }
    }

    /// The ciphertext, where there is one.
    pub const fn encrypted(&self) -> Option<&'a [u8]> {
        match self.payload {
            Some(MeshPacketPayload::Encrypted(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// True if it is for everybody.
    pub const fn is_broadcast(&self) -> bool {
        self.to == BROADCAST
    }

    /// Hops from the origin to here, where the packet tells.
    pub const fn hops_away(&self) -> Option<u32> {
        match self.hop_start.checked_sub(self.hop_limit) {
            // Old firmware leaves hop_start 0; a hop limit of 0 then says nothing.
            Some(0) if self.hop_start == 0 => None,
            hops => hops,
        }
    }
}

impl Routing {
    /// The error that it tells, NONE included; nothing where it is no acknowledgement.
    pub const fn error(&self) -> Option<RoutingError> {
        match self.variant {
            Some(RoutingVariant::ErrorReason(error)) => Some(error),
            _ => None,
        }
    }

    /// An acknowledgement (NONE), or a refusal.
    pub const fn from_error(error: RoutingError) -> Self {
        Self { variant: Some(RoutingVariant::ErrorReason(error)) }
    }
}
