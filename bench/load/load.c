/* The load generator: one thread, epoll, no locks. Opens sockets, joins them, has some of them publish, and checks for every
 * receiver that each sender's messages come once and in order. Prints one JSON object. `load --help` says what can be set.
 *
 * Every message has a mark: ~, sender (6 hex digits), its number from 0 on (8), CLOCK_MONOTONIC when it was due, in ns (16). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "dialects.h"
#include "histogram.h"
#include "process.h"

enum { MARK = 31, PORTS = 64, PIDS = 64, EVENTS = 1024, RECEIVE = 1 << 20, UNREAD_BUFFER = 65536 };
#define SECOND 1000000000ull

/* --- what is set ------------------------------------------------------------------------------------------------- */

static struct {
  const struct dialect *dialect;
  const char *path, *paths;
  int ports[PORTS], port_count, pids[PIDS], pid_count;
  int sockets, rooms, senders, in_flight, unread, size, concurrency, core;
  double rate, warm_up, seconds, patience;
  bool clients_only;
} set = {
    .sockets = 1, .rooms = 1, .senders = 1, .in_flight = 1, .size = 200, .concurrency = 64, .core = -1, .warm_up = 0.5,
    .seconds = 3, .patience = 5,
};

static const char HELP[] =
    "load --dialect NAME --port PORT...      where, and what is spoken there; sockets take the ports in turn\n"
    "  --path PATH            of the request (default: the dialect's)\n"
    "  --paths FILE           instead: a line for each socket\n"
    "  --sockets N --rooms R  N sockets, evenly in R rooms\n"
    "  --senders S            of each room so many publish (0: none)\n"
    "  --in-flight K          each sender publishes when fewer than K of its messages are still to be received\n"
    "  --rate HZ              instead: each sender publishes so often\n"
    "  --size BYTES           of a message, without the protocol's envelope\n"
    "  --unread U             the last U sockets join and are never read again; their receive buffers are small (64 KiB)\n"
    "  --warm-up S --seconds S  what comes before, and what is measured\n"
    "  --patience S           how long nothing at all may arrive that should\n"
    "  --concurrency N        so many connect at once\n"
    "  --pid PID...           the server's processes: their CPU time and memory, with their descendants'\n"
    "  --core C               the core that this program stays on\n";

/* --- state ------------------------------------------------------------------------------------------------------- */

enum state { UNUSED, CONNECTING, UPGRADING, GREETING, JOINED, GONE };

struct flight { /* one message that not all have received */
  uint64_t due;
  uint32_t number, left;
};

struct seen { /* of one sender by one receiver */
  uint64_t window; /* bit i: next - 1 - i has come */
  uint32_t next;
};

struct client {
  struct buffer in, out;
  char *path;
  struct flight *flights;
  struct seen *seen;
  uint32_t next, outstanding;
  int fd, id, room, place; /* place: within the room */
  enum state state;
  int step;
  bool dirty, waits_for_room, wants_to_send;
};

static struct client *clients;
static int poller, joined, connecting, room_size, readers_of_room;
static uint32_t ring; /* flights per sender, a power of two */
static char *received; /* where all sockets' bytes come in */
static struct client **dirty;
static int dirty_count;
static struct client **eager;
static int eager_count;
static uint64_t measured_from, measured_to, last_arrival;
static uint64_t outstanding_count, deliveries, arrivals, published, lost_at_once, doubled, reordered, strays, refused, held, cut, given_up,
    bytes_in, answered;
static struct histogram latency, whole, answer;
static char trouble[300];

static void report_trouble(const char *what, const char *data, size_t size) {
  if (!trouble[0]) snprintf(trouble, sizeof trouble, "%s: %.*s", what, (int)(size > 200 ? 200 : size), data);
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static void render(struct buffer *to, const char *template, const struct client *c) {
  for (const char *p = template; *p; p++) {
    char text[48];
    int size;
    if (*p != '%') {
      append(to, p, 1);
      continue;
    }
    switch (*++p) {
      case 'R': size = snprintf(text, sizeof text, "%d", c->room); break;
      case 'N': size = snprintf(text, sizeof text, "%u", c->next + 1); break;
      case 'L':
        text[0] = set.size < 256 ? '\xd9' : '\xda';
        text[1] = (char)(set.size < 256 ? set.size : set.size >> 8);
        text[2] = (char)set.size;
        size = set.size < 256 ? 2 : 3;
        break;
      default: size = snprintf(text, sizeof text, "p%d-%d", (int)getpid(), c->id);
    }
    append(to, text, (size_t)size);
  }
}

static void mark_dirty(struct client *c) {
  if (!c->dirty) {
    c->dirty = true;
    dirty[dirty_count++] = c;
  }
}

static void send_frame(struct client *c, int op, const char *data, size_t size) {
  write_frame(&c->out, op, data, size, 1);
  mark_dirty(c);
}

static void listen_to(struct client *c, uint32_t events, int how) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  if (epoll_ctl(poller, how, c->fd, &e)) die("epoll_ctl");
}

static void lose(struct client *c, const char *why, const char *data, size_t size) {
  if (c->state == GONE) return;
  if (c->state != JOINED) connecting--;
  c->state = GONE;
  close(c->fd);
  cut++;
  report_trouble(why, data, size);
}

static void flush(struct client *c) {
  while (c->out.size && c->state != GONE) {
    ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n < 0) {
      lose(c, "send", strerror(errno), strlen(strerror(errno)));
      return;
    }
    memmove(c->out.data, c->out.data + n, c->out.size -= (size_t)n);
  }
  if (c->state != GONE && c->wants_to_send != (c->out.size > 0)) {
    c->wants_to_send = c->out.size > 0;
    listen_to(c, EPOLLIN | (c->wants_to_send ? EPOLLOUT : 0), EPOLL_CTL_MOD);
  }
}

static void give_up(struct client *sender, struct flight *f) {
  given_up += f->left;
  f->left = 0;
  sender->outstanding--;
  outstanding_count--;
}

static void publish(struct client *c, uint64_t due) {
  static struct buffer text;
  struct flight *f = &c->flights[c->next & (ring - 1)];
  char mark[MARK + 1];
  if (f->left && set.rate > 0) {
    held++; /* as many as the ring holds are still on their way: the server is not keeping up */
    return;
  }
  if (f->left) give_up(c, f); /* later ones have come to all */
  text.size = 0;
  render(&text, set.dialect->before, c);
  size_t start = text.size;
  render(&text, set.dialect->open, c);
  snprintf(mark, sizeof mark, "~%06x%08x%016llx", (unsigned)c->id, c->next, (unsigned long long)due);
  append(&text, mark, MARK);
  size_t size = text.size - start + strlen(set.dialect->close);
  if (size < (size_t)set.size) {
    size_t padding = (size_t)set.size - size;
    memset(reserve(&text, padding), 'x', padding);
    text.size += padding;
  }
  append(&text, set.dialect->close, strlen(set.dialect->close));
  render(&text, set.dialect->after, c);
  *f = (struct flight){.due = due, .number = c->next, .left = (uint32_t)readers_of_room};
  c->next++;
  c->outstanding++;
  outstanding_count++;
  published++;
  send_frame(c, set.dialect->is_binary ? OP_BINARY : OP_TEXT, text.data, text.size);
}

/* --- receiving --------------------------------------------------------------------------------------------------- */

static void complete(struct client *sender, uint32_t number, uint64_t now) {
  struct flight *f = &sender->flights[number & (ring - 1)];
  if (f->number != number || !f->left) return;
  if (f->due >= measured_from && f->due < measured_to) record(&latency, now - f->due);
  if (--f->left) return;
  if (f->due >= measured_from && f->due < measured_to) record(&whole, now - f->due);
  sender->outstanding--;
  outstanding_count--;
  if (!sender->waits_for_room) {
    sender->waits_for_room = true;
    eager[eager_count++] = sender;
  }
}

static void delivered(struct client *c, uint32_t from, uint32_t number, uint64_t now) {
  if (from >= (uint32_t)set.sockets || clients[from].room != c->room || clients[from].place >= set.senders) {
    strays++;
    return;
  }
  struct client *sender = &clients[from];
  struct seen *s = &c->seen[sender->place];
  arrivals++;
  last_arrival = now;
  if (now >= measured_from && now < measured_to) deliveries++;
  if (number >= s->next) {
    uint32_t skipped = number - s->next;
    if (set.dialect->latest) {
      for (uint32_t n = s->next; n <= number; n++) complete(sender, n, now);
    } else {
      lost_at_once += skipped;
      complete(sender, number, now);
    }
    s->window = (skipped >= 63 ? 0 : s->window << (skipped + 1)) | 1;
    s->next = number + 1;
    return;
  }
  uint32_t back = s->next - 1 - number;
  if (set.dialect->latest) { /* shown again does no harm, shown an older one does */
    reordered += back > 0;
  } else if (back < 64 && !(s->window >> back & 1)) {
    s->window |= 1ull << back;
    reordered++;
    lost_at_once--;
    complete(sender, number, now);
  } else {
    doubled++;
  }
}

static uint64_t hex(const char *p, int digits) {
  uint64_t value = 0;
  for (int i = 0; i < digits; i++) {
    unsigned char ch = (unsigned char)p[i];
    value = value << 4 | (ch <= '9' ? ch - 48u : (ch | 32u) - 87u);
  }
  return value;
}

/* A move's own answer: ["1","<number>","game","phx_reply",… NULL if it is none, or of a message that was given up. */
static struct flight *answered_move(struct client *c, const char *data, size_t size) {
  if (!set.dialect->latest || !c->flights || size < 8 || memcmp(data, "[\"1\",\"", 6)) return NULL;
  uint32_t number = (uint32_t)strtoul(data + 6, NULL, 10) - 1;
  struct flight *f = &c->flights[number & (ring - 1)];
  return number < c->next && f->number == number ? f : NULL;
}

static void on_answer(struct client *c, const char *data, size_t size, uint64_t now) {
  struct flight *f = answered_move(c, data, size);
  if (memmem(data, size, "\"error\"", 7)) {
    refused++;
    report_trouble("refused", data, size);
    if (f && f->left) { /* it has not happened, and nobody will see it */
      f->left = 0;
      c->outstanding--;
      outstanding_count--;
    }
  } else if (f) {
    answered++;
    if (f->due >= measured_from && f->due < measured_to) record(&answer, now - f->due);
  }
}

static void greet(struct client *c) {
  struct buffer text = {0};
  const struct step *step = &set.dialect->steps[c->step];
  if (!step->send) {
    c->state = JOINED;
    joined++;
    connecting--;
    return;
  }
  render(&text, step->send, c);
  send_frame(c, set.dialect->is_binary ? OP_BINARY : OP_TEXT, text.data, text.size);
  drop(&text);
  c->step++;
  if (!set.dialect->steps[c->step].await) greet(c);
}

static void on_frame(struct client *c, struct frame *f, uint64_t now) {
  const struct dialect *d = set.dialect;
  if (f->op == OP_PING) {
    send_frame(c, OP_PONG, f->data, f->size);
    return;
  }
  if (f->op == OP_CLOSE) {
    lose(c, "closed by the server", f->size > 2 ? f->data + 2 : "", f->size > 2 ? f->size - 2 : 0);
    return;
  }
  if (f->op == OP_PONG) return;
  if (!f->fin || (f->op != OP_TEXT && f->op != OP_BINARY)) {
    lose(c, "a fragment, which no server here sends", "", 0);
    return;
  }
  if (d->ping && f->size == strlen(d->ping) && !memcmp(f->data, d->ping, f->size)) {
    send_frame(c, OP_TEXT, d->pong, strlen(d->pong));
    return;
  }
  if (c->state == GREETING) {
    const char *await = d->steps[c->step].await;
    if (memmem(f->data, f->size, await, strlen(await)))
      greet(c);
    else if (memmem(f->data, f->size, "error", 5))
      lose(c, "not let in", f->data, f->size);
    return;
  }
  const char *end = f->data + f->size, *p = memchr(f->data, '~', f->size);
  if (!p) on_answer(c, f->data, f->size, now);
  for (; p && end - p >= MARK; p = memchr(p + MARK, '~', (size_t)(end - p - MARK)))
    delivered(c, (uint32_t)hex(p + 1, 6), (uint32_t)hex(p + 7, 8), now);
}

static void on_upgrade(struct client *c, const char *data, size_t size) {
  if (size < 12 || memcmp(data, "HTTP/1.1 101", 12)) {
    lose(c, "no upgrade", data, size);
    return;
  }
  c->state = GREETING;
  if (!set.dialect->steps[0].await) greet(c);
}

static void receive(struct client *c) {
  if (c->in.size) memcpy(received, c->in.data, c->in.size);
  ssize_t n = recv(c->fd, received + c->in.size, RECEIVE - c->in.size, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    const char *why = n ? strerror(errno) : "end of stream";
    lose(c, "connection lost", why, strlen(why));
    return;
  }
  uint64_t now = now_ns();
  bytes_in += (uint64_t)n;
  char *data = received;
  size_t size = c->in.size + (size_t)n;
  c->in.size = 0;
  if (c->state == UPGRADING) {
    char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end) {
      on_upgrade(c, data, (size_t)(end - data));
      size -= (size_t)(end + 4 - data);
      data = end + 4;
    }
  }
  for (struct frame f; c->state >= GREETING && c->state != GONE && read_frame(data, size, &f);) {
    on_frame(c, &f, now);
    data += f.whole;
    size -= f.whole;
  }
  if (c->state != GONE && size) append(&c->in, data, size);
  if (!c->in.size && c->in.room > 65536) drop(&c->in);
}

/* --- connecting -------------------------------------------------------------------------------------------------- */

static bool is_unread(const struct client *c) { return c->id >= set.sockets - set.unread; }

static void open_socket(struct client *c) {
  int one = 1, small = UNREAD_BUFFER, port = set.ports[c->id % set.port_count];
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (is_unread(c)) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
  c->state = CONNECTING;
  connecting++;
  listen_to(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void on_connected(struct client *c) {
  char request[1024];
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    lose(c, "connect", strerror(error), strlen(strerror(error)));
    return;
  }
  int n = snprintf(request, sizeof request,
                   "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                   c->path ? c->path : set.path, set.ports[c->id % set.port_count]);
  append(&c->out, request, (size_t)n);
  c->state = UPGRADING;
  c->wants_to_send = true;
  mark_dirty(c);
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

static void flush_dirty(void) {
  for (int i = 0; i < dirty_count; i++) {
    dirty[i]->dirty = false;
    flush(dirty[i]);
  }
  dirty_count = 0;
}

static void turn(uint64_t until) {
  static struct epoll_event events[EVENTS];
  uint64_t now = now_ns(), wait = until > now ? until - now : 0;
  struct timespec timeout = {.tv_sec = (time_t)(wait / SECOND), .tv_nsec = (long)(wait % SECOND)};
  int n = epoll_pwait2(poller, events, EVENTS, &timeout, NULL);
  if (n < 0 && errno != EINTR) die("epoll_pwait2");
  for (int i = 0; i < n; i++) {
    struct client *c = events[i].data.ptr;
    if (c->state == CONNECTING) {
      on_connected(c);
      continue;
    }
    if (events[i].events & EPOLLOUT) mark_dirty(c);
    if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP) && c->state != GONE) receive(c);
  }
}

static uint64_t connect_all(void) {
  uint64_t deadline = now_ns() + 120 * SECOND;
  for (int next = 0; joined < set.sockets;) {
    while (next < set.sockets && connecting < set.concurrency) open_socket(&clients[next++]);
    turn(now_ns() + SECOND / 10);
    flush_dirty();
    if (cut || now_ns() > deadline) {
      fprintf(stderr, "load: only %d of %d sockets joined%s%s\n", joined, set.sockets, cut ? ": " : "", trouble);
      exit(1);
    }
  }
  for (int i = 0; i < set.sockets; i++)
    if (is_unread(&clients[i])) epoll_ctl(poller, EPOLL_CTL_DEL, clients[i].fd, NULL);
  return now_ns();
}

static void prepare(void) {
  room_size = set.sockets / set.rooms;
  readers_of_room = room_size - set.unread;
  ring = 64;
  while (ring < (uint32_t)set.in_flight || (set.rate > 0 && ring < set.rate * 16)) ring *= 2;
  clients = calloc((size_t)set.sockets, sizeof *clients);
  dirty = calloc((size_t)set.sockets, sizeof *dirty);
  eager = calloc((size_t)set.sockets, sizeof *eager);
  received = malloc(RECEIVE);
  if (!clients || !dirty || !eager || !received) die("malloc");
  for (int i = 0; i < set.sockets; i++) {
    struct client *c = &clients[i];
    c->id = i;
    c->room = i / room_size;
    c->place = i % room_size;
    c->seen = calloc((size_t)set.senders + 1, sizeof *c->seen);
    if (c->place < set.senders) c->flights = calloc(ring, sizeof *c->flights);
  }
}

static void read_paths(void) {
  char line[1024];
  FILE *file = fopen(set.paths, "r");
  if (!file) die(set.paths);
  for (int i = 0; i < set.sockets && fgets(line, sizeof line, file); i++) {
    line[strcspn(line, "\n")] = 0;
    clients[i].path = strdup(line);
  }
  fclose(file);
}

/* Sender k of n is due at k / n of the interval, so that they don't all move at once. */
static uint64_t tick, first_due;
static uint64_t due_at(uint64_t t) { return first_due + (uint64_t)((double)t / (set.rate * set.rooms * set.senders) * 1e9); }

static void publish_due(uint64_t now, uint64_t until) {
  while (due_at(tick) <= now && due_at(tick) < until) {
    int sender = (int)(tick % (uint64_t)(set.rooms * set.senders));
    struct client *c = &clients[sender % set.rooms * room_size + sender / set.rooms];
    if (c->state == JOINED) publish(c, due_at(tick));
    tick++;
  }
}

static void publish_eager(void) {
  int count = eager_count;
  eager_count = 0;
  for (int i = 0; i < count; i++) {
    eager[i]->waits_for_room = false;
    while (eager[i]->state == JOINED && eager[i]->outstanding < (uint32_t)set.in_flight) publish(eager[i], now_ns());
  }
}

struct moment {
  uint64_t at;
  struct usage server, own;
  double all; /* of the cores that are measured on: 0 to this program's own, or all */
};

static struct moment look(void) {
  int self = (int)getpid();
  return (struct moment){now_ns(), usage_of(set.pids, set.pid_count), usage_of(&self, 1), busy_seconds(set.core < 0 ? 1 << 20 : set.core)};
}

static double highest_rss;

static void run_until(uint64_t end, bool sends) {
  uint64_t next_look = 0;
  for (uint64_t now; (now = now_ns()) < end;) {
    if (now >= next_look) {
      double rss = usage_of(set.pids, set.pid_count).rss_bytes;
      if (rss > highest_rss) highest_rss = rss;
      next_look = now + SECOND / 2;
    }
    if (sends && set.rate > 0) publish_due(now, measured_to);
    if (sends && set.rate <= 0) publish_eager();
    flush_dirty();
    if (outstanding_count && now > last_arrival + (uint64_t)(set.patience * 1e9)) {
      report_trouble("nothing came any more", "", 0);
      return;
    }
    if (!sends && !outstanding_count) return;
    uint64_t next = next_look < end ? next_look : end;
    if (sends && set.rate > 0 && due_at(tick) < next) next = due_at(tick);
    turn(next);
  }
}

static void begin_sending(void) {
  first_due = now_ns();
  last_arrival = first_due;
  if (set.rate > 0) return;
  for (int i = 0; i < set.sockets; i++)
    if (clients[i].place < set.senders) {
      clients[i].waits_for_room = true;
      eager[eager_count++] = &clients[i];
    }
}

static uint64_t lost_in_the_end(void) {
  uint64_t lost = given_up;
  for (int i = 0; i < set.sockets; i++)
    for (uint32_t k = 0; clients[i].flights && k < ring; k++) lost += clients[i].flights[k].left;
  return lost;
}

/* How many of the sockets that were never read the server has ended. They are read now: what was sent comes before the end. */
static int ended_unread(void) {
  struct pollfd *unread = calloc((size_t)set.unread + 1, sizeof *unread);
  int ended = 0;
  if (!unread) die("calloc");
  for (int i = 0; i < set.unread; i++)
    unread[i] = (struct pollfd){.fd = clients[set.sockets - set.unread + i].fd, .events = POLLIN};
  while (set.unread && poll(unread, (nfds_t)set.unread, 500) > 0)
    for (int i = 0; i < set.unread; i++)
      if (unread[i].revents && recv(unread[i].fd, received, RECEIVE, 0) <= 0) { /* poll said: not EAGAIN */
        unread[i].fd = -1;
        ended++;
      }
  free(unread);
  return ended;
}

/* --- command line ------------------------------------------------------------------------------------------------ */

static const struct dialect *dialect_named(const char *name) {
  for (int i = 0; i < DIALECT_COUNT; i++)
    if (!strcmp(DIALECTS[i].name, name)) return &DIALECTS[i];
  fprintf(stderr, "load: there is no dialect %s\n", name);
  exit(2);
}

static void read_arguments(int argc, char **argv) {
  static const struct option OPTIONS[] = {
      {"dialect", 1, 0, 'd'}, {"port", 1, 0, 'p'},        {"path", 1, 0, 'a'},      {"sockets", 1, 0, 'n'},
      {"paths", 1, 0, 'A'},
      {"rooms", 1, 0, 'r'},   {"senders", 1, 0, 's'},     {"in-flight", 1, 0, 'k'}, {"rate", 1, 0, 'z'},
      {"size", 1, 0, 'b'},    {"unread", 1, 0, 'u'},      {"warm-up", 1, 0, 'w'},   {"seconds", 1, 0, 't'},
      {"pid", 1, 0, 'i'},     {"concurrency", 1, 0, 'c'}, {"core", 1, 0, 'o'},      {"help", 0, 0, 'h'},
      {"patience", 1, 0, 'e'}, {0, 0, 0, 0},
  };
  for (int o; (o = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) switch (o) {
      case 'd': set.dialect = dialect_named(optarg); break;
      case 'p':
        if (set.port_count < PORTS) set.ports[set.port_count++] = atoi(optarg);
        break;
      case 'i':
        if (set.pid_count < PIDS) set.pids[set.pid_count++] = atoi(optarg);
        break;
      case 'a': set.path = optarg; break;
      case 'A': set.paths = optarg; break;
      case 'n': set.sockets = atoi(optarg); break;
      case 'r': set.rooms = atoi(optarg); break;
      case 's': set.senders = atoi(optarg); break;
      case 'k': set.in_flight = atoi(optarg); break;
      case 'z': set.rate = atof(optarg); break;
      case 'b': set.size = atoi(optarg); break;
      case 'u': set.unread = atoi(optarg); break;
      case 'w': set.warm_up = atof(optarg); break;
      case 't': set.seconds = atof(optarg); break;
      case 'e': set.patience = atof(optarg); break;
      case 'c': set.concurrency = atoi(optarg); break;
      case 'o': set.core = atoi(optarg); break;
      case 'h': fputs(HELP, stdout); exit(0);
      default: fputs(HELP, stderr); exit(2);
    }
  if (!set.dialect || !set.port_count || set.sockets < 1 || set.rooms < 1 || set.sockets % set.rooms ||
      set.senders > set.sockets / set.rooms || set.unread + set.senders > set.sockets || (set.unread && set.rooms > 1) ||
      set.sockets > 0xffffff) {
    fputs(HELP, stderr);
    exit(2);
  }
  if (!set.path) set.path = set.dialect->path;
}

static void stay_on(int core) {
  cpu_set_t only;
  if (core < 0) return;
  CPU_ZERO(&only);
  CPU_SET(core, &only);
  if (sched_setaffinity(0, sizeof only, &only)) die("sched_setaffinity");
}

static void print_latency(const char *name, const struct histogram *h) {
  printf("\"%s\": {\"count\": %llu, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}, ", name, (unsigned long long)h->count,
         percentile_ms(h, 0.5), percentile_ms(h, 0.99), (double)h->max / 1e6);
}

static void print_text(const char *text) {
  putchar('"');
  for (; *text; text++) {
    unsigned char ch = (unsigned char)*text;
    if (ch == '"' || ch == '\\')
      printf("\\%c", ch);
    else
      putchar(ch < 32 || ch > 126 ? ' ' : ch);
  }
  putchar('"');
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  stay_on(set.core);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if ((poller = epoll_create1(0)) < 0) die("epoll_create1");
  prepare();
  if (set.paths) read_paths();
  struct moment start = look();
  connect_all();
  struct moment ready = look();
  struct moment begin = ready, end = ready;
  if (set.senders) {
    begin_sending();
    measured_from = first_due + (uint64_t)(set.warm_up * 1e9);
    measured_to = measured_from + (uint64_t)(set.seconds * 1e9);
    run_until(measured_from, true);
    begin = look();
    measured_from = begin.at;
    measured_to = measured_from + (uint64_t)(set.seconds * 1e9);
    run_until(measured_to, true);
    end = look();
    run_until(end.at + (uint64_t)(set.patience * 1e9) + SECOND * 30, false);
  }
  double seconds = (double)(end.at - begin.at) / 1e9;
  printf("{\"sockets\": %d, \"connect_seconds\": %.4f, \"connect_cpu_seconds\": %.4f, ", joined,
         (double)(ready.at - start.at) / 1e9, cpu_between(start.server, ready.server));
  printf("\"rss_before\": %.0f, \"rss_joined\": %.0f, \"rss_end\": %.0f, \"rss_highest\": %.0f, ", start.server.rss_bytes,
         ready.server.rss_bytes, end.server.rss_bytes, highest_rss);
  printf("\"seconds\": %.4f, \"server_cpu_seconds\": %.4f, \"own_cpu_seconds\": %.4f, ", seconds,
         cpu_between(begin.server, end.server), cpu_between(begin.own, end.own));
  double others = end.all - begin.all - cpu_between(begin.server, end.server) - cpu_between(begin.own, end.own);
  printf("\"others_cpu_seconds\": %.2f, ", others > 0 ? others : 0);
  printf("\"published\": %llu, \"deliveries\": %llu, \"arrivals\": %llu, \"answered\": %llu, \"bytes\": %llu, ",
         (unsigned long long)published, (unsigned long long)deliveries, (unsigned long long)arrivals,
         (unsigned long long)answered, (unsigned long long)bytes_in);
  uint64_t unseen = lost_in_the_end();
  printf("\"lost\": %llu, \"gaps\": %llu, \"doubled\": %llu, \"reordered\": %llu, \"strays\": %llu, \"refused\": %llu, "
         "\"held\": %llu, \"cut\": %llu, ",
         (unsigned long long)unseen, (unsigned long long)lost_at_once, (unsigned long long)doubled,
         (unsigned long long)reordered, (unsigned long long)strays, (unsigned long long)refused, (unsigned long long)held,
         (unsigned long long)cut);
  printf("\"unread_ended\": %d, ", ended_unread());
  print_latency("latency_ms", &latency);
  print_latency("whole_ms", &whole);
  print_latency("answer_ms", &answer);
  printf("\"trouble\": ");
  print_text(trouble);
  printf("}\n");
  struct linger at_once = {.l_onoff = 1, .l_linger = 0}; /* thousands of sockets in TIME_WAIT would use up the ports */
  for (int i = 0; i < set.sockets; i++)
    if (clients[i].state != GONE) {
      setsockopt(clients[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      close(clients[i].fd);
    }
  return 0;
}
