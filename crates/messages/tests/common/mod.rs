//! The list of all messages, for tests that treat all alike.

/// Calls `$check!(Type, "name in the schema")` for each message that is declared by a table.
#[macro_export]
macro_rules! for_all_messages {
    ($check:ident) => {
        $check!(MeshPacket, "MeshPacket");
        $check!(Data, "Data");
        $check!(ToRadio, "ToRadio");
        $check!(FromRadio, "FromRadio");
        $check!(Heartbeat, "Heartbeat");
        $check!(MyNodeInfo, "MyNodeInfo");
        $check!(NodeInfo, "NodeInfo");
        $check!(User, "User");
        $check!(Position, "Position");
        $check!(Telemetry, "Telemetry");
        $check!(DeviceMetrics, "DeviceMetrics");
        $check!(LocalStats, "LocalStats");
        $check!(HostMetrics, "HostMetrics");
        $check!(Routing, "Routing");
        $check!(RouteDiscovery, "RouteDiscovery");
        $check!(QueueStatus, "QueueStatus");
        $check!(ClientNotification, "ClientNotification");
        $check!(LogRecord, "LogRecord");
        $check!(DeviceMetadata, "DeviceMetadata");
        $check!(Config, "Config");
        $check!(LoRaConfig, "Config.LoRaConfig");
        $check!(Channel, "Channel");
        $check!(ChannelSettings, "ChannelSettings");
        $check!(ModuleSettings, "ModuleSettings");
        $check!(ServiceEnvelope, "ServiceEnvelope");
        $check!(MapReport, "MapReport");
        $check!(AdminMessage, "AdminMessage");
        $check!(NeighborInfo, "NeighborInfo");
        $check!(Neighbor, "Neighbor");
        $check!(Waypoint, "Waypoint");
        $check!(Compressed, "Compressed");
        $check!(XModem, "XModem");
        $check!(StoreAndForward, "StoreAndForward");
    };
}
