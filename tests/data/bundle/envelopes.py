#!/usr/bin/env python3
"""SUIT envelopes by the public packages cbor2 and pycose, with nothing of the project.

Reads each envelope of vectors.txt and checks its digest and signature, then writes one of its own on standard output, in
hexadecimal: a policy with the fields of MANIFEST, signed with the root key's seed. `--wrong` signs another digest.
"""

import hashlib
import pathlib
import sys
import uuid

try:
    import cbor2
    from pycose.algorithms import EdDSA
    from pycose.headers import KID, Algorithm
    from pycose.keys import OKPKey
    from pycose.messages import Sign1Message
except ImportError as missing:
    sys.exit(f"SKIPPED: {missing}; python3 -m pip install cbor2 pycose")

VENDOR = uuid.uuid5(uuid.NAMESPACE_DNS, "compotastic").bytes
ROOT_SEED = bytes([0x11]) * 32


def read(envelope, keys):
    """Digest and signature hold; gives the manifest."""
    envelope = cbor2.loads(envelope)
    assert envelope.tag == 107 and list(envelope.value) == [2, 3]
    digest, block = cbor2.loads(envelope.value[2])
    manifest = envelope.value[3]
    assert cbor2.loads(digest) == [-16, hashlib.sha256(cbor2.dumps(manifest)).digest()]
    block = cbor2.loads(block)
    # Not CoseMessage.decode: it wants a list and a dict, and newer versions of cbor2 give frozen ones.
    protected, unprotected, payload, signature = block.value
    parts = [protected, dict(unprotected), payload, signature]
    message = Sign1Message.from_cose_obj(parts, allow_unknown_attributes=False)
    assert block.tag == 18 and message.payload is None and message.phdr == {Algorithm: EdDSA}
    message.key = OKPKey(crv="ED25519", x=keys[message.uhdr[KID]], optional_params={})
    assert message.verify_signature(detached_payload=digest), "signature"
    manifest = cbor2.loads(manifest)
    shared = cbor2.loads(cbor2.loads(manifest[3])[4])
    assert shared[1][1] == VENDOR
    return manifest


def write(public, wrong):
    """An envelope as draft-ietf-suit-manifest has it, in deterministic CBOR."""
    dumps = lambda value: cbor2.dumps(value, canonical=True)
    classes = bytearray(uuid.uuid5(uuid.UUID(bytes=VENDOR), "device classes").bytes)
    classes[6], classes[8] = classes[6] & 0x0F | 0x80, classes[8] & 0x3F | 0x80
    classes[12:] = (0b1010).to_bytes(4, "big")
    content = b"a policy by other tools".ljust(64, b".")
    image = dumps([-16, hashlib.sha256(content).digest()])
    parameters = {1: VENDOR, 2: bytes(classes), 3: image, 14: len(content)}
    root = hashlib.sha256(content.ljust(176, b"\0")).digest()[:8]
    profile = dumps([root, 176, 512, 4096, 3, None, None, [4, 0, 9]])
    manifest = {
        1: 1,
        2: 8,
        3: dumps({2: [[bytes([2]), bytes([7])]], 4: dumps([20, parameters, 1, 15, 2, 15])}),
        7: dumps([3, 15]),
        20: dumps([20, {21: "#c", -257: profile}, 21, 15, -257, None, 3, 15]),
    }
    manifest = dumps(dumps(manifest))
    digest = dumps([-16, hashlib.sha256(manifest + b"x" * wrong).digest()])
    message = Sign1Message(phdr={Algorithm: EdDSA}, uhdr={KID: hashlib.sha256(public).digest()[:8]})
    message.key = OKPKey(crv="ED25519", d=ROOT_SEED, x=public)
    authentication = dumps(dumps([digest, message.encode(detached_payload=digest)]))
    return b"\xd8\x6b\xa2\x02" + authentication + b"\x03" + manifest


def main():
    text = pathlib.Path(__file__).with_name("vectors.txt").read_text()
    vectors = {k: bytes.fromhex(v) for k, v in (l.split() for l in text.splitlines() if not l.startswith("#"))}
    public = {name: vectors[name + "_public"] for name in ("root", "edge")}
    keys = {hashlib.sha256(key).digest()[:8]: key for key in public.values()}
    envelopes = [name for name in vectors if name.endswith("_envelope")]
    for name in envelopes:
        assert read(vectors[name], keys)[1] == 1, name
    file = cbor2.loads(vectors["model_file"]).value
    assert list(file) == [2, 3, "#c", "#d"] and file["#d"] == vectors["delegation"]
    shared = cbor2.loads(cbor2.loads(cbor2.loads(file[3])[3])[4])
    assert cbor2.loads(shared[1][3]) == [-16, hashlib.sha256(file["#c"]).digest()]
    print(f"{len(envelopes)} envelopes and a file read", file=sys.stderr)
    print(write(public["root"], "--wrong" in sys.argv).hex())


main()
