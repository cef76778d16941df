"""Two people chat over a served mesh, each with the real Python client.

Usage: chat.py PORT_OF_ANN PORT_OF_BOB TIMEOUT_S. Prints one JSON object about what each of them saw.
"""

import json
import sys
import threading
import time

import meshtastic.tcp_interface
from pubsub import pub

ann_port, bob_port, timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
heard = {}
changed = threading.Condition()


def on_receive(packet, interface):
    with changed:
        heard.setdefault(interface, []).append(packet)
        changed.notify_all()


def wait_for(interface, what, wanted):
    """The first packet at `interface` that `wanted` takes."""
    end = time.monotonic() + timeout_s
    with changed:
        while True:
            for packet in heard.get(interface, []):
                if wanted(packet):
                    return packet
            if not changed.wait(timeout=end - time.monotonic()):
                sys.exit(f"no {what} within {timeout_s} s; heard: {heard.get(interface)}")


def text(packet):
    return packet.get("decoded", {}).get("text")


def routing_of(packet_id, sender):
    def wanted(packet):
        decoded = packet.get("decoded", {})
        about = decoded.get("portnum") == "ROUTING_APP" and decoded.get("requestId") == packet_id
        return about and packet["fromId"] == sender

    return wanted


def told(packet):
    keys = ["fromId", "toId", "hopLimit", "hopStart", "rxSnr", "rxRssi", "rxTime", "pkiEncrypted", "wantAck"]
    short = {key: packet[key] for key in keys if key in packet}
    short["text"] = text(packet)
    short["replyId"] = packet["decoded"].get("replyId")
    return short


pub.subscribe(on_receive, "meshtastic.receive")
ann = meshtastic.tcp_interface.TCPInterface("127.0.0.1", portNumber=ann_port)
bob = meshtastic.tcp_interface.TCPInterface("127.0.0.1", portNumber=bob_port)
result = {"ann": ann.getMyNodeInfo()["user"]["id"], "bob": bob.getMyNodeInfo()["user"]["id"]}

greeting = ann.sendText("hello everybody, this is Ann", wantAck=True)
got = wait_for(bob, "greeting at Bob's", lambda packet: text(packet) == "hello everybody, this is Ann")
result["broadcast"] = told(got)
ack = wait_for(ann, "implicit acknowledgement at Ann's", routing_of(greeting.id, result["ann"]))
result["broadcast_ack"] = {"error": ack["decoded"]["routing"]["errorReason"], "from": ack["fromId"]}

direct = bob.sendText("hello Ann, only for you", destinationId=result["ann"], wantAck=True, replyId=greeting.id)
got = wait_for(ann, "Bob's answer at Ann's", lambda packet: text(packet) == "hello Ann, only for you")
result["direct"] = told(got)
ack = wait_for(bob, "acknowledgement at Bob's", routing_of(direct.id, result["ann"]))
result["direct_ack"] = {"error": ack["decoded"]["routing"]["errorReason"], "from": ack["fromId"]}
result["greeting_id"] = greeting.id

# A radio takes one text in two seconds; the served ones live 20 times as fast.
time.sleep(0.5)
lost = ann.sendText("is nobody there?", destinationId="!0badcafe", wantAck=True)
nak = wait_for(ann, "refusal at Ann's", routing_of(lost.id, result["ann"]))
result["unknown_node"] = nak["decoded"]["routing"]["errorReason"]

ann.close()
bob.close()
print(json.dumps(result))
