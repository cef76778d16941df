#!/usr/bin/env python3
"""Reads the vectors of PROTOCOL.md with nothing of the project: own layouts; AES-CMAC from the package `cryptography`.

Usage: wire_decoder.py [PROTOCOL.md]
Prints what it checked; on the first thing that is not as the page says it names that and exits with 1.
"""

import pathlib
import struct
import sys

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT, VERSION, EVERYBODY = 448, 1, 0xFFFFFFFF


class Wrong(Exception):
    """Something is not as the page says."""


def require(holds, what):
    if not holds:
        raise Wrong(what)


# --- the page ------------------------------------------------------------------------------------------------------


def blocks(page, kind):
    """The fenced blocks of one kind: name, and lines as (key, value)."""
    found, inside = [], None
    for line in page.splitlines():
        if inside is None and line.startswith(f"```{kind} "):
            inside = (line.split(" ", 1)[1], [])
        elif inside is not None and line == "```":
            found.append(inside)
            inside = None
        elif inside is not None:
            key, _, value = line.partition(" ")
            inside[1].append((key, value))
    require(inside is None, "a block has no end")
    return found


# --- frames --------------------------------------------------------------------------------------------------------


class Bytes:
    """Takes integers and bytes off the front; all of it must be taken."""

    def __init__(self, data):
        self.data = data

    def take(self, count):
        require(len(self.data) >= count, "cut short")
        head, self.data = self.data[:count], self.data[count:]
        return head

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def rest(self):
        return self.take(len(self.data))

    def nibbles(self):
        value = self.number(1)
        return value >> 4, value & 15


def beacon(b, _broadcast):
    yield "device_class", b.number(1)
    yield "flags", b.number(1)
    load, battery = b.nibbles()
    yield "load", load
    yield "battery", battery
    yield "wake", b.number(1)
    yield "record_hash", b.number(4)
    yield "task", b.number(1)
    yield "model_version", b.number(2)
    yield "object_tag", b.number(4)
    yield "object_progress", b.number(1)


def request(b, _broadcast):
    kind, low = b.nibbles()
    yield "kind", kind
    yield "priority", low >> 2
    yield "wants_offers", low & 1
    yield "task", b.number(1)
    deadline, wake = b.nibbles()
    yield "deadline_code", deadline
    yield "wake", wake
    yield "back", b.number(2) if low & 2 else None
    yield "codec", b.number(1)
    yield "text", b.rest()


def offer(b, _broadcast):
    yield "job", b.number(2)
    yield "suitability", b.number(1)
    yield "wait_s", b.number(1)


def award(b, _broadcast):
    yield "job", b.number(2)


def result(b, broadcast):
    yield "requester", b.number(4) if broadcast else None
    yield "job", b.number(2)
    status, confidence = b.nibbles()
    require(status <= 5, "unknown status")
    yield "status", status
    yield "confidence", confidence
    yield "class_index", b.number(1)
    yield "model_version", b.number(1)
    there = len(b.data) > 0
    yield "codec", b.number(1) if there else None
    yield "text", b.rest() if there else None


def symbol(b, _broadcast):
    yield "object_tag", b.number(4)
    yield "generation", b.number(1)
    yield "symbol", b.number(2)
    yield "data", b.rest()


def symbol_request(b, _broadcast):
    yield "object_tag", b.number(4)
    yield "generation", b.number(1)
    yield "needed", b.number(1)
    yield "uncoded", b.rest() if b.number(1) & 1 else None


def record(b, _broadcast):
    record_type = b.number(1)
    require(1 <= record_type <= 4, "unknown record type")
    yield "record_type", record_type
    part, parts = b.nibbles()
    require(part < parts, "part beyond the parts")
    yield "part", part
    yield "parts", parts
    yield "tag", b.number(4)
    require(b.data, "empty part")
    yield "bytes", b.rest()


def record_request(b, _broadcast):
    yield "record_type", b.number(1)
    yield "tag", b.number(4)


def report(b, _broadcast):
    index = 0
    while b.data:
        head = b.number(1)
        form = head >> 4 & 3
        require(form != 3, "unknown form")
        entry = [("priority", head >> 6), ("form", form), ("confidence", head & 15)]
        entry += [("class_index", b.number(1)), ("model_version", b.number(1)), ("age_min", b.number(1))]
        entry += [("origin", b.number(2))]
        codec = b.number(1) if form else None
        text = b.take(b.number(1)) if form else None
        for name, value in entry + [("codec", codec), ("text", text)]:
            yield f"entry{index}.{name}", value
        index += 1
    require(index > 0, "empty report")


CLASSES = [beacon, request, offer, award, result, symbol, symbol_request, record, record_request, report]
SYMBOL = CLASSES.index(symbol)


def as_page(value):
    """A decoded value as a comparable one: numbers as they are, bytes as hexadecimal, `-` for none."""
    if value is None:
        return "-"
    return value.hex() if isinstance(value, bytes) else value


def from_page(text, like):
    return int(text, 0) if isinstance(like, int) else text


def check_frame(name, lines):
    """One vector: its MAC, and each field in the page's order."""
    head = dict(lines[:6])
    require(list(head) == ["key", "epoch", "from", "to", "id", "payload"], f"{name}: lines of the block")
    sender, to, packet = (int(head[key], 0) for key in ("from", "to", "id"))
    payload = bytes.fromhex(head["payload"])
    require(2 < len(payload) <= 200, f"{name}: length")
    require(payload[0] >> 5 == VERSION, f"{name}: version")
    number = payload[0] & 31
    require(number < len(CLASSES), f"{name}: class")
    require(payload[1] == int(head["epoch"]), f"{name}: epoch")
    mac_len = 4 if number == SYMBOL else 8
    covered, tag = payload[:-mac_len], payload[-mac_len:]
    mac = CMAC(AES(bytes.fromhex(head["key"])))
    mac.update(struct.pack("<IIIH", sender, to, packet, PORT) + covered)
    require(mac.finalize()[:mac_len] == tag, f"{name}: MAC")
    body = Bytes(covered[2:])
    decoded = [("class", number), *CLASSES[number](body, to == EVERYBODY)]
    require(not body.data, f"{name}: bytes left over")
    check_fields(name, decoded, lines[6:])
    return number


def check_fields(name, decoded, on_page):
    require([key for key, _ in decoded] == [key for key, _ in on_page], f"{name}: names of the fields")
    for (key, value), (_, text) in zip(decoded, on_page):
        value = as_page(value)
        require(value == from_page(text, value), f"{name}: {key} is {value}, the page says {text}")


def main(path):
    page = pathlib.Path(path).read_text(encoding="utf-8")
    frames = blocks(page, "vector")
    classes = {check_frame(name, lines) for name, lines in frames}
    require(classes == set(range(len(CLASSES))), "a class has no vector")
    print(f"{len(frames)} frames of {len(classes)} classes are as the page says")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "PROTOCOL.md")
    except (Wrong, ValueError) as error:
        sys.exit(f"wire_decoder: {error}")
