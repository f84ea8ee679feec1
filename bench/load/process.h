/* CPU time and memory of processes with all their descendants, from /proc. */
#ifndef PROCESS_H
#define PROCESS_H
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct usage {
  double ticks_seconds;  /* of all threads that there were, in ticks of 10 ms */
  double thread_seconds; /* of those that there are, exactly */
  double rss_bytes;
};

static inline double cpu_between(struct usage from, struct usage to) {
  double ticks = to.ticks_seconds - from.ticks_seconds, threads = to.thread_seconds - from.thread_seconds;
  double off = ticks - threads;
  return off < 0.05 && off > -0.05 ? threads : ticks; /* else threads have ended meanwhile */
}

static inline double seconds_of_thread(int pid, const char *thread) {
  char path[128];
  unsigned long long run = 0;
  snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, thread);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  if (fscanf(file, "%llu", &run) != 1) run = 0;
  fclose(file);
  return (double)run / 1e9;
}

static inline void add_process(int pid, struct usage *u) {
  char path[64], line[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return;
  if (fgets(line, sizeof line, file)) {
    unsigned long user = 0, kernel = 0;
    long pages = 0;
    const char *rest = strrchr(line, ')'); /* the name before it may hold anything */
    if (rest && sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
                       &user, &kernel, &pages) == 3) {
      u->ticks_seconds += (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
      u->rss_bytes += (double)pages * (double)sysconf(_SC_PAGESIZE);
    }
  }
  fclose(file);
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *threads = opendir(path);
  if (!threads) return;
  for (struct dirent *entry; (entry = readdir(threads));) {
    int child;
    char children[128];
    if (entry->d_name[0] == '.') continue;
    u->thread_seconds += seconds_of_thread(pid, entry->d_name);
    snprintf(children, sizeof children, "/proc/%d/task/%.20s/children", pid, entry->d_name);
    if ((file = fopen(children, "r"))) {
      while (fscanf(file, "%d", &child) == 1) add_process(child, u);
      fclose(file);
    }
  }
  closedir(threads);
}

static inline struct usage usage_of(const int *pids, int count) {
  struct usage u = {0, 0, 0};
  for (int i = 0; i < count; i++) add_process(pids[i], &u);
  return u;
}

/* Seconds that the machine's cores 0 to `last` have been busy, whoever it was, other machines on the same host included. */
static inline double busy_seconds(int last) {
  double ticks = 0;
  char line[512];
  FILE *file = fopen("/proc/stat", "r");
  while (file && fgets(line, sizeof line, file)) {
    unsigned long long user, nice, system, irq, soft, steal;
    int core;
    if (line[3] != ' ' && /* the sum of all */
        sscanf(line, "cpu%d %llu %llu %llu %*u %*u %llu %llu %llu", &core, &user, &nice, &system, &irq, &soft, &steal) == 7 &&
        core <= last)
      ticks += (double)(user + nice + system + irq + soft + steal);
  }
  if (file) fclose(file);
  return ticks / (double)sysconf(_SC_CLK_TCK);
}
#endif
