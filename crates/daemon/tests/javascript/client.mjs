// Meshtastic's JavaScript client (npm @meshtastic/core with its transports), connected to a device and listening.
//
// The packages lie in a folder outside the checkout, so that no code under the GPL is here.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** Seconds of the client's polls in one of the wall's: as fast as the tests' meshes live. */
const SPEED = 20;

// The client polls over HTTP every three seconds and has no option for it.
const { setInterval } = globalThis;
globalThis.setInterval = (act, ms, ...rest) => setInterval(act, ms / SPEED, ...rest);

/** The packages of a folder that `npm install --prefix FOLDER` has filled. */
export async function load(folder) {
  const require = createRequire(join(folder, "package.json"));
  const load = (name) => import(pathToFileURL(require.resolve(name)));
  const [core, node, http] = await Promise.all([
    load("@meshtastic/core"),
    load("@meshtastic/transport-node"),
    load("@meshtastic/transport-http"),
  ]);
  return { ...core, ...node, ...http };
}

/** Fails the script, with what was seen until then. */
export function fail(what, seen) {
  const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);
  console.error(`${what}\n${JSON.stringify(seen, plain)}`);
  process.exit(1);
}

/** A client at `tcp://HOST:PORT` or `http://HOST:PORT` that has been told the state. */
export class Client {
  static async open(packages, address, timeoutMs) {
    const { protocol, host, hostname, port } = new URL(address);
    const transport =
      protocol === "http:"
        ? await packages.TransportHTTP.create(host)
        : await packages.TransportNode.create(hostname, Number(port));
    const client = new Client(packages, transport, timeoutMs);
    await client.configure();
    return client;
  }

  constructor({ MeshDevice, Types }, transport, timeoutMs) {
    this.types = Types;
    this.timeoutMs = timeoutMs;
    this.device = new MeshDevice(transport);
    // Its log goes to the standard output, where the result is told.
    this.device.log.settings.minLevel = 7;
    this.nodes = new Map();
    this.channels = new Map();
    this.configs = new Set();
    this.heard = { text: [], packet: [], route: [], status: [], telemetry: [], position: [] };
    this.waiting = [];
    const { events } = this.device;
    const keep = (kind) => (what) => {
      this.heard[kind].push(what);
      this.waiting.forEach((look) => look());
    };
    events.onMyNodeInfo.subscribe((info) => (this.num = info.myNodeNum));
    events.onNodeInfoPacket.subscribe((info) => this.nodes.set(info.num, info));
    events.onChannelPacket.subscribe((channel) => this.channels.set(channel.index, channel));
    events.onConfigPacket.subscribe((config) => this.configs.add(config.payloadVariant.case));
    events.onDeviceMetadataPacket.subscribe((packet) => (this.firmware = packet.data.firmwareVersion));
    events.onMessagePacket.subscribe(keep("text"));
    events.onMeshPacket.subscribe(keep("packet"));
    events.onTraceRoutePacket.subscribe(keep("route"));
    events.onTelemetryPacket.subscribe(keep("telemetry"));
    events.onPositionPacket.subscribe(keep("position"));
    events.onDeviceStatus.subscribe(keep("status"));
  }

  /** Asks for the state and waits until it is complete. */
  async configure() {
    const told = this.heard.status.length;
    // The promise is for an acknowledgement, which no device gives to this request.
    this.device.configure().catch(() => {});
    await this.until("status", (status, at) => at >= told && status === this.types.DeviceStatusEnum.DeviceConfigured);
  }

  /** The first of what was heard that `wanted` takes. */
  until(kind, wanted) {
    return new Promise((resolve) => {
      const late = setTimeout(() => fail(`no ${kind} as wanted at ${this.num}`, this.heard[kind]), this.timeoutMs);
      const look = () => {
        const found = this.heard[kind].find(wanted);
        if (found !== undefined) {
          clearTimeout(late);
          this.waiting = this.waiting.filter((other) => other !== look);
          resolve(found);
        }
      };
      this.waiting.push(look);
      look();
    });
  }

  /** A text of somebody else's. */
  text(words) {
    return this.until("text", (packet) => packet.data === words && packet.from !== this.num);
  }

  /** What became of a packet: its id, or its id and the number of the error that the client was told (`Routing.Error`). */
  async outcome(sending) {
    try {
      return { id: await sending };
    } catch (error) {
      return { id: error.id, error: error.error ?? String(error.message ?? error) };
    }
  }

  /** What it knows of the mesh. */
  state() {
    const nodes = [...this.nodes.values()].map((info) => [info.num, info.user?.longName ?? ""]);
    return {
      num: this.num,
      firmware: this.firmware,
      nodes: nodes.sort(([a], [b]) => a - b),
      channels: this.channels.size,
      configs: [...this.configs].sort(),
    };
  }

  close() {
    return this.device.disconnect();
  }
}
