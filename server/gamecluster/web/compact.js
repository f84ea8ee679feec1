// Reads the patches that come as bytes to a client that joined with `patches: "binary"`; the format is in the server's
// `shell/compact.py`. Part of client.js.

const NUMBERS = [ // MessagePack's, from 0xca on
  ["Float32", 4], ["Float64", 8], ["Uint8", 1], ["Uint16", 2], ["Uint32", 4], ["BigUint64", 8],
  ["Int8", 1], ["Int16", 2], ["Int32", 4], ["BigInt64", 8],
];

/** `{epoch, seq, ops}` of an ArrayBuffer; `schema`: `[[table, [field, …]], …]`, of the join's response. */
export function readPatch(buffer, schema) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let at = 0;

  const patch = { epoch: varint(), seq: varint(), ops: [] };
  while (at < bytes.length) rows(schema[varint()], varint());
  return patch;

  function rows([table, fields], count) {
    let key = [];
    while (count--) {
      const halves = bytes[at++];
      const same = length(halves >> 4);
      const rest = length(halves & 15);
      key = [...key.slice(0, same), ...take(rest)];
      const mask = take((fields.length + 9) >> 3);
      const has = (bit) => (mask[bit >> 3] >> (bit & 7)) & 1;
      const name = decoder.decode(Uint8Array.from(key));
      if (has(0)) patch.ops.push([table, name, null]);
      if (has(1)) {
        const set = fields.filter((_, i) => has(i + 2)).map((field) => [field, value()]);
        patch.ops.push([table, name, Object.fromEntries(set)]);
      }
    }
  }

  function take(count) {
    return bytes.subarray(at, (at += count));
  }

  function varint() {
    let number = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      number += (byte & 127) * factor;
      if (!(byte > 127)) return number;
    }
  }

  function length(half) {
    return half < 15 ? half : 15 + varint();
  }

  function text(count) {
    return decoder.decode(take(count));
  }

  function number(index) {
    const [kind, size] = NUMBERS[index];
    const read = Number(view[`get${kind}`](at));
    at += size;
    return read;
  }

  // MessagePack, as far as JSON goes.
  function value() {
    const type = bytes[at++];
    if (type < 0x80) return type;
    if (type < 0x90) return map(type & 15);
    if (type < 0xa0) return list(type & 15);
    if (type < 0xc0) return text(type & 31);
    if (type < 0xc4) return [null, undefined, false, true][type & 3];
    if (type >= 0xe0) return type - 256;
    if (type < 0xd4) return number(type - 0xca);
    if (type < 0xdc) return text(number(type - 0xd7));
    if (type < 0xde) return list(number(type - 0xd9));
    return map(number(type - 0xdb));
  }

  function list(count) {
    return Array.from({ length: count }, value);
  }

  function map(count) {
    return Object.fromEntries(Array.from({ length: count }, () => [value(), value()]));
  }
}
