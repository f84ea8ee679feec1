/* What each server is told. In templates: %R room, %N number of the message from 1 on, %P name of the player,
 * %L the head of a MessagePack string of the message's size. */
#ifndef DIALECTS_H
#define DIALECTS_H
#include <stddef.h>

enum { STEPS = 4 };

struct step {
  const char *await; /* what a frame has to hold; NULL: at once */
  const char *send;  /* NULL: joined */
};

struct dialect {
  const char *name, *path;
  struct step steps[STEPS];
  const char *before, *open, *close, *after; /* of a message: before, {open mark padding close}, after */
  const char *ping, *pong;                   /* keep-alive inside text frames */
  int is_binary;
  int latest;                                /* newer values replace older ones: of several moves the last may be shown alone */
};

static const struct dialect DIALECTS[] = {
    {
        .name = "phoenix",
        .path = "/socket/websocket?vsn=2.0.0",
        .steps = {{NULL, "[\"1\",\"1\",\"room:%R\",\"phx_join\",{\"presence\":false}]"}, {"\"ok\"", NULL}},
        .before = "[\"1\",\"%N\",\"room:%R\",\"shout\",",
        .open = "{\"d\":\"",
        .close = "\"}",
        .after = "]",
    },
    {
        .name = "game",
        .path = "/socket/websocket?vsn=2.0.0",
        .steps = {{NULL, "[\"1\",\"0\",\"game\",\"phx_join\",{\"player\":\"%P\"}]"}, {"\"ok\"", NULL}},
        .before = "[\"1\",\"%N\",\"game\",\"move\",",
        .open = "{\"n\":%N,\"mark\":\"",
        .close = "\"}",
        .after = "]",
        .latest = 1,
    },
    {
        .name = "match",
        .path = "/socket/websocket?vsn=2.0.0",
        .steps = {{NULL, "[\"1\",\"0\",\"game:match-%R\",\"phx_join\",{\"player\":\"%P\"}]"}, {"\"ok\"", NULL}},
        .before = "[\"1\",\"%N\",\"game:match-%R\",\"move\",",
        .open = "{\"n\":%N,\"mark\":\"",
        .close = "\"}",
        .after = "]",
        .latest = 1,
    },
    {
        .name = "plain",
        .path = "/",
        .steps = {{NULL, "join %R"}, {"joined", NULL}},
        .before = "",
        .open = "{\"d\":\"",
        .close = "\"}",
        .after = "",
    },
    {
        .name = "socketio",
        .path = "/socket.io/?EIO=4&transport=websocket",
        .steps = {{"0{", "40"}, {"40", "420[\"join\",\"%R\"]"}, {"430", NULL}},
        .before = "42[\"shout\",",
        .open = "{\"d\":\"",
        .close = "\"}",
        .after = "]",
        .ping = "2",
        .pong = "3",
    },
    {
        .name = "centrifugo",
        .path = "/connection/websocket",
        .steps = {{NULL, "{\"id\":1,\"connect\":{}}"},
                  {"\"connect\":", "{\"id\":2,\"subscribe\":{\"channel\":\"room%R\"}}"},
                  {"\"subscribe\":", NULL}},
        .before = "{\"id\":%N,\"publish\":{\"channel\":\"room%R\",\"data\":",
        .open = "{\"d\":\"",
        .close = "\"}",
        .after = "}}",
        .ping = "{}",
        .pong = "{}",
    },
    {
        .name = "colyseus",
        .path = "/",
        .steps = {{"\x0a", "\x0a"}, {NULL, NULL}}, /* JOIN_ROOM; after that, ROOM_DATA */
        .before = "\x0d\xa5shout%L",
        .open = "{\"d\":\"",
        .close = "\"}",
        .after = "",
        .is_binary = 1,
    },
};
enum { DIALECT_COUNT = sizeof DIALECTS / sizeof DIALECTS[0] };
#endif
