// The binary frames of the Phoenix protocol (V2, phoenixframework/phoenix `v2_json_serializer.ex`) as the arrays that its
// text frames are; the payload is an ArrayBuffer. Part of client.js.

const PUSH = 0;
const REPLY = 1;
const BROADCAST = 2;
const TEXTS = [3, 4, 2]; // how many texts a frame begins with, by its kind

export function isBinary(payload) {
  return payload instanceof ArrayBuffer || ArrayBuffer.isView(payload);
}

/** A push to the server, as bytes. */
export function encodePush([joinRef, ref, topic, event, payload]) {
  const encoder = new TextEncoder();
  const texts = [joinRef, ref, topic, event].map((text) => encoder.encode(text ?? ""));
  if (texts.some(({ length }) => length > 255)) throw new Error("with bytes, a topic or an event has 255 bytes at most");
  const { buffer = payload, byteOffset = 0, byteLength } = payload;
  return joined([Uint8Array.of(PUSH, ...texts.map(({ length }) => length)), ...texts, new Uint8Array(buffer, byteOffset, byteLength)]);
}

/** `[joinRef, ref, topic, event, payload]` of a frame of the server's, or null. */
export function decode(frame) {
  const bytes = new Uint8Array(frame);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let at = 1 + TEXTS[bytes[0]];
  const texts = Array.from(bytes.subarray(1, at), (size) => decoder.decode(bytes.subarray(at, (at += size))));
  const data = frame.slice(at);
  switch (bytes[0]) {
    case PUSH: return [texts[0], null, texts[1], texts[2], data];
    case REPLY: return [texts[0], texts[1], texts[2], "phx_reply", { status: texts[3], response: data }];
    case BROADCAST: return [null, null, texts[0], texts[1], data];
    default: return null;
  }
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
