/* SHA-1 in base64, for Sec-WebSocket-Accept (RFC 6455, 4.2.2; FIPS 180-4, 6.1). Inputs of up to 119 bytes. */
#ifndef SHA1_H
#define SHA1_H
#include <stdint.h>
#include <string.h>

static inline void sha1_base64(const char *data, size_t size, char out[29]) {
  static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  unsigned char block[128] = {0}, digest[21] = {0};
  size_t blocks = size < 56 ? 1 : 2;
  memcpy(block, data, size);
  block[size] = 0x80;
  for (int i = 0; i < 8; i++) block[blocks * 64 - 1 - (size_t)i] = (unsigned char)((uint64_t)size * 8 >> (8 * i));
  for (size_t b = 0; b < blocks; b++) {
    uint32_t w[80], v[5];
    for (int i = 0; i < 16; i++) {
      const unsigned char *p = block + b * 64 + i * 4;
      w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 80; i++) {
      uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
      w[i] = x << 1 | x >> 31;
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 80; i++) {
      uint32_t f, k;
      if (i < 20)
        f = (v[1] & v[2]) | (~v[1] & v[3]), k = 0x5a827999;
      else if (i < 40)
        f = v[1] ^ v[2] ^ v[3], k = 0x6ed9eba1;
      else if (i < 60)
        f = (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]), k = 0x8f1bbcdc;
      else
        f = v[1] ^ v[2] ^ v[3], k = 0xca62c1d6;
      uint32_t t = (v[0] << 5 | v[0] >> 27) + f + v[4] + k + w[i];
      v[4] = v[3], v[3] = v[2], v[2] = v[1] << 30 | v[1] >> 2, v[1] = v[0], v[0] = t;
    }
    for (int i = 0; i < 5; i++) h[i] += v[i];
  }
  for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
  for (int i = 0; i < 7; i++) {
    uint32_t x = (uint32_t)digest[i * 3] << 16 | (uint32_t)digest[i * 3 + 1] << 8 | digest[i * 3 + 2];
    for (int k = 0; k < 4; k++) out[i * 4 + k] = LETTERS[x >> (18 - 6 * k) & 63];
  }
  out[27] = '=';
  out[28] = 0;
}
#endif
