/*
 * The test peer as a provider: one thread a connection, blocking calls, so that each mode reads as what it does.
 *
 *   peer serve PATH [--mode M] [--type stream|seqpacket] [--permissions 0666] [--backlog N] [--chunk C] [--quiet] [--passcred]
 *
 *   echo         sends back what it gets, fds with it, message by message
 *   sink         reads and counts; the tally stands in the "close" event
 *   record       the same, and a "recv" event with text, fds and credentials for each piece
 *   endless      writes as long as the other side takes it
 *   hold         neither reads nor writes
 *   trailer      reads to the end, then sends "BYE <bytes>\n": the far end of a half-close
 *   ends-first   sends "HELLO\n", ends its writing half, then reads to the end
 *   credentials  sends one line of JSON with the SO_PEERCRED and SO_PEERGROUPS that it sees
 *   close        closes at once
 *   never-accept listens and leaves them all in the backlog
 *   refuse       binds and does not listen: ECONNREFUSED
 *
 * Events: "listening", then for each connection "accept" {conn, pid, uid, gid} and "close" {conn, why, tally};
 * --quiet keeps those two back. Ends when its standard input does.
 */
#define _GNU_SOURCE
#include "peer.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct serving { const char *mode; size_t chunk; int quiet, passcred, type; };
struct connection { int socket; long id; struct tally tally; struct received message; const char *why; unsigned char buffer[]; };

static struct serving how;

static void print_piece(const struct connection *c) {
  char text[2048], numbers[MOST_FDS * 12] = "", credentials[96] = "null";
  size_t at = 0, show = (size_t)c->message.bytes < 256 ? (size_t)c->message.bytes : 256;
  for (int i = 0; i < c->message.fd_count; i++)
    at += (size_t)snprintf(numbers + at, sizeof numbers - at, "%s%ld", i ? "," : "", c->message.numbers[i]);
  if (c->message.has_credentials)
    snprintf(credentials, sizeof credentials, "{\"pid\":%d,\"uid\":%u,\"gid\":%u}", c->message.credentials.pid, c->message.credentials.uid,
             c->message.credentials.gid);
  event("{\"event\":\"recv\",\"conn\":%ld,\"offset\":%llu,\"bytes\":%zd,\"fds\":[%s],\"credentials\":%s,\"text\":\"%s\"}", c->id,
        (unsigned long long)c->tally.bytes, c->message.bytes, numbers, credentials, escaped(c->buffer, show, text, sizeof text));
}

/* Reads to the end; `echo` sends everything back, `print` shows each piece. */
static void read_to_end(struct connection *c, int echo, int print) {
  for (;;) {
    peer_receive(c->socket, c->buffer, how.chunk, &c->message);
    if (c->message.bytes < 0) { c->why = strerror(errno); return; }
    /* A sequenced packet may be empty, so only poll can tell the end; nothing here sends empty ones without fds. */
    if (c->message.bytes == 0 && !c->message.fd_count) { c->why = "end"; return; }
    if (print) print_piece(c);
    tally_add(&c->tally, &c->message, c->buffer);
    ssize_t sent = echo ? peer_send(c->socket, c->buffer, (size_t)c->message.bytes, c->message.fds, c->message.fd_count) : 0;
    peer_close_fds(&c->message);
    if (sent < 0) { c->why = strerror(errno); return; }
  }
}

static void write_endlessly(struct connection *c) {
  for (uint64_t i = 0; i < how.chunk; i++) c->buffer[i] = peer_pattern(i);
  ssize_t n;
  while ((n = send(c->socket, c->buffer, how.chunk, MSG_NOSIGNAL)) > 0) c->tally.bytes += (uint64_t)n;
  c->why = strerror(errno);
}

static void report_credentials(struct connection *c, const struct ucred *peer) {
  gid_t groups[128];
  socklen_t size = sizeof groups;
  char line[2048];
  int at = snprintf(line, sizeof line, "{\"pid\":%d,\"uid\":%u,\"gid\":%u,\"groups\":[", peer->pid, peer->uid, peer->gid);
  if (getsockopt(c->socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
    for (size_t i = 0; i < size / sizeof *groups; i++) at += snprintf(line + at, sizeof line - (size_t)at, "%s%u", i ? "," : "", groups[i]);
  at += snprintf(line + at, sizeof line - (size_t)at, "]}\n");
  peer_send(c->socket, line, (size_t)at, NULL, 0);
}

static void serve_mode(struct connection *c, const struct ucred *peer) {
  const char *mode = how.mode;
  if (!strcmp(mode, "echo")) read_to_end(c, 1, 0);
  else if (!strcmp(mode, "sink")) read_to_end(c, 0, 0);
  else if (!strcmp(mode, "record")) read_to_end(c, 0, 1);
  else if (!strcmp(mode, "endless")) write_endlessly(c);
  else if (!strcmp(mode, "credentials")) report_credentials(c, peer);
  else if (!strcmp(mode, "hold")) {
    struct pollfd gone = {.fd = c->socket, .events = 0};
    while (poll(&gone, 1, -1) < 0 && errno == EINTR) {}
    c->why = "hang-up";
  } else if (!strcmp(mode, "trailer")) {
    char line[64];
    read_to_end(c, 0, 0);
    int length = snprintf(line, sizeof line, "BYE %llu\n", (unsigned long long)c->tally.bytes);
    peer_send(c->socket, line, (size_t)length, NULL, 0);
  } else if (!strcmp(mode, "ends-first")) {
    peer_send(c->socket, "HELLO\n", 6, NULL, 0);
    shutdown(c->socket, SHUT_WR);
    read_to_end(c, 0, 0);
  }
}

static void *serve_connection(void *argument) {
  struct connection *c = argument;
  struct ucred peer = {0};
  socklen_t size = sizeof peer;
  tally_start(&c->tally);
  getsockopt(c->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  if (!how.quiet) event("{\"event\":\"accept\",\"conn\":%ld,\"pid\":%d,\"uid\":%u,\"gid\":%u}", c->id, peer.pid, peer.uid, peer.gid);
  serve_mode(c, &peer);
  close(c->socket);
  if (!how.quiet) {
    char *fields = malloc(TALLY_ROOM);
    event("{\"event\":\"close\",\"conn\":%ld,\"why\":\"%s\",%s}", c->id, c->why, tally_fields(&c->tally, fields, TALLY_ROOM));
    free(fields);
  }
  free(c);
  return NULL;
}

static void *end_with_stdin(void *unused) {
  char ignored[64];
  while (read(0, ignored, sizeof ignored) > 0) {}
  exit(0);
  return unused;
}

int peer_serve(int argc, char **argv) {
  how = (struct serving){
    .mode = option(argc, argv, "--mode", "echo"),
    .chunk = (size_t)number_option(argc, argv, "--chunk", CHUNK),
    .quiet = flag(argc, argv, "--quiet"),
    .passcred = flag(argc, argv, "--passcred"),
    .type = peer_socket_type(option(argc, argv, "--type", "stream"))};
  static const char *const modes[] = {"echo", "sink", "record", "endless", "hold", "trailer", "ends-first", "credentials", "close", "never-accept", "refuse"};
  size_t known = 0;
  while (known < sizeof modes / sizeof *modes && strcmp(modes[known], how.mode)) known++;
  if (known == sizeof modes / sizeof *modes) peer_usage();
  const char *call, *path = argv[0];
  unlink(path);
  int listener = peer_bind(path, how.type, &call);
  if (listener >= 0) call = "chmod";
  if (listener < 0 || chmod(path, (mode_t)number_option(argc, argv, "--permissions", 0666)) < 0) {
    event("{\"event\":\"failed\",\"call\":\"%s\",\"error\":\"%s\"}", call, strerror(errno));
    return 1;
  }
  int on = 1;
  if (how.passcred) setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof on); /* Accepted sockets inherit it (unix(7)). */
  if (strcmp(how.mode, "refuse")) listen(listener, (int)number_option(argc, argv, "--backlog", 1024));
  pthread_t thread;
  pthread_create(&thread, NULL, end_with_stdin, NULL);
  event("{\"event\":\"listening\",\"mode\":\"%s\",\"pid\":%d}", how.mode, getpid());
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 128 * 1024);
  pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
  if (!strcmp(how.mode, "refuse") || !strcmp(how.mode, "never-accept")) pthread_join(thread, NULL);
  for (long id = 1;; id++) {
    int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (socket < 0) { usleep(10000); id--; continue; } /* EMFILE: what is open ends sometime. */
    if (how.passcred) setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    if (!strcmp(how.mode, "close")) { close(socket); continue; }
    struct connection *c = malloc(sizeof *c + how.chunk);
    c->socket = socket;
    c->id = id;
    c->why = "done";
    while (pthread_create(&thread, &small, serve_connection, c)) usleep(1000);
  }
}
