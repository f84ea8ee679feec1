/* What the generator and the limit share: the clock, growing buffers, RFC 6455 frames. */
#ifndef COMMON_H
#define COMMON_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct buffer {
  char *data;
  size_t size, room;
};

static inline char *reserve(struct buffer *b, size_t more) {
  if (b->size + more > b->room) {
    b->room = (b->size + more) * 2;
    b->data = realloc(b->data, b->room);
    if (!b->data) die("realloc");
  }
  return b->data + b->size;
}

static inline void append(struct buffer *b, const void *data, size_t size) {
  if (size) memcpy(reserve(b, size), data, size);
  b->size += size;
}

static inline void drop(struct buffer *b) {
  free(b->data);
  *b = (struct buffer){0};
}

struct frame {
  int op, fin, masked;
  char *data;
  size_t size;  /* of data */
  size_t whole; /* with the header */
};

/* One frame at the start of `data`; unmasked in place. 0: there is not all of it yet. */
static inline int read_frame(char *data, size_t size, struct frame *f) {
  const unsigned char *h = (const unsigned char *)data;
  size_t header = 2;
  if (size < 2) return 0;
  f->fin = h[0] >> 7;
  f->op = h[0] & 15;
  f->masked = h[1] >> 7;
  f->size = h[1] & 127;
  if (f->size == 126) {
    if (size < 4) return 0;
    f->size = (size_t)h[2] << 8 | h[3];
    header = 4;
  } else if (f->size == 127) {
    if (size < 10) return 0;
    f->size = 0;
    for (int i = 2; i < 10; i++) f->size = f->size << 8 | h[i];
    header = 10;
  }
  if (f->masked) header += 4;
  if (f->size > size || size - f->size < header) return 0;
  f->data = data + header;
  f->whole = header + f->size;
  if (f->masked)
    for (size_t i = 0; i < f->size; i++) f->data[i] ^= data[header - 4 + (i & 3)];
  return 1;
}

/* Appends one final frame. A client's frames are masked (5.3). */
static inline void write_frame(struct buffer *out, int op, const char *data, size_t size, int masked) {
  static const unsigned char mask[4] = {0x5a, 0xc3, 0x17, 0x9e};
  unsigned char h[14];
  size_t n = 2;
  h[0] = (unsigned char)(0x80 | op);
  if (size < 126) {
    h[1] = (unsigned char)size;
  } else if (size < 65536) {
    h[1] = 126, h[2] = (unsigned char)(size >> 8), h[3] = (unsigned char)size;
    n = 4;
  } else {
    h[1] = 127;
    for (int i = 0; i < 8; i++) h[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
    n = 10;
  }
  if (masked) {
    h[1] |= 0x80;
    memcpy(h + n, mask, 4);
    n += 4;
  }
  append(out, h, n);
  char *to = reserve(out, size);
  if (masked)
    for (size_t i = 0; i < size; i++) to[i] = (char)(data[i] ^ mask[i & 3]);
  else if (size)
    memcpy(to, data, size);
  out->size += size;
}
#endif
