// Waits for a match (docs/cluster.md, "Looking for a match") and plays it. Part of client.js.

import { Refusal } from "./channel.js";
import { ROOM } from "./room.js";

const ENDS = { "match.found": null, "match.expired": "expired", "match.cancelled": "cancelled" };
const LOOKS = 3; // at a ticket that the node does not know: one that has just come up may not know it yet
const LOOK_MILLISECONDS = 1000;

/** `open(topic)`: a channel as this player. For the rest, see `Client.match`. */
export async function findMatch(client, open, asked, signal) {
  if (client.topic !== null) await client.joined;
  const own = open(`player:${client.player}`);
  const queue = open("matchmaker");
  const told = new Map();
  let wake = () => {};
  const hear = (event) => (payload) => {
    told.set(payload.ticket, { event, payload });
    wake();
  };
  const ends = Object.keys(ENDS).map((event) => own.on(event, hear(event)));
  ends.push(own.onJoin(() => wake())); // it is told once: while the connection was lost, say
  try {
    await Promise.all([own.joined, queue.joined]);
    const ticket = asked.ticket ?? (await queue.pushOnce("enqueue", asked)).ticket;
    ends.push(onAbort(signal, () => queue.pushOnce("cancel", { ticket }).catch(() => {})));
    const found = await untilFound(ticket, queue, told, (callback) => {
      wake = callback;
    });
    const room = found.topic.startsWith(ROOM) ? await client.migrate(found, null) : null;
    return { ...found, room };
  } finally {
    for (const end of ends) end();
  }
}

async function untilFound(ticket, queue, told, onWake) {
  for (let looks = 0; ; ) {
    const woken = new Promise(onWake);
    const answer = told.has(ticket) ? null : await queue.push("ticket", { ticket }).catch((refusal) => refusal);
    const { event, payload } = told.get(ticket) ?? {};
    if (event) {
      if (ENDS[event] !== null) throw new Refusal(ENDS[event], payload);
      return payload;
    }
    if (answer.status === "matched") return { ticket, url: null, ...answer };
    looks = answer.reason === "unknown ticket" ? looks + 1 : 0;
    if (looks >= LOOKS) throw answer;
    const isSettled = answer.status === "waiting";
    await (isSettled ? woken : Promise.race([woken, new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS))]));
  }
}

function onAbort(signal, callback) {
  if (!signal) return () => {};
  if (signal.aborted) callback();
  else signal.addEventListener("abort", callback);
  return () => signal.removeEventListener("abort", callback);
}
