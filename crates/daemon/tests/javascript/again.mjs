// A program over HTTP whose node restarts, and is taken by a program over TCP for a while: it finds its way back by itself.
//
// Usage: node again.mjs PACKAGES HTTP_ADDRESS TCP_ADDRESS TIMEOUT_S. Prints one JSON object: the states that the client went through.

import { Client, load } from "./client.mjs";

const [folder, http, tcp, timeoutS] = process.argv.slice(2);
const packages = await load(folder);
const { DeviceStatusEnum } = packages.Types;
const client = await Client.open(packages, http, Number(timeoutS) * 1000);

/** Does something, and waits until the client went through these states after it. */
async function through(act, ...states) {
  let at = client.heard.status.length;
  await act();
  for (const state of states) {
    const found = await client.until("status", (status, index) => index >= at && status === state);
    at = client.heard.status.indexOf(found, at) + 1;
  }
  return states.map((state) => DeviceStatusEnum[state]);
}

const result = {};
client.device.events.onFromRadio.subscribe(({ payloadVariant }) => {
  if (payloadVariant.case === "rebooted") {
    result.told = (result.told ?? 0) + 1;
  }
});
const { DeviceConfigured, DeviceDisconnected } = DeviceStatusEnum;
result.restart = await through(() => client.device.reboot(1).catch(() => {}), DeviceConfigured);
let other;
const open = async () => (other = await Client.open(packages, tcp, Number(timeoutS) * 1000));
result.taken = await through(open, DeviceDisconnected);
result.back = await through(() => other.close(), DeviceConfigured);
await client.close();
console.log(JSON.stringify(result));
process.exit(0);
