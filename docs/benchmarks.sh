#!/usr/bin/env bash
# Writes docs/BENCHMARKS.md: each figure with the command that made it. Usage: bash docs/benchmarks.sh
# With all-MiniLM-L6-v2 in the cache (`compotastic model pull`) the student is measured under both teachers.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
bin=${CARGO_TARGET_DIR:-target}/release/compotastic
out=docs/BENCHMARKS.md
block() { # shown command, real command...
  local shown=$1; shift
  printf '    $ %s\n\n```text\n' "$shown"
  "$@"
  printf '```\n\n'
}
matrix() {
  printf '%5s %5s %5s %6s %6s %6s %7s %6s %8s %8s %7s %7s %5s %6s %6s\n' nodes loss hops jobs here failed updated after push before after "over" util duty wall
  printf '%5s %5s %5s %6s %6s %6s %7s %6s %8s %8s %7s %7s %5s %6s %6s\n' '' '' '' '' '' '' '' min 's air' 'ms/job' 'ms/job' gate '%' '%' s
  local nodes loss
  for nodes in 8 24 60; do for loss in 0 0.1 0.3; do
    "$bin" demo --json --teacher in-tree --nodes $nodes --loss $loss | python3 -c '
import json, sys
d = json.load(sys.stdin); j, u, a = d["jobs"], d["update"], d["airtime"]
done = u["complete_after_s"]
print("%5d %5s %5d %6d %6d %6d %7s %6s %8.0f %8.0f %7.0f %7d %5.0f %6.1f %6.1f" % (d["nodes"]["field"], sys.argv[1], d["nodes"]["max_hops"],
  j["submitted"], j["answered_local"], j["failed"], "%d/%d" % (u["nodes_updated"], u["nodes_total"]), "-" if done is None else round(done / 60),
  u["airtime_s"], a["per_job_before_ms"], a["per_job_after_ms"], a["originations_over_gate"], a["max_channel_utilization_pct"], a["max_duty_cycle_pct"], d["wall_s"]))' "$loss"
  done; done
}
{
  cat <<'P'
# Benchmarks

Written by `bash docs/benchmarks.sh`; each figure stands below the command that made it. Air time sums all transmitters.

## The demo: 12 simulated hours of search and rescue

What has to hold: every node updated, no failed job, nothing sent over a gate, duty cycle below 10 %. "push" is the air time of the update
(manifest, delegation, requests, symbols); "before" and "after" are jobs and reports together, per job, before the decision to push and after
the last node had switched.

P
  block 'for nodes in 8 24 60; do for loss in 0 0.1 0.3; do compotastic demo --json --teacher in-tree --nodes $nodes --loss $loss; done; done' matrix
  cat <<'P'
## Air time per remote job

The same nodes, paths, loss and seeds for all; "hosted" are ours with every field node behind a stock radio, "no key" one
whose private key was taken away; the bot's question and answer are uncompressed direct messages with stock acknowledgements. The
floor is the two smallest packets there are, there and back over our router. Held by native nodes: at most 0.5 of each bot, at
most 1.5 times the floor.

P
  block 'compotastic bench job' "$bin" bench job
  cat <<'P'
## The erasure code

One receiver of K pieces and of what the code sends after them, each lost with the same chance: symbols that it took beyond K, and the RAM of its
decoder at its peak (all that grows with the losses, bookkeeping, tables and two pieces of 208 bytes; data lies in flash). Ours up to K = 256 is the
device's own receiver, each piece checked by its hash; the bookkeeping of whole objects is 1.8 KB of it. At K = 1024 and 30 % it has lost more than
its memory holds and waits for some pieces as they are. RaptorQ's heap, counted with the feature `bench-heap`: 270710, 967650 and 3666252 bytes. Held: a
mean of 0.1, 1 in 99.9 %, 12 KB at K = 64 and 256; any loss pattern in 16 KB (`crates/bundle/tests`).

P
  block 'compotastic bench fec' "$bin" bench fec
  cat <<'P'
What it takes of a Cortex-M4 (instructions in an emulator that counts them; pieces of 208 bytes, SHA-256 of each piece included):

P
  block 'bash firmware/fec-cost/run.sh' bash firmware/fec-cost/run.sh
  cat <<'P'
## Teacher, student, and both together

On the test split of the built-in task, none of which was learnt from. "together" is the student, and the teacher where it is unsure.

P
  block 'compotastic bench student --teacher in-tree' "$bin" bench student --teacher in-tree
  if "$bin" bench student --teacher minilm >/dev/null 2>&1; then
    block 'compotastic bench student --teacher minilm' "$bin" bench student --teacher minilm
  fi
  cat <<'P'
## Text

25 messages that the table was not trained on, beside the usual coders. Aims: 3.6, then 3.4 bits a character in 64 KB.

P
  block 'compotastic bench text tests/data/text/radio-messages.txt' "$bin" bench text tests/data/text/radio-messages.txt
  cat <<'P'
## State sync

100 nodes on connected fields of drawn places, ten neighbours each, zero-hop broadcasts on LongFast, records of 30 bytes; means of five fields. "changes": nodes anywhere
change their records. "partition": they do so while two halves do not hear each other, counted from when they do again. "pair": two neighbours, each of whom knows
half of the changes, and the others silent. "silence": a day without changes, by 100 nodes. All methods pass news on in the same way and on the same
timers, with 8-byte hashes; they differ in what is said where two are not equal. PinSketch (32 bit) is told how much differs; the vector is 104 bytes; negentropy
runs between two neighbours. The last two columns are ours beside the cheaper of PinSketch and the vector: held at most 1.3. "digest B" leaves out head, MAC and packet,
which "total B" has; "after B" is the hour after all agree. With one change most of it is Trickle beacons until a node at the edge is heard, and means over
other fields differ by a third either way. Rows of negentropy and PinSketch have differed a little between runs, ours not.

P
  block 'compotastic bench sync' "$bin" bench sync
  cat <<'P'
## Spreading objects

From one node to all, by frames of all nodes (beacons, offers and requests included; NodeInfo, position and telemetry of the stock modules not),
until each node's flash holds the object, its SHA-256 verified. R = ceil(bytes / 200) x |CDS| / (1 - loss) with the smallest connected dominating set that
holds the source. Random fields are 20 of a kind; "fountain" is an ideal one: any K symbols do, and its floods stop for free once all have them. Aims: at most 1.6 R in
geometric mean, all nodes complete, and a quarter of the fountain's air time on the 50-node fields. The last is out of reach here: with managed flooding the fountain
itself costs 2.5 to 5 R; over plain flooding, where each node repeats each packet once, it costs 3.8 to 8.2 R.

P
  printf 'Beside the fountains, on 50-node fields:\n\n'
  block 'compotastic bench spread --methods compotastic,flooded-fountain,plain-fountain --nodes 50 --topology sparse,dense' \
    "$bin" bench spread --methods compotastic,flooded-fountain,plain-fountain --nodes 50 --topology sparse,dense
  printf 'Beside all peers:\n\n'
  block 'compotastic bench spread --methods compotastic,compotastic-hosted,unicast,flooded-carousel,flooded-fountain,plain-fountain,block-pull --nodes 10 --bytes 4500 --loss 0.1 --fields 5' \
    "$bin" bench spread --methods compotastic,compotastic-hosted,unicast,flooded-carousel,flooded-fountain,plain-fountain,block-pull --nodes 10 --bytes 4500 --loss 0.1 --fields 5
  printf 'All topologies and sizes, up to 200 nodes:\n\n'
  block 'compotastic bench spread --methods compotastic' \
    "$bin" bench spread --methods compotastic
  cat <<'P'
## Plans

What `compotastic plan` predicts before anything is sent, beside what comes of it: ready scenarios with nodes of ours, and drawn fields with shadows and
fading (a seed is a field). A plan is rehearsed on the same mesh under other luck until its means are known to 5 %, 48 times at most; "runs" are pushes under luck that no
rehearsal had, and what is measured is their mean. "formula" is `plan --quick`. The carrier is reckoned; beside it somebody walks through the simulator with Bluetooth
while no radio is heard. The aim is 20 %: the means keep it, single runs by luck only; a plan states the range in which eight of ten lie. Held
for small meshes in `crates/sim/tests/plan.rs`.

P
  block 'compotastic bench plan' "$bin" bench plan
  cat <<'P'
## In company

The same update in the 24-node valley beside the chat and telemetry of stock nodes, with and without it. While people talk, bulk takes 3.5 % of the air, and none for
six seconds after each of their messages. Over 120 pairs (`--seeds 120 --messages 20000`) delivery suffers by 0.5 %, the mean delay by 1.4 %, the 95th percentile by 0.8 %.

P
  block 'compotastic bench company' "$bin" bench company
  cat <<'P'
## The simulator beside the reference simulator

Meshtasticator's rules, its known faults included, against its recorded outcomes (tests/data/meshtasticator).

P
  block 'compotastic sim validate tests/data/meshtasticator' "$bin" sim validate tests/data/meshtasticator
  cat <<'P'
## The simulator's speed

CPU time of one thread. "heard" counts frames that reached a node, received or lost. `default` is today's firmware: 17 neighbours a node, NodeInfo,
position and telemetry at their default periods, flooded. Aims: 400,000 node-seconds per CPU-second at 100 nodes of `reference`; 10,000
nodes of `default` for an hour in under 60 s and 2 GiB.

P
  block 'compotastic sim bench' "$bin" sim bench
  cat <<'P'
## Fault search

Whole scenarios with faults, held against the promises (docs/FAULT_SEARCH.md).

P
  block 'compotastic sim explore --seeds 1..2000' "$bin" sim explore --seeds 1..2000
  cat <<'P'
## Crashes during updates

The same scenarios, with nodes that stop while a bundle is on its way.

P
  block 'compotastic sim explore --updates --seeds 1..1000' "$bin" sim explore --updates --seeds 1..1000
  cat <<'P'
## Power cuts

A whole firmware update on one NOR flash (object received, image made out of it and the old one, slots exchanged, trial, confirmation or the way
back), with power cut at each flash operation in ten ways: before, torn at five places, garbled, begun but invisible, whole but fading later, after. A run
survives if each start names a whole published image, it comes to the same end, and the next update goes through. Beside it embassy-boot, single cuts.

P
  block 'compotastic bench power-cut' "$bin" bench power-cut
  cat <<'P'
## One radio, many programs

50 clients over TCP on loopback share one radio, one of them sends 200 packets a second. The radio is emulated: it sends at the pace of SHORT_TURBO, 58 ms a packet,
and acknowledges what it has sent; a modest client sends its next packet then. So a round of all lasts 2.9 s, and nobody can be served
sooner than that while all have something to send. The peer is one queue of 16 places in order of arrival, as a radio has; who finds it full tries again
after 200 ms. "fanned" are 600 packets from the mesh in 3 s to all clients: how many came, and how late. Held: no client without its
share, greedy or not (`crates/daemon/tests/share_hub.rs`).

P
  block 'compotastic bench share' "$bin" bench share
  cat <<'P'
## Weeks behind a radio that misbehaves

A hosted node in simulated time, once answering over TCP and once asking over serial: the client's session, its waits and the hosted station against the device's side
of the client API, over a cable that loses bytes, invents some and is cut; the radio restarts, stalls, fills its queue and closes the connection. Held: no job
without its end, back within 60 s of each fault, memory flat.

P
  block 'compotastic bench soak --days 60' "$bin" bench soak --days 60
} >"$out.new"
mv "$out.new" "$out"
