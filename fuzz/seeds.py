#!/usr/bin/env python3
"""Writes the vectors of the repository as first inputs: corpus/<target>/seed-<n>, and what earlier runs found: found-<n>."""

import base64
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
page = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
bundles = dict(
    line.split(" ", 1)
    for line in (ROOT / "tests/data/bundle/vectors.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)
payloads = [bytes.fromhex(digits) for digits in re.findall(r"^payload (\w+)$", page, re.M)]
# A frame on the swarm's channel: length, pause, "make it readable", header, Data.
frames = []
for index, payload in enumerate(payloads):
    data = bytes([0x08, 0xC0, 0x03, 0x12])
    data += bytes([len(payload)] if len(payload) < 128 else [len(payload) & 127 | 128, 1]) + payload
    header = bytes([index % 4, 0, 0, 0, index % 3, 0, 0, 1, index + 1, 0, 0, 0, 0x6B, 1, 0, 0x11])
    frames.append(bytes([len(header + data), 20, 1]) + header + data)

# Recorded datagrams, whole and as steps of a run.
golden_frames = json.loads((ROOT / "tests/data/mesh/golden.json").read_text(encoding="utf-8"))["vectors"]
datagrams = [vector["hex"] for vector in golden_frames if vector["transport"].startswith("UDP")]
datagrams += [vector["udp_in"] for vector in golden_frames if "udp_in" in vector]
datagrams = [bytes.fromhex(digits) for digits in sorted(set(datagrams))]
# What is read from the channel or under keys: a header, and the content in clear.
clear = [bytes.fromhex(vector["plaintext"]) for vector in golden_frames if "plaintext" in vector]
header = bytes([1, 0, 0, 0, 0x21, 0xCC, 0xBB, 0xAA, 9, 0, 0, 0, 0x6B, 8, 0, 0x21])
clear = [bytes([len(header + data), 30, flags]) + header + data for data in clear for flags in (1, 2)]

# The example of the page on recordings: whole, and without its end.
example = (ROOT / "docs/RECORDING.md").read_text(encoding="utf-8").split("<!-- example -->")[1]
recording = bytes.fromhex("".join(line.split("|")[0] for line in example.splitlines() if line.startswith("    ")))
golden = (ROOT / "crates/delta/tests/golden.rs").read_text(encoding="utf-8")
patches = [bytes.fromhex(digits) for digits in re.findall(r'^const \w+: &str = "(\w+)";$', golden, re.M)]
texts = [line.split("\t") for line in (ROOT / "tests/data/text/vectors.tsv").read_text(encoding="utf-8").splitlines()]
# Frames of a running node: its stream, its packets, and the content of those.
recorded = json.loads((ROOT / "tests/data/meshtastic/golden.json").read_text(encoding="utf-8"))["vectors"]
streams = [bytes.fromhex(v[k]) for v in recorded for k in ("hex", "toradio_frame", "tcp_frame") if v.get(k, "").startswith("94c3")]
packets = [bytes.fromhex(v[k]) for v in recorded for k in ("hex", "udp_in") if not v.get(k, "94c3").startswith("94c3")]
contents = [bytes.fromhex(v["plaintext"]) for v in recorded if "plaintext" in v]
seeds = {
    "framing": [bytes([7]) + b"log\n" + stream + streams[0] for stream in streams] + [b"\0\x94\xc3\x02\x01\x94\xc3\0\0"],
    "client_api": [stream[4:] for stream in streams]
    + [bytes.fromhex(digits) for digits in ("1a020809", "380540", "180a", "3a020801")],
    # As a session gets them: wait, length, message.
    "app_session": [b"".join(bytes([wait, len(stream) - 4]) + stream[4:] for wait, stream in enumerate(streams))]
    + [bytes.fromhex(digits) for digits in ("c8023802" "ff0240010002180100023801", "05041a020809ff001e0fff00ff00ff00ff00")],
    "packet_messages": packets + contents + [bytes([content[1]]) + content[4:] for content in contents],
    "service_envelope": [b"\n" + (bytes([len(p)]) if len(p) < 128 else bytes([len(p) & 127 | 128, 1])) + p
        + b"\x12\x08LongFast\x1a\x09!12340001" for p in packets],
    # The body alone, for the classes that a fuzzer cannot make a MAC for, and the whole.
    "wire_open": payloads + [payload[2:-8] for payload in payloads],
    "wire_records": [bytes.fromhex(digits) for digits in re.findall(r"^bytes (\w+)$", page, re.M)]
    + [text.encode() for text in re.findall(r"^text (compotastic:\S+)$", page, re.M)],
    "mesh_packet": frames + [b"".join(frames[at : at + 3]) for at in range(0, len(frames), 3)],
    "mesh_native": datagrams
    + [b"".join(bytes([len(datagram), 40, 0]) + datagram for datagram in datagrams)]
    + [b"".join(clear), *clear],
    "text_decode": [bytes([2 * int(row[0]) + 1]) + bytes.fromhex(row[1]) for row in texts if len(row) > 1]
    + [b"\0" + row[2].encode() for row in texts if len(row) > 2],
    "model_files": [
        bytes([8, 11, 16, 90, 12, 3, 40, 9, 32, 24]) + b"two hikers 12 m missing?" + bytes(range(200)),
        # One word over and over, and as many corrections as there may be, all for that word's key.
        bytes([0, 0, 255, 90, 12, 3, 41, 255, 4, 249]) + b"no " * 83 + b"\xed\xd6\x00\x7f",
    ],
    # Whole, and as bodies behind the target's own heads.
    "delta_decode": patches + [bytes([method, 90, 7]) + patch[15:] for patch in patches for method in range(5)],
    "recording": [recording, recording[:-66]],
    # The first byte chooses the decoder and how much the air carries.
    "http_bodies": [
        b'\x00{"kind":"chat","text":"where is water?","priority":"high","deadline_s":60,"max_chars":200}',
        b'\x00{"kind":"classify","text":"man fell"}',
        b'\x41{"model":"mesh","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"hi"}],"stream":true}',
        b'\x05{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a b"}]},{"role":"assistant","content":"x"},'
        b'{"role":"user","content":"c"}],"max_tokens":3,"stop":["b","c"],"n":1,"stream_options":{"include_usage":true}}',
        b'\x02{"model":"m","input":["a","b"],"encoding_format":"base64"}',
        b'\x02{"model":"m","input":"a","dimensions":3}',
        b'\x03{"text":"hello","to":4294967295,"channel":1,"reply_to":7}',
    ],
    "bundle_manifest": [bytes.fromhex(digits) for digits in bundles.values()],
    # All missing, some missing, a lie; named symbols and those that follow.
    "bundle_code": [
        bytes([39, 0, 1, 1, 2, 3, 4]),
        bytes([63, 1, 1, 1, 2, 3, 4]) + bytes([0xA5] * 8),
        bytes([23, 1, 3, 9, 9, 9, 9]) + bytes([0xF0, 0x0F, 0x80]) + bytes(range(80)),
    ],
    # True pieces and combinations; the same with a false one and a power cut between.
    "bundle_symbols": [
        bytes([99, 9, 10]) + b"".join(bytes([0xC0, 0, n, 0]) for n in range(9)),
        bytes([99, 9, 3]) + b"".join(bytes([0xC1, 0, n, 1]) for n in range(24)),
        bytes([99, 9, 3]) + b"".join(bytes([0x20 if n == 4 else 0x60 if n == 7 else 0xC1, 0, n, 1]) for n in range(40)),
    ],
}
for target, inputs in seeds.items():
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs):
        (folder / f"seed-{number}").write_bytes(data)
    kept = HERE / "found" / f"{target}.txt"
    found = kept.read_text(encoding="ascii").split() if kept.exists() else []
    for number, line in enumerate(found):
        (folder / f"found-{number}").write_bytes(base64.b64decode(line))
    print(f"{target}: {len(inputs)} seeds, {len(found)} found")
