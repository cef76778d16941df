// Two people chat over a served mesh, each with Meshtastic's JavaScript client.
//
// Usage: node chat.mjs PACKAGES ADDRESS_OF_ANN ADDRESS_OF_BOB TIMEOUT_S. Addresses are tcp://HOST:PORT or http://HOST:PORT.
// Prints one JSON object about what each of them saw.

import { Client, load } from "./client.mjs";

const [folder, annAddress, bobAddress, timeoutS] = process.argv.slice(2);
const packages = await load(folder);
const timeoutMs = Number(timeoutS) * 1000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ann = await Client.open(packages, annAddress, timeoutMs);
const bob = await Client.open(packages, bobAddress, timeoutMs);
const result = { ann: ann.state(), bob: bob.state() };

const greeting = await ann.outcome(ann.device.sendText("hello everybody, this is Ann", "broadcast", true));
const got = await bob.text("hello everybody, this is Ann");
const raw = await bob.until("packet", (packet) => packet.id === greeting.id);
result.broadcast = {
  outcome: greeting.error ?? "NONE",
  from: got.from,
  type: got.type,
  hops: raw.hopStart - raw.hopLimit,
  snr: raw.rxSnr,
  rssi: raw.rxRssi,
};

const direct = await bob.outcome(bob.device.sendText("hello Ann, only for you", ann.num, true, 0, greeting.id));
const answer = await ann.text("hello Ann, only for you");
const answerRaw = await ann.until("packet", (packet) => packet.id === direct.id);
result.direct = {
  outcome: direct.error ?? "NONE",
  from: answer.from,
  to: answer.to,
  type: answer.type,
  pki: answerRaw.pkiEncrypted,
  replies: answerRaw.payloadVariant.value.replyId === greeting.id,
};

// A radio takes one text in two seconds; the served ones live 20 times as fast.
await pause(500);
result.unknown = (await ann.outcome(ann.device.sendText("is nobody there?", 0x0badcafe, true))).error;

const third = result.ann.nodes.find(([, name]) => name === "third hut")[0];
await ann.outcome(ann.device.traceRoute(third));
const route = await ann.until("route", (packet) => packet.from === third);
result.route = { there: route.data.route, back: route.data.routeBack };

await ann.outcome(ann.device.requestPosition(third));
const place = await ann.until("position", (packet) => packet.from === third);
result.place = place.data.latitudeI / 1e7;

const owner = { ...ann.nodes.get(ann.num).user, longName: "Ann of the hut", shortName: "AH" };
result.set_owner = await ann.outcome(ann.device.setOwner(owner));
await ann.configure();
result.owner = ann.nodes.get(ann.num).user.longName;

await ann.close();
await bob.close();
console.log(JSON.stringify(result));
process.exit(0);
