// Two programs on one shared radio, over TCP and over HTTP, each with Meshtastic's JavaScript client.
//
// Usage: node share.mjs PACKAGES TCP_ADDRESS HTTP_ADDRESS OTHER_NODE TIMEOUT_S. Prints one JSON object about what each of them saw.

import { Client, load } from "./client.mjs";

const [folder, tcp, http, other, timeoutS] = process.argv.slice(2);
const packages = await load(folder);
const a = await Client.open(packages, tcp, Number(timeoutS) * 1000);
const b = await Client.open(packages, http, Number(timeoutS) * 1000);
const result = { a: a.state(), b: b.state() };
const { TEXT_MESSAGE_APP } = packages.Protobuf.Portnums.PortNum;

// A client's own text is an event of its own too; what the radio tells of it is a packet.
const told = (client, words) =>
  client.until("packet", (packet) => {
    const data = packet.payloadVariant.case === "decoded" ? packet.payloadVariant.value : undefined;
    return data?.portnum === TEXT_MESSAGE_APP && new TextDecoder().decode(data.payload) === words;
  });

for (const [from, to] of [[a, b], [b, a]]) {
  const name = from === a ? "a" : "b";
  if (from === b) {
    // The radio takes one text in two seconds, whoever sent it.
    await new Promise((resolve) => setTimeout(resolve, 2100));
  }
  const words = `hello from ${name}`;
  const sent = await from.outcome(from.device.sendText(words, "broadcast", true));
  const seen = await told(to, words);
  result[`text_of_${name}`] = { outcome: sent.error ?? "NONE", from: seen.from };
}

await b.outcome(b.device.traceRoute(Number(other)));
result.route_from = (await b.until("route", (packet) => packet.from === Number(other))).from;
result.routes_of_a = a.heard.route.length;

await a.close();
await b.close();
console.log(JSON.stringify(result));
process.exit(0);
