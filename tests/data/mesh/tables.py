#!/usr/bin/env python3
"""Writes airtime-us.csv and slots.csv beside it, in exact fractions and apart from the code that they test.

Time on air: SX1262 datasheet, section 6.1.4 (the same as AN1200.13): explicit header of 20 bits, CRC of 16 bits.
Slots: Meshtastic's rule, from regions.csv and the parameters of the presets.
"""

import csv
import math
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
HEADER = 16
PAYLOADS = [0, 16, 40, 100, 200, 237]
# Name, display name, SF, bandwidth in kHz below 1 GHz and at 2.4 GHz, denominator of the coding rate.
PRESETS = [
    ("SHORT_TURBO", "ShortTurbo", 7, "500", "1625", 5),
    ("SHORT_FAST", "ShortFast", 7, "250", "812.5", 5),
    ("SHORT_SLOW", "ShortSlow", 8, "250", "812.5", 5),
    ("MEDIUM_TURBO", "MediumTurbo", 9, "500", "1625", 5),
    ("MEDIUM_FAST", "MediumFast", 9, "250", "812.5", 5),
    ("MEDIUM_SLOW", "MediumSlow", 10, "250", "812.5", 5),
    ("LONG_TURBO", "LongTurbo", 11, "500", "1625", 8),
    ("LONG_FAST", "LongFast", 11, "250", "812.5", 5),
    ("LONG_MODERATE", "LongMod", 11, "125", "406.25", 8),
    ("LONG_SLOW", "LongSlow", 12, "125", "406.25", 8),
    ("LITE_FAST", "LiteFast", 9, "125", "125", 5),
    ("LITE_SLOW", "LiteSlow", 10, "125", "125", 5),
    ("NARROW_FAST", "NarrowFast", 7, "62.5", "62.5", 6),
    ("NARROW_SLOW", "NarrowSlow", 8, "62.5", "62.5", 6),
    ("TINY_FAST", "TinyFast", 7, "15.6", "15.6", 5),
    ("TINY_SLOW", "TinySlow", 8, "15.6", "15.6", 6),
]
STANDARD = [preset[0] for preset in PRESETS[:10]]
# Presets, spacing and padding in kHz.
PROFILES = {
    "STD": (STANDARD, "0", "0"),
    "UNDEF": (STANDARD, "0", "0"),
    "EU868": ([name for name in STANDARD if not name.endswith("TURBO")], "0", "0"),
    "LITE": (["LITE_FAST", "LITE_SLOW"], "400", "37.5"),
    "NARROW": (["NARROW_FAST", "NARROW_SLOW"], "0", "10.4"),
    "HAM_20KHZ": (["TINY_FAST", "TINY_SLOW"], "0", "2.2"),
    "HAM_100KHZ": (["NARROW_FAST", "NARROW_SLOW"], "0", "18.75"),
}


def time_on_air_us(sf, bandwidth_khz, denominator, preamble, length):
    symbol_us = Fraction(2**sf) / Fraction(bandwidth_khz) * 1000
    slow = 1 if symbol_us > 16000 else 0
    bits = max(8 * length + 16 - 4 * sf + 8 + 20, 0)
    coded = math.ceil(Fraction(bits, 4 * (sf - 2 * slow))) * denominator
    return math.ceil((preamble + Fraction(17, 4) + 8 + coded) * symbol_us)


def djb2(name):
    value = 5381
    for byte in name.encode():
        value = (value * 33 + byte) % 2**32
    return value


def write(name, head, rows):
    with open(HERE / name, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def airtime():
    for wide in (0, 1):
        for name, _, sf, low, high, denominator in PRESETS:
            # What a 2.4 GHz chip has no bandwidth for is allowed in no region.
            if wide and low == high:
                continue
            settings = (sf, high if wide else low, denominator, 12 if wide else 16)
            yield [name, wide] + [time_on_air_us(*settings, HEADER + payload) for payload in PAYLOADS]


def slots():
    with open(HERE / "regions.csv", newline="") as file:
        regions = list(csv.DictReader(file))
    for region in regions:
        names, spacing, padding = PROFILES[region["profile"]]
        start, end = Fraction(region["start_khz"]), Fraction(region["end_khz"])
        spacing, padding = Fraction(spacing), Fraction(padding)
        for name, display, _, low, high, _ in PRESETS:
            if name not in names:
                continue
            bandwidth = Fraction(high if region["wide"] == "1" else low)
            width = spacing + 2 * padding + bandwidth
            count = max(1, math.floor((end - start + spacing) / width + Fraction(1, 2)))
            override = int(region["slot_override"])
            default = override - 1 if override else djb2(display) % count
            lowest = [start + padding + slot * width for slot in range(count)]
            outside = [slot for slot, edge in enumerate(lowest) if edge + bandwidth > end]
            centre_hz = (lowest[default] + bandwidth / 2) * 1000
            yield [region["region"], name, count, default, int(centre_hz), " ".join(map(str, outside))]


write("airtime-us.csv", ["preset", "wide"] + [f"payload_{payload}" for payload in PAYLOADS], airtime())
write("slots.csv", ["region", "preset", "slots", "default_slot", "default_centre_hz", "outside"], slots())
