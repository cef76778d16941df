#!/usr/bin/env python3
"""Reads the vectors of PROTOCOL.md with nothing of the project: own layouts; AES-CMAC from the package `cryptography`.

Field numbers of records come from proto/compotastic.proto, the rest of protobuf is written here.
Usage: wire_decoder.py [PROTOCOL.md]
Prints what it checked; on the first thing that is not as the page says it names that and exits with 1.
"""

import base64
import hashlib
import pathlib
import re
import struct
import sys

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT, VERSION, EVERYBODY = 448, 1, 0xFFFFFFFF
MAX_PAYLOAD, MAX_NEIGHBOURS = 222, 24


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
    near = b.rest()
    require(len(near) % 2 == 0, "half a neighbour")
    names = [name for name, in struct.iter_unpack("<H", near)]
    require(len(names) <= MAX_NEIGHBOURS, "too many neighbours")
    # From 0 on, which names nobody.
    require(all(low < high for low, high in zip([0, *names], names)), "neighbours do not rise")
    yield "neighbours", near or None


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
    require(status <= 7, "unknown status")
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
    yield "more", b.number(1)
    yield "data", b.rest()


def symbol_request(b, _broadcast):
    yield "object_tag", b.number(4)
    yield "generation", b.number(1)
    yield "needed", b.number(1)
    flags = b.number(1)
    yield "server", b.number(2)
    yield "lacking", b.number(2)
    yield "uncoded", b.rest() if flags & 1 else None


def record(b, _broadcast):
    record_type = b.number(1)
    require(1 <= record_type <= 8, "unknown record type")
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


def advert(b, _broadcast):
    yield "object_tag", b.number(4)
    yield "complete", b.number(2)


def sync_digest(b, _broadcast):
    yield "digest", b.number(8)
def sync_list(b, _broadcast):
    yield "digest", b.number(8)
    yield "membership", b.number(2)
    members, form = b.number(1), b.number(1)
    require(form <= 3, "unknown form")
    yield "members", members
    yield "form", form
    length, entries = [2, 5, 1, 1][form], b.rest()
    require(len(entries) % length == 0, "half an entry")
    count = len(entries) // length
    require(count == members if form >= 2 else count <= members, "number of entries")
    require(form != 0 or all(index < members for index in entries[::2]), "index beyond the members")
    yield "entries", entries
def sync_records(b, _broadcast):
    yield "digest", b.number(8)
    items = b.rest()
    require(items, "no records")
    left = Bytes(items)
    while left.data:
        left.take(5)
        left.take(left.number(1))
    yield "items", items
def part(b, _broadcast):
    yield "job", b.number(2)
    place = b.number(1)
    require(1 <= place >> 5 <= place >> 2 & 7 <= 6, "place of the part")
    yield "part", place >> 5
    yield "parts_less_1", place >> 2 & 7
    yield "of_answer", place >> 1 & 1
    yield "tag", b.number(1)
    require(b.data, "empty part")
    yield "bytes", b.rest()


def part_request(b, _broadcast):
    yield "job", b.number(2)
    bits = b.number(1)
    require(bits >> 1, "nothing is missing")
    yield "missing", bits >> 1
    yield "of_answer", bits & 1


CLASSES = dict(
    enumerate(
        [beacon, request, offer, award, result, symbol, symbol_request, record, record_request, report, advert]
        + [sync_digest, sync_list, sync_records, part, part_request]
    )
)
SYMBOL = 5


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
    require(2 < len(payload) <= MAX_PAYLOAD, f"{name}: length")
    require(payload[0] >> 5 == VERSION, f"{name}: version")
    number = payload[0] & 31
    require(number in CLASSES, f"{name}: class")
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


def check_short(node, said):
    """The two bytes that name a node in a list of neighbours and in a request for symbols."""
    low, high = struct.unpack("<HH", node.to_bytes(4, "little"))
    short = low ^ high or 0xFFFF
    require(short == said, f"node {node:#010x} is {short:#06x}, the page says {said:#06x}")
    return short


def check_fields(name, decoded, on_page):
    require([key for key, _ in decoded] == [key for key, _ in on_page], f"{name}: names of the fields")
    for (key, value), (_, text) in zip(decoded, on_page):
        value = as_page(value)
        require(value == from_page(text, value), f"{name}: {key} is {value}, the page says {text}")


# --- records -------------------------------------------------------------------------------------------------------


def messages(source):
    """Messages of a .proto file: name, and fields as (number, repeated, type, name) in order."""
    source = re.sub(r"//.*", "", source)
    field = re.compile(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;")
    return {
        name: [(int(number), bool(many), kind, key) for many, kind, key, number in field.findall(body)]
        for name, body in re.findall(r"message\s+(\w+)\s*\{([^}]*)\}", source)
    }


PROTO = messages((ROOT / "proto" / "compotastic.proto").read_text(encoding="utf-8"))


def varint(data):
    value, shift = 0, 0
    while True:
        require(data and shift < 64, "varint")
        value |= (data[0] & 127) << shift
        more, data, shift = data[0] & 128, data[1:], shift + 7
        if not more:
            return value, data


def as_varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def raw_fields(data):
    """Number and value of each field: an integer, or bytes."""
    while data:
        key, data = varint(data)
        if key & 7 == 0:
            value, data = varint(data)
        elif key & 7 == 2:
            length, data = varint(data)
            require(length <= len(data), "field cut short")
            value, data = data[:length], data[length:]
        else:
            require(key & 7 == 5 and len(data) >= 4, "wire type")
            value, data = int.from_bytes(data[:4], "little"), data[4:]
        yield key >> 3, value


def parse(message, data):
    """Every field of a message by name, in the order of the .proto file: value, list, or dict."""
    found = {}
    for number, value in raw_fields(data):
        found.setdefault(number, []).append(value)
    require(set(found) <= {number for number, *_ in PROTO[message]}, f"{message}: unknown field")
    out = {}
    for number, many, kind, name in PROTO[message]:
        nothing = {"bytes": b"", "string": b""}.get(kind, b"" if kind in PROTO else 0)
        values = found.get(number, [] if many else [nothing])
        require(many or len(values) == 1, f"{message}: {name} comes twice")
        if kind in PROTO:
            values = [parse(kind, value) for value in values]
        elif kind == "string":
            values = [value.decode("utf-8") for value in values]
        out[name] = values if many else values[0]
    return out


def emit(message, values):
    """The canonical encoding."""
    out = b""
    for number, many, kind, name in sorted(PROTO[message]):
        for value in values[name] if many else [values[name]]:
            if kind in PROTO:
                value = emit(kind, value)
            elif kind == "string":
                value = value.encode("utf-8")
            if not many and value in (0, b""):
                continue
            if isinstance(value, bytes):
                out += as_varint(number << 3 | 2) + as_varint(len(value)) + value
            elif kind == "fixed32":
                out += as_varint(number << 3 | 5) + value.to_bytes(4, "little")
            else:
                out += as_varint(number << 3) + as_varint(value)
    return out


def flat(values, prefix=""):
    for name, value in values.items():
        for index, item in enumerate(value) if isinstance(value, list) else [("", value)]:
            path = f"{prefix}{name}{index}"
            if isinstance(item, dict):
                yield from flat(item, path + ".")
            else:
                yield path, item


def check_record(name, lines):
    """One record: each field, its canonical encoding, and its hash or text form."""
    (head, said), (key, encoded) = lines[:2]
    require(key == "bytes", f"{name}: lines of the block")
    data = bytes.fromhex(encoded)
    values = parse(name, data)
    require(emit(name, values) == data, f"{name}: canonical encoding")
    check_fields(name, list(flat(values)), lines[2:])
    digest = hashlib.sha256(data).digest()[:4]
    if head == "text":
        digits = base64.urlsafe_b64encode(data + digest).decode("ascii").rstrip("=")
        require(said == "compotastic:" + digits, f"{name}: text form")
    else:
        require(int(said, 0) == int.from_bytes(digest, "little"), f"{name}: hash")
    return name


def main(path):
    page = pathlib.Path(path).read_text(encoding="utf-8")
    frames = blocks(page, "vector")
    classes = {check_frame(name, lines) for name, lines in frames}
    require(classes == set(range(len(CLASSES))), "a class has no vector")
    shorts = re.findall(r"^\| (0x[0-9a-f]{8}) \| (0x[0-9a-f]{4}) \|$", page, re.M)
    require(len({check_short(int(node, 0), int(short, 0)) for node, short in shorts}) > 3, "too few names of nodes")
    require(classes == set(CLASSES), "a class has no vector")
    records = {check_record(name, lines) for name, lines in blocks(page, "record")}
    require(records == {"CapabilityRecord", "EnrolmentRecord"}, "a record has no vector")
    print(f"{len(frames)} frames of {len(classes)} classes and {len(records)} records are as the page says")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "PROTOCOL.md")
    except (Wrong, ValueError) as error:
        sys.exit(f"wire_decoder: {error}")
