//! What a radio's state says about whether it can serve.

use std::time::{SystemTime, UNIX_EPOCH};

use compotastic_links::{RadioInfo, Telemetry};
use compotastic_mesh::lora::{Preset, Region};
use compotastic_messages::{ModemPreset, RegionCode, Role};
use compotastic_node::manners::{HARD_PERMILLE, POLITE_PERMILLE};

use super::Finding;

/// Direct messages under public keys came with it; older firmware cannot be joined safely.
const FIRMWARE_LEAST: (u32, u32) = (2, 5);
/// What the project is tested with.
const FIRMWARE_TESTED: (u32, u32) = (2, 7);
/// Places for channels.
const CHANNELS: usize = 8;
/// A clock may be off by so much: reports carry it.
const SKEW_S: u64 = 120;
/// Channel utilisation at which bulk stops behind such a radio, and at which all but alerts stops, percent.
const POLITE: f32 = POLITE_PERMILLE as f32 / 10.0;
const HARD: f32 = HARD_PERMILLE as f32 / 10.0;

/// What was heard while listening.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Device metrics of the radio.
    pub telemetry: Option<Telemetry>,
    /// The latest time that the radio gave a packet, seconds since 1970.
    pub rx_time: Option<u32>,
    /// Free places of the radio's queue.
    pub queue_free: Option<u32>,
    /// Packets.
    pub packets: u64,
}

/// Judges a radio by what it told.
pub fn check_radio(info: &RadioInfo, seen: &Seen) -> Vec<Finding> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut findings = vec![firmware(info), region(info)];
    if !info.tx_enabled {
        findings.push(Finding::broken(
            "transmit",
            "sending is switched off",
            "switch it on: `meshtastic --set lora.tx_enabled true`",
        ));
    }
    findings.extend(preset(info));
    findings.extend(role(info));
    findings.extend(channels(info));
    if info.override_duty_cycle {
        findings.push(Finding::warning(
            "duty-cycle",
            "the radio is told to ignore its region's duty cycle",
            "unless you hold a licence for it: `meshtastic --set lora.override_duty_cycle false`",
        ));
    }
    findings.extend(clock(info, seen, now_s));
    findings.extend(air(info, seen));
    if seen.queue_free == Some(0) {
        findings.push(Finding::warning(
            "queue",
            "the radio's queue is full",
            "wait a minute; if it stays full, the channel is busy or another program sends too much",
        ));
    }
    findings
}

/// The first two numbers of a version.
fn version(firmware: &str) -> Option<(u32, u32)> {
    let mut numbers = firmware.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn firmware(info: &RadioInfo) -> Finding {
    let shown = &info.firmware;
    let update = "update it at https://flasher.meshtastic.org";
    match version(shown) {
        None => {
            Finding::warning("firmware", format!("the radio does not tell its version (`{shown}`)"), update)
        }
        Some(version) if version < FIRMWARE_LEAST => {
            Finding::broken("firmware", format!("{shown} is older than 2.5"), update)
        }
        Some(version) if version < FIRMWARE_TESTED => {
            Finding::warning("firmware", format!("{shown} is older than what we test with, 2.7"), update)
        }
        Some(_) => Finding::ok("firmware", shown.clone()),
    }
}

fn region(info: &RadioInfo) -> Finding {
    let set = "set yours: `meshtastic --set lora.region EU_868`";
    let code = RegionCode(info.region);
    match (code.name(), region_of(info)) {
        _ if code == RegionCode::UNSET => {
            Finding::broken("region", "no region is set, so the radio sends nothing", set)
        }
        (Some(name), Some(_)) => Finding::ok("region", name),
        (Some(name), None) => {
            Finding::broken("region", format!("{name} has no band in current firmware"), set)
        }
        (None, _) => Finding::broken("region", format!("region {} is unknown", info.region), set),
    }
}

fn region_of(info: &RadioInfo) -> Option<Region> {
    let name = RegionCode(info.region).name()?;
    Region::ALL.into_iter().find(|region| region.name() == name && *region != Region::Unset)
}

fn preset(info: &RadioInfo) -> Option<Finding> {
    if !info.use_preset {
        return Some(Finding::warning(
            "preset",
            "the modem is set by hand, not by a preset",
            "unless your mesh agreed on it: `meshtastic --set lora.use_preset true`",
        ));
    }
    let name = ModemPreset(info.preset).name()?;
    let known = Preset::ALL.into_iter().find(|preset| preset.name() == name);
    match (known, region_of(info)) {
        (Some(preset), Some(region)) if !region.allows(preset) => Some(Finding::broken(
            "preset",
            format!("{} does not allow {name}", region.name()),
            "choose another: `meshtastic --set lora.modem_preset LONG_FAST`",
        )),
        (Some(_), _) => Some(Finding::ok("preset", name)),
        (None, _) => Some(Finding::warning(
            "preset",
            format!("{name} is out of use"),
            "choose another: `meshtastic --set lora.modem_preset LONG_FAST`",
        )),
    }
}

fn role(info: &RadioInfo) -> Option<Finding> {
    match Role(info.role) {
        Role::REPEATER => Some(Finding::broken(
            "role",
            "a REPEATER tells its program nothing of the mesh",
            "choose another: `meshtastic --set device.role CLIENT`",
        )),
        Role::CLIENT_HIDDEN | Role::LOST_AND_FOUND => Some(Finding::warning(
            "role",
            format!("the role is {}", Role(info.role)),
            "a node that serves others is better a CLIENT: `meshtastic --set device.role CLIENT`",
        )),
        _ => None,
    }
}

fn channels(info: &RadioInfo) -> Vec<Finding> {
    let used: Vec<_> = info.channels.iter().filter(|channel| channel.role != 0).collect();
    let mut findings = Vec::new();
    if !used.iter().any(|channel| channel.role == 1) {
        findings.push(Finding::broken(
            "channels",
            "the radio has no primary channel",
            "set one in the app, or reset it: `meshtastic --ch-longfast`",
        ));
    }
    for channel in used.iter().filter(|channel| channel.role == 2 && open(&channel.psk)) {
        findings.push(Finding::warning(
            "channels",
            format!("channel {} `{}` has no key of its own", channel.index, channel.name),
            format!(
                "unless it is meant for everybody: `meshtastic --ch-index {} --ch-set psk random`",
                channel.index
            ),
        ));
    }
    match used.len() {
        CHANNELS.. => findings.push(Finding::warning(
            "channels",
            "all 8 places for channels are taken, so no swarm can be joined",
            "free one: `meshtastic --ch-index 7 --ch-del`",
        )),
        count if findings.is_empty() => {
            findings.push(Finding::ok("channels", format!("{count} of {CHANNELS} in use")));
        }
        _ => {}
    }
    findings
}

/// No key: nothing, or the number 0.
fn open(psk: &[u8]) -> bool {
    matches!(psk, [] | [0])
}

fn clock(info: &RadioInfo, seen: &Seen, now_s: u64) -> Option<Finding> {
    let own = info.nodes.iter().find(|node| node.num == info.num);
    let told = [
        seen.telemetry.map(|telemetry| telemetry.time),
        seen.rx_time,
        // Its own entry is as new as its clock; others may be old, but none comes from tomorrow.
        own.map(|node| node.last_heard).filter(|time| u64::from(*time) > now_s),
        info.nodes.iter().map(|node| node.last_heard).max().filter(|time| u64::from(*time) > now_s),
    ];
    let radio_s = u64::from(told.into_iter().flatten().find(|time| *time > 0)?);
    let skew_s = radio_s.abs_diff(now_s);
    if skew_s <= SKEW_S {
        return Some(Finding::ok("clock", format!("within {skew_s} s of this machine's")));
    }
    let (amount, unit) = match skew_s {
        0..7200 => (skew_s / 60, "minutes"),
        7200..172_800 => (skew_s / 3600, "hours"),
        _ => (skew_s / 86_400, "days"),
    };
    let direction = if radio_s > now_s { "ahead of" } else { "behind" };
    Some(Finding::warning(
        "clock",
        format!("the radio's clock is {amount} {unit} {direction} this machine's"),
        "see which is right (`timedatectl`), then set the radio's: `meshtastic --set-time`",
    ))
}

fn air(info: &RadioInfo, seen: &Seen) -> Vec<Finding> {
    let own = info.nodes.iter().find(|node| node.num == info.num).and_then(|node| node.metrics);
    let Some(metrics) = seen.telemetry.or(own) else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some(busy) = metrics.channel_utilization {
        findings.push(match busy {
            _ if busy >= HARD => Finding::warning(
                "air",
                format!("the channel is {busy:.0} % busy: only alerts go out"),
                "wait, or ask whoever floods it; a faster preset carries more",
            ),
            _ if busy >= POLITE => Finding::warning(
                "air",
                format!("the channel is {busy:.0} % busy: models and updates wait"),
                "wait; a faster preset carries more",
            ),
            _ => Finding::ok("air", format!("the channel is {busy:.1} % busy")),
        });
    }
    let limit = region_of(info).map_or(100.0, |region| f32::from(region.duty_cycle_permille()) / 10.0);
    if let Some(used) = metrics.air_util_tx
        && limit < 100.0
    {
        findings.push(match used >= limit {
            true => Finding::warning(
                "duty-cycle",
                format!("{used:.1} % of the last hour was used to send, of {limit} % that the region allows: the radio refuses more"),
                "wait; it is free again within an hour",
            ),
            false => Finding::ok("duty-cycle", format!("{used:.1} of {limit} % used")),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use compotastic_links::{ChannelInfo, NodeInfo};

    use super::{super::Severity, *};

    fn healthy() -> RadioInfo {
        let channel = |index, role| ChannelInfo { index, role, psk: vec![7; 16], ..ChannelInfo::default() };
        RadioInfo {
            num: 7,
            firmware: "2.7.26.54e0d8d".into(),
            region: RegionCode::EU_868.0,
            use_preset: true,
            tx_enabled: true,
            channels: (0..8)
                .map(|index| channel(index, [1, 2, 0, 0, 0, 0, 0, 0][usize::from(index)]))
                .collect(),
            ..RadioInfo::default()
        }
    }

    fn now_s() -> u32 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
    }

    fn finding(info: &RadioInfo, seen: &Seen, check: &str) -> Finding {
        let all = check_radio(info, seen);
        let found =
            all.iter().filter(|finding| finding.check == check).max_by_key(|finding| finding.severity);
        found.unwrap_or_else(|| panic!("{check}: {all:?}")).clone()
    }

    #[test]
    fn a_healthy_radio_has_nothing_to_mend() {
        let telemetry = Telemetry {
            channel_utilization: Some(3.0),
            air_util_tx: Some(0.4),
            time: now_s(),
            ..Telemetry::default()
        };
        let seen = Seen { telemetry: Some(telemetry), queue_free: Some(16), ..Seen::default() };
        let all = check_radio(&healthy(), &seen);
        assert!(
            all.iter().all(|finding| finding.severity == Severity::Ok && finding.mend.is_empty()),
            "{all:?}"
        );
        let checks: Vec<_> = all.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["firmware", "region", "preset", "channels", "clock", "air", "duty-cycle"]);
    }

    #[test]
    fn each_fault_of_a_radio_is_found_with_its_cure() {
        type Spoil = fn(&mut RadioInfo);
        let cases: &[(Spoil, &str, Severity, &str)] = &[
            (|info| info.firmware = "2.3.2.63df972".into(), "firmware", Severity::Broken, "flasher"),
            (|info| info.firmware = "2.6.4.b89355f".into(), "firmware", Severity::Warning, "flasher"),
            (|info| info.firmware.clear(), "firmware", Severity::Warning, "flasher"),
            (|info| info.region = 0, "region", Severity::Broken, "lora.region"),
            (|info| info.region = RegionCode::UA_868.0, "region", Severity::Broken, "lora.region"),
            (|info| info.region = 999, "region", Severity::Broken, "lora.region"),
            (|info| info.tx_enabled = false, "transmit", Severity::Broken, "tx_enabled true"),
            (|info| info.use_preset = false, "preset", Severity::Warning, "use_preset"),
            (|info| info.preset = ModemPreset::SHORT_TURBO.0, "preset", Severity::Broken, "modem_preset"),
            (|info| info.preset = ModemPreset::VERY_LONG_SLOW.0, "preset", Severity::Warning, "modem_preset"),
            (|info| info.role = Role::REPEATER.0, "role", Severity::Broken, "CLIENT"),
            (|info| info.channels.clear(), "channels", Severity::Broken, "--ch-longfast"),
            (|info| info.channels[1].psk = vec![0], "channels", Severity::Warning, "psk random"),
            (
                |info| info.channels.iter_mut().skip(1).for_each(|c| c.role = 2),
                "channels",
                Severity::Warning,
                "--ch-del",
            ),
            (|info| info.override_duty_cycle = true, "duty-cycle", Severity::Warning, "override_duty_cycle"),
        ];
        for (spoil, check, severity, cure) in cases {
            let mut info = healthy();
            spoil(&mut info);
            let found = finding(&info, &Seen::default(), check);
            assert_eq!(found.severity, *severity, "{found:?}");
            assert!(found.mend.contains(cure), "{found:?}");
        }
    }

    #[test]
    fn clocks_that_differ_are_told_whichever_way_they_show() {
        let hour = 3600 * 3;
        let behind = Seen {
            telemetry: Some(Telemetry { time: now_s() - hour, ..Telemetry::default() }),
            ..Seen::default()
        };
        assert!(finding(&healthy(), &behind, "clock").what.contains("3 hours behind"));
        let ahead = Seen { rx_time: Some(now_s() + 300 * 86_400), ..Seen::default() };
        assert!(finding(&healthy(), &ahead, "clock").what.contains("days ahead"));
        let mut info = healthy();
        info.nodes = vec![NodeInfo { num: 8, last_heard: now_s() + hour, ..NodeInfo::default() }];
        assert!(finding(&info, &Seen::default(), "clock").what.contains("ahead"));
        // An old node says nothing about a clock, nor does a radio without one.
        info.nodes[0].last_heard = now_s() - hour;
        let no_clock = Seen { telemetry: Some(Telemetry::default()), ..Seen::default() };
        assert!(check_radio(&info, &no_clock).iter().all(|finding| finding.check != "clock"));
    }

    #[test]
    fn a_busy_channel_and_a_spent_duty_cycle_are_told() {
        let seen = |busy, used| Seen {
            telemetry: Some(Telemetry {
                channel_utilization: Some(busy),
                air_util_tx: Some(used),
                ..Telemetry::default()
            }),
            queue_free: Some(0),
            ..Seen::default()
        };
        assert!(finding(&healthy(), &seen(15.0, 1.0), "air").what.contains("updates wait"));
        assert!(finding(&healthy(), &seen(20.0, 1.0), "air").what.contains("only alerts"));
        assert!(finding(&healthy(), &seen(1.0, 10.0), "duty-cycle").what.contains("refuses more"));
        assert!(finding(&healthy(), &seen(1.0, 1.0), "queue").what.contains("full"));
    }
}
