/* The limit: what epoll and send alone reach. A server of Phoenix Channels V2 that knows rooms and the event shout, and sends
 * the same bytes to the same sockets as gamecluster.demo:Room does.  limit PORT [coalesce]
 * One send per message and socket; with `coalesce` one per socket and turn of the loop, whatever the number of messages. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "sha1.h"

enum { ROOMS = 65536, EVENTS = 1024, RECEIVE = 1 << 18, BACKLOG = 1 << 20 };

struct client {
  struct buffer in, out, own; /* own: its replies of this turn, when coalescing */
  int fd, room, place;        /* place: among the room's members; room -1: none yet */
  bool is_open, is_upgraded, waits;
};

struct room {
  struct client **members;
  int count, space;
  struct buffer pending;
  bool is_dirty;
};

static struct room rooms[ROOMS];
static int dirty_rooms[ROOMS], dirty_count;
static struct client *repliers[EVENTS];
static int replier_count;
static struct client *gone[EVENTS * 64];
static int gone_count;
static int poller;
static bool coalesce;
static char received[RECEIVE];

static void watch(struct client *c, uint32_t events, int how) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  if (epoll_ctl(poller, how, c->fd, &e)) die("epoll_ctl");
}

static void end(struct client *c) {
  if (!c->is_open) return;
  c->is_open = false;
  close(c->fd);
  if (c->room >= 0) {
    struct room *r = &rooms[c->room];
    struct client *last = r->members[--r->count];
    r->members[c->place] = last;
    last->place = c->place;
  }
  drop(&c->in), drop(&c->out), drop(&c->own);
  if (gone_count < EVENTS * 64) gone[gone_count++] = c; /* freed when no event of this turn can name it any more */
}

/* False: the client is gone. What the kernel does not take waits, up to BACKLOG; more than that and it does not read. */
static bool deliver(struct client *c, const char *data, size_t size) {
  ssize_t n = 0;
  if (!c->out.size) n = send(c->fd, data, size, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) {
    end(c);
    return false;
  }
  if (n < 0) n = 0;
  if ((size_t)n == size) return true;
  if (c->out.size + size > BACKLOG) {
    end(c);
    return false;
  }
  append(&c->out, data + n, size - (size_t)n);
  if (!c->waits) {
    c->waits = true;
    watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }
  return true;
}

static void flush(struct client *c) {
  ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) {
    end(c);
    return;
  }
  if (n > 0) memmove(c->out.data, c->out.data + n, c->out.size -= (size_t)n);
  if (!c->out.size) {
    drop(&c->out);
    c->waits = false;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
  }
}

static void to_room(struct room *r, const char *data, size_t size) {
  for (int i = 0; i < r->count;) i += deliver(r->members[i], data, size); /* else another one has its place now */
}

static void join(struct client *c, int number) {
  struct room *r = &rooms[number];
  if (c->room >= 0) return;
  if (r->count == r->space) {
    r->space = r->space ? r->space * 2 : 16;
    r->members = realloc(r->members, (size_t)r->space * sizeof *r->members);
    if (!r->members) die("realloc");
  }
  c->room = number;
  c->place = r->count;
  r->members[r->count++] = c;
}

static void reply(struct client *c, const char *refs, size_t refs_size, const char *topic, size_t topic_size) {
  static struct buffer text, frame;
  static const char REPLY[] = ",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]";
  text.size = frame.size = 0;
  append(&text, "[", 1);
  append(&text, refs, refs_size);
  append(&text, ",", 1);
  append(&text, topic, topic_size);
  append(&text, REPLY, sizeof REPLY - 1);
  write_frame(&frame, OP_TEXT, text.data, text.size, 0);
  if (!coalesce) {
    deliver(c, frame.data, frame.size);
    return;
  }
  if (!c->own.size) repliers[replier_count++] = c;
  append(&c->own, frame.data, frame.size);
}

static void broadcast(int number, const char *topic, size_t topic_size, const char *rest, size_t rest_size) {
  static struct buffer text, frame;
  struct room *r = &rooms[number];
  text.size = frame.size = 0;
  append(&text, "[null,null,", 11);
  append(&text, topic, topic_size);
  append(&text, ",", 1);
  append(&text, rest, rest_size);
  if (!coalesce) {
    write_frame(&frame, OP_TEXT, text.data, text.size, 0);
    to_room(r, frame.data, frame.size);
    return;
  }
  write_frame(&r->pending, OP_TEXT, text.data, text.size, 0);
  if (!r->is_dirty) {
    r->is_dirty = true;
    dirty_rooms[dirty_count++] = number;
  }
}

static void flush_turn(void) {
  for (int i = 0; i < replier_count; i++) {
    struct client *c = repliers[i];
    if (c->is_open) deliver(c, c->own.data, c->own.size);
    c->own.size = 0;
  }
  replier_count = 0;
  for (int i = 0; i < dirty_count; i++) {
    struct room *r = &rooms[dirty_rooms[i]];
    to_room(r, r->pending.data, r->pending.size);
    r->pending.size = 0;
    r->is_dirty = false;
  }
  dirty_count = 0;
}

/* [join_ref,ref,topic,event,payload], without escapes in the first four: the end of each is its comma. */
static void on_text(struct client *c, const char *data, size_t size) {
  const char *stop = data + size, *comma[4], *at = data;
  for (int i = 0; i < 4; i++) {
    comma[i] = memchr(at, ',', (size_t)(stop - at));
    if (!comma[i]) return;
    at = comma[i] + 1;
  }
  const char *topic = comma[1] + 1, *event = comma[2] + 1;
  size_t topic_size = (size_t)(comma[2] - topic), event_size = (size_t)(comma[3] - event);
  const char *colon = memchr(topic, ':', topic_size);
  int number = colon ? atoi(colon + 1) : -1;
  if (number < 0 || number >= ROOMS) return;
  if (event_size == 10 && !memcmp(event, "\"phx_join\"", 10)) {
    join(c, number);
    reply(c, data + 1, (size_t)(comma[1] - data - 1), topic, topic_size);
  } else if (event_size == 7 && !memcmp(event, "\"shout\"", 7)) {
    broadcast(number, topic, topic_size, event, (size_t)(stop - event));
    if (c->is_open) reply(c, data + 1, (size_t)(comma[1] - data - 1), topic, topic_size);
  }
}

static bool upgrade(struct client *c, char *data, size_t size) {
  static const char NAME[] = "Sec-WebSocket-Key: ";
  char key[64], accept[32], answer[256];
  const char *at = memmem(data, size, NAME, sizeof NAME - 1);
  if (!at || (size_t)(data + size - at) < sizeof NAME - 1 + 24) return false;
  memcpy(key, at + sizeof NAME - 1, 24);
  memcpy(key + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
  sha1_base64(key, 60, accept);
  int n = snprintf(answer, sizeof answer,
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                   accept);
  c->is_upgraded = true;
  return deliver(c, answer, (size_t)n);
}

static void receive(struct client *c) {
  if (c->in.size) memcpy(received, c->in.data, c->in.size);
  ssize_t n = recv(c->fd, received + c->in.size, RECEIVE - c->in.size, 0);
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) end(c);
    return;
  }
  char *data = received;
  size_t size = c->in.size + (size_t)n;
  drop(&c->in);
  if (!c->is_upgraded) {
    char *stop = memmem(data, size, "\r\n\r\n", 4);
    if (stop) {
      if (!upgrade(c, data, (size_t)(stop - data))) {
        end(c);
        return;
      }
      size -= (size_t)(stop + 4 - data);
      data = stop + 4;
    }
  }
  struct frame f;
  while (c->is_open && c->is_upgraded && size) {
    struct buffer partial = {0};
    /* read_frame unmasks in place: only when there is all of it */
    if (!read_frame(data, size, &f)) {
      append(&partial, data, size);
      c->in = partial;
      return;
    }
    if (f.op == OP_TEXT) on_text(c, f.data, f.size);
    if (f.op == OP_CLOSE) end(c);
    data += f.whole;
    size -= f.whole;
  }
  if (c->is_open && size) append(&c->in, data, size);
}

static void accept_all(int listener) {
  int one = 1, fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct client *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *c = (struct client){.fd = fd, .room = -1, .is_open = true};
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
  }
}

int main(int argc, char **argv) {
  static struct epoll_event events[EVENTS];
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (argc < 2) {
    fputs("limit PORT [coalesce]\n", stderr);
    return 2;
  }
  coalesce = argc > 2 && !strcmp(argv[2], "coalesce");
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sockaddr_in at = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 2048)) die("listen");
  if ((poller = epoll_create1(0)) < 0) die("epoll_create1");
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
  for (;;) {
    int n = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      struct client *c = events[i].data.ptr;
      if (!c) {
        accept_all(listener);
        continue;
      }
      if (c->is_open && events[i].events & EPOLLOUT) flush(c);
      if (c->is_open && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(c);
    }
    if (coalesce) flush_turn();
    for (int i = 0; i < gone_count; i++) free(gone[i]);
    gone_count = 0;
  }
}
