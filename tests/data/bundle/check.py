#!/usr/bin/env python3
"""Reads vectors.txt with nothing of the project: own CBOR, Ed25519 (RFC 8032), hash tree and erasure code."""

import hashlib
import pathlib
import struct
import uuid

# --- CBOR, as much as is needed -------------------------------------------------------------------------------


def cbor(data):
    """The value at the start of data, and what follows it. Tags become ('tag', number, value)."""
    major, low, rest = data[0] >> 5, data[0] & 31, data[1:]
    if low >= 24:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[low]
        argument, rest = int.from_bytes(rest[:size], "big"), rest[size:]
        assert argument >= (24 if size == 1 else 1 << (4 * size)), "shortest form"
    else:
        argument = low
    if major == 0:
        return argument, rest
    if major == 1:
        return -1 - argument, rest
    if major == 2:
        return rest[:argument], rest[argument:]
    if major == 3:
        return rest[:argument].decode(), rest[argument:]
    if major == 4:
        items = []
        for _ in range(argument):
            item, rest = cbor(rest)
            items.append(item)
        return items, rest
    if major == 5:
        items = {}
        for _ in range(argument):
            key, rest = cbor(rest)
            items[key], rest = cbor(rest)
        return items, rest
    if major == 6:
        value, rest = cbor(rest)
        return ("tag", argument, value), rest
    assert data[0] == 0xF6, "null"
    return None, rest


def whole(data):
    value, rest = cbor(data)
    assert rest == b""
    return value


def bstr(data):
    head = bytes([0x40 | len(data)]) if len(data) < 24 else bytes([0x58, len(data)])
    return head + data


# --- Ed25519 (RFC 8032, section 6) ------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    m = (a[1] - a[0]) * (b[1] - b[0]) % P
    n = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(n, point):
    total = (0, 1, 1, 0)
    while n:
        if n & 1:
            total = add(total, point)
        point, n = add(point, point), n >> 1
    return total


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - x2) % P == 0
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519(public, message, signature):
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left = times(int.from_bytes(signature[32:], "little"), BASE)
    right = add(decompress(signature[:32]), times(h, decompress(public)))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % P == 0


# --- COSE_Sign1 and SUIT ------------------------------------------------------------------------------------------

KEYS = {}
VENDOR = uuid.uuid5(uuid.NAMESPACE_DNS, "compotastic")
CLASSES = bytearray(uuid.uuid5(VENDOR, "device classes").bytes)
CLASSES[6], CLASSES[8] = CLASSES[6] & 0x0F | 0x80, CLASSES[8] & 0x3F | 0x80


def sign1(data, detached=None):
    kind, number, (protected, unprotected, payload, signature) = whole(data)
    assert (kind, number) == ("tag", 18) and whole(protected) == {1: -8}
    assert (payload is None) == (detached is not None)
    payload = detached if payload is None else payload
    to_be_signed = b"\x84\x6aSignature1" + bstr(protected) + bstr(b"") + bstr(payload)
    assert ed25519(KEYS[unprotected[4]], to_be_signed, signature)
    return unprotected[4], signature, payload


def envelope(data):
    kind, number, parts = whole(data)
    assert (kind, number, list(parts)) == ("tag", 107, [2, 3])
    digest, block = whole(parts[2])
    assert whole(digest) == [-16, hashlib.sha256(bstr(parts[3])).digest()]
    key, signature, _ = sign1(block, digest)
    manifest = whole(parts[3])
    assert list(manifest) == [1, 2, 3, 7, 20] and manifest[1] == 1 and whole(manifest[7]) == [3, 15]
    common = whole(manifest[3])
    [[kind, task]] = common[2]
    override, parameters, *checks = whole(common[4])
    assert override == 20 and checks == [1, 15, 2, 15] and list(parameters) == [1, 2, 3, 14]
    assert parameters[1] == VENDOR.bytes and parameters[2][:12] == CLASSES[:12]
    algorithm, image = whole(parameters[3])
    assert algorithm == -16
    override, fetch, *rest = whole(manifest[20])
    assert override == 20 and list(fetch) == [21, -257] and fetch[21] == "#c" and rest == [21, 15, -257, None, 3, 15]
    root, piece_size, ram, flash, floor, base, delta, *needs = whole(fetch[-257])
    size, digest, result = parameters[14], image, None
    if delta:
        base, size, digest = delta
        result = (parameters[14], image)
    return dict(
        kind=kind[0], task=task[0], sequence=manifest[2], size=size, digest=digest,
        classes=int.from_bytes(parameters[2][12:], "big"), base=base or bytes(8), result=result, floor=floor,
        needs=needs, piece_size=piece_size, root=root, flash=flash, ram=ram, key=key, signature=signature,
    )


def packed(data):
    fields = struct.unpack_from("<4B5I32s8s8s8s64s", data)
    first, kind, task, piece, sequence, classes, size, flash, ram, digest, root, base, key, signature = fields
    assert first & 15 == 1
    rest, result, floor, needs = data[144:], None, 0, []
    if first & 16:
        result, rest = struct.unpack_from("<I32s", rest), rest[36:]
    if first & 32:
        floor, rest = int.from_bytes(rest[:4], "little"), rest[4:]
    for _ in range(first >> 6):
        needs.append(list(struct.unpack_from("<BBI", rest)))
        rest = rest[6:]
    assert rest == b""
    return dict(
        kind=kind, task=task, sequence=sequence, size=size, digest=digest, classes=classes, base=base,
        result=result, floor=floor, needs=needs, piece_size=piece * 16, root=root, flash=flash, ram=ram, key=key,
        signature=signature,
    )


# --- Stream, hash tree and erasure code ---------------------------------------------------------------------------


def stream_of(content, p):
    size = -(-len(content) // 8) * 8
    count = max(1, -(-(size - 8) // (p - 8)))
    stream = bytearray(content.ljust(count * p, b"\0"))
    for i in range(count):
        entry = hashlib.sha256(stream[i * p : (i + 1) * p]).digest()[:8]
        if i < count - 1:
            stream[size + 8 * i : size + 8 * i + 8] = entry
    return bytes(stream), count, size + 8 * (count - 1), entry


def multiply(a, b):
    product = 0
    while b:
        product ^= a * (b & 1)
        a, b = a << 1, b >> 1
        if a & 0x100:
            a ^= 0x11D
    return product


def coefficients(tag, generation, symbol, k):
    state, row = tag | generation << 32 | symbol << 40, []
    while len(row) < k:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        row += [max(b, 1) for b in z.to_bytes(8, "little")] if k <= 90 else [z >> i & 1 for i in range(64)]
    row = row[:k]
    if not any(row):
        row[symbol % k] = 1
    return row


def symbol_of(manifest, content, generation, symbol):
    p = manifest["piece_size"]
    stream, count, length, root = stream_of(content, p)
    assert root == manifest["root"] and hashlib.sha256(content).digest() == manifest["digest"]
    generations = -(-count // 256)
    each, more = divmod(count, generations)
    start = generation * each + min(generation, more)
    k = each + (generation < more)
    pieces = [stream[i * p : (i + 1) * p] for i in range(start, start + k)]
    if symbol < k:
        return pieces[symbol][: length - (start + symbol) * p]
    row = coefficients(int.from_bytes(manifest["digest"][:4], "little"), generation, symbol, k)
    out = bytearray(p)
    for factor, piece in zip(row, pieces):
        if factor:
            out = bytearray(x ^ multiply(factor, y) for x, y in zip(out, piece))
    return bytes(out)


def main():
    text = pathlib.Path(__file__).with_name("vectors.txt").read_text()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    v = {name: bytes.fromhex(value) for name, value in lines}
    for name in ("root_public", "edge_public"):
        KEYS[hashlib.sha256(v[name]).digest()[:8]] = v[name]
    root, edge = KEYS
    assert sign1(v["delegation"])[0] == root == sign1(v["revocation"])[0]
    assert whole(sign1(v["delegation"])[2]) == [1, v["edge_public"], 6, 0xFF, 1 << 20, 1]
    assert whole(sign1(v["revocation"])[2]) == [2, edge, 2]
    said = {}
    for name, key in (("model", edge), ("policy", edge), ("firmware", root), ("firmware_all", root)):
        said[name] = envelope(v[name + "_envelope"])
        assert said[name] == packed(v[name + "_packed"]) and said[name]["key"] == key, name
    for name in ("firmware", "firmware_all"):
        assert said[name]["base"] == b"previous" and said[name]["classes"] == 0x80000001
        assert said[name]["result"] == (250000, bytes([0xD1]) * 32)
    needs = [[4, 0, 60000], [1, 7, 2]]
    assert [said[name]["floor"] for name in said] == [0, 3, 0, 69000]
    assert [said[name]["needs"] for name in said] == [[], needs, [], needs]
    for name, size in (("small", 1000), ("large", 3000)):
        content = bytes((7 * i + i // 256) & 255 for i in range(size))
        manifest = envelope(v["model_envelope" if name == "small" else "large_envelope"])
        assert manifest["size"] == size
        for key, value in v.items():
            if key.startswith(name + "_symbol_"):
                *generation, symbol = map(int, key.split("_")[2:])
                assert value == symbol_of(manifest, content, *(generation or [0]), symbol), key
            if key == name + "_last_piece":
                assert value == symbol_of(manifest, content, 0, 5)
    print(f"{len(v)} vectors agree")


main()
