// Binary frames: the bytes are those of phoenix.js 1.8 (its `Serializer.encode`) and of Phoenix' own tests.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decode, encodePush, isBinary } from "../../server/gamecluster/web/binary.js";

const bytes = (...values) => new Uint8Array(values).buffer;
const hex = (array) => Buffer.from(array).toString("hex");
const ofText = (text) => new TextEncoder().encode(text).buffer;

test("a push has the bytes that phoenix.js gives it", () => {
  assert.equal(hex(encodePush(["12", "123", "topic", "event", bytes(101, 102, 103)])), "00020305053132313233746f7069636576656e74656667");
  assert.equal(hex(encodePush(["🚀", "1", "room:café", "π", bytes(0, 255)])), "0004010a02f09f9a8031726f6f6d3a636166c3a9cf8000ff");
  assert.equal(hex(encodePush([null, "7", "t", "e", bytes()])), "0000010101377465");
});

test("of a view, only its own part is sent", () => {
  const view = new Uint8Array(bytes(9, 1, 9)).subarray(1, 2);
  assert.equal(hex(encodePush(["0", "1", "t", "e", view])), "00010101013031746501");
  assert.equal(hex(encodePush(["0", "1", "t", "e", new DataView(bytes(9, 1, 9), 1, 1)])), "00010101013031746501");
});

test("a name that a byte can't count is refused", () => {
  assert.throws(() => encodePush(["1", "1", "é".repeat(128), "e", bytes()]), /255 bytes/);
  assert.ok(encodePush(["1", "1", "t".repeat(255), "e", bytes()]));
});

test("the server's frames are read as phoenix.js reads them", () => {
  const data = bytes(1, 1);
  assert.deepEqual(decode(ofText("\0\x03\x03\n123topsome-event\x01\x01")), ["123", null, "top", "some-event", data]);
  assert.deepEqual(decode(ofText("\x01\x03\x02\x03\x0210012topok\x01\x01")), ["100", "12", "top", "phx_reply", { status: "ok", response: data }]);
  assert.deepEqual(decode(ofText("\x02\x03\ntopsome-event\x01\x01")), [null, null, "top", "some-event", data]);
  assert.equal(decode(bytes(3, 1, 1)), null);
});

test("what is binary", () => {
  assert.ok(isBinary(bytes()) && isBinary(new Uint8Array(1)) && isBinary(new DataView(bytes())));
  assert.ok(!isBinary({}) && !isBinary([1]) && !isBinary("x") && !isBinary(null));
});
