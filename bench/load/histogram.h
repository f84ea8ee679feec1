/* Nanoseconds in log-linear buckets: 64 to each power of two, so a percentile is at most 1.6 % too high. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H
#include <stdint.h>

struct histogram {
  uint64_t count, max, bucket[64 * 40];
};

static inline void record(struct histogram *h, uint64_t ns) {
  unsigned power = ns < 128 ? 0 : 57u - (unsigned)__builtin_clzll(ns);
  unsigned index = power * 64 + (unsigned)(ns >> power);
  if (index >= 64 * 40) index = 64 * 40 - 1;
  h->bucket[index]++;
  h->count++;
  if (ns > h->max) h->max = ns;
}

/* The top of the bucket that holds the value which `share` of all do not exceed; 0 of none. */
static inline double percentile_ms(const struct histogram *h, double share) {
  uint64_t seen = 0, wanted = (uint64_t)(share * (double)h->count);
  if (wanted * 1.0 < share * (double)h->count) wanted++;
  for (unsigned i = 0; i < 64 * 40 && h->count; i++)
    if ((seen += h->bucket[i]) >= wanted && seen) {
      unsigned power = i < 128 ? 0 : i / 64 - 1;
      uint64_t top = ((uint64_t)(i - power * 64) + 1) << power;
      return (double)(top < h->max ? top : h->max) / 1e6;
    }
  return (double)h->max / 1e6;
}
#endif
