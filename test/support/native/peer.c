/*
 * peer: the provider and the consumer of the tests, a static program that runs inside the containers.
 *
 *   peer serve PATH --mode M ...      a provider; the modes stand in peer-serve.c
 *   peer send PATH [--type T] [--messages N] [--size S] [--fds K] [--every E] [--chunk C] [--pause-us U] [--no-echo]
 *        sends N messages of S bytes, K numbered fds with every E-th, and reads the echo in pieces of at most C bytes
 *   peer half-close PATH [--size S]   sends S bytes, ends its writing half, reads to the end
 *   peer read PATH [--send TEXT] [--bytes N]   sends TEXT, reads N bytes or to the end, prints them
 *   peer hold PATH [--count N] [--send TEXT]   N connections that never read; until standard input ends
 *   peer abrupt PATH --count N        N connections that go away in one of six rude ways
 *
 * Every outcome is one line of JSON with an "event" field. A wait that takes longer than --timeout-ms
 * (10,000 unless told) ends the program with {"event":"failed"} and status 1; a wrong command line is 2.
 */
#define _GNU_SOURCE
#include "peer.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void failed(const char *call) {
  event("{\"event\":\"failed\",\"call\":\"%s\",\"error\":\"%s\"}", call, strerror(errno));
  exit(1);
}

static int connect_or_fail(int argc, char **argv) {
  const char *call;
  int fd = peer_connect(argv[0], peer_socket_type(option(argc, argv, "--type", "stream")), &call);
  if (fd < 0) failed(call);
  long ms = number_option(argc, argv, "--timeout-ms", 10000);
  struct timeval wait = {ms / 1000, (ms % 1000) * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  return fd;
}

static long long now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

struct sending {
  int socket, ok;
  long messages, size, fds, every, pause_us;
};

/* Sends everything, while the main thread reads the echo: a peer that only then reads would be what blocks. */
static void *send_all(void *argument) {
  struct sending *s = argument;
  unsigned char *bytes = malloc((size_t)s->size);
  uint64_t offset = 0;
  long number = 1;
  for (long m = 0; m < s->messages; m++) {
    int fds[MOST_FDS], count = s->fds && m % s->every == 0 ? (int)s->fds : 0;
    for (int i = 0; i < count; i++) fds[i] = peer_numbered_fd(number++);
    for (long i = 0; i < s->size; i++) bytes[i] = peer_pattern(offset + (uint64_t)i);
    ssize_t sent = peer_send(s->socket, bytes, (size_t)s->size, fds, count);
    for (int i = 0; i < count; i++) close(fds[i]);
    if (sent != s->size) {
      event("{\"event\":\"send-failed\",\"message\":%ld,\"error\":\"%s\"}", m, strerror(errno));
      free(bytes);
      return NULL;
    }
    offset += (uint64_t)s->size;
    if (s->pause_us) usleep((useconds_t)s->pause_us);
  }
  s->ok = 1;
  free(bytes);
  return NULL;
}

/* How far each fd came from the byte that it was sent with: exact, late (after its byte) or early. */
static void count_places(const struct tally *t, const struct sending *s, long *exact, long *late) {
  *exact = *late = 0;
  for (size_t i = 0; i < t->marks; i++)
    for (long k = 0; k < t->mark[i].count; k++) {
      uint64_t expected = (uint64_t)((t->mark[i].number + k - 1) / s->fds) * (uint64_t)(s->every * s->size);
      if (t->mark[i].offset == expected) (*exact)++;
      else if (t->mark[i].offset > expected) (*late)++;
    }
}

static int client_send(int argc, char **argv) {
  struct sending s = {
    .socket = connect_or_fail(argc, argv),
    .messages = number_option(argc, argv, "--messages", 1),
    .size = number_option(argc, argv, "--size", 64),
    .fds = number_option(argc, argv, "--fds", 0),
    .every = number_option(argc, argv, "--every", 1),
    .pause_us = number_option(argc, argv, "--pause-us", 0)};
  size_t chunk = (size_t)number_option(argc, argv, "--chunk", CHUNK);
  if (s.fds > MOST_FDS || s.every < 1 || s.size < 1 || chunk < 1) peer_usage();
  long long start = now_us();
  pthread_t thread;
  if (pthread_create(&thread, NULL, send_all, &s)) failed("pthread_create");
  uint64_t expected = flag(argc, argv, "--no-echo") ? 0 : (uint64_t)s.messages * (uint64_t)s.size;
  static struct tally tally;
  static struct received message;
  unsigned char *buffer = malloc(chunk);
  int sizes_intact = 1;
  tally_start(&tally);
  const char *end = "all";
  while (tally.bytes < expected) {
    peer_receive(s.socket, buffer, chunk, &message);
    if (message.bytes <= 0) { end = message.bytes ? strerror(errno) : "end"; break; }
    sizes_intact &= message.bytes == s.size;
    tally_add(&tally, &message, buffer);
    peer_close_fds(&message);
  }
  pthread_join(thread, NULL);
  long exact, late;
  count_places(&tally, &s, &exact, &late);
  static char fields[TALLY_ROOM];
  event("{\"event\":\"done\",\"sent\":%s,\"end\":\"%s\",\"sizes_intact\":%s,\"exact\":%ld,\"late\":%ld,\"us\":%lld,%s}", s.ok ? "true" : "false",
        end, sizes_intact ? "true" : "false", exact, late, now_us() - start, tally_fields(&tally, fields, sizeof fields));
  free(buffer);
  return s.ok && tally.bytes >= expected ? 0 : 1;
}

static int client_half_close(int argc, char **argv) {
  int fd = connect_or_fail(argc, argv);
  long size = number_option(argc, argv, "--size", 64);
  struct sending s = {.socket = fd, .messages = 1, .size = size, .every = 1};
  send_all(&s);
  if (shutdown(fd, SHUT_WR) < 0) failed("shutdown");
  unsigned char tail[4096];
  char text[8192];
  size_t kept = 0;
  uint64_t total = 0;
  for (;;) {
    unsigned char buffer[CHUNK];
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0) failed("read");
    if (n == 0) break;
    total += (uint64_t)n;
    size_t take = (size_t)n < sizeof tail ? (size_t)n : sizeof tail;
    if (kept + take > sizeof tail) {
      size_t drop = kept + take - sizeof tail;
      memmove(tail, tail + drop, kept -= drop);
    }
    memcpy(tail + kept, buffer + (size_t)n - take, take);
    kept += take;
  }
  size_t show = kept < 64 ? kept : 64;
  event("{\"event\":\"eof\",\"bytes\":%llu,\"tail\":\"%s\"}", (unsigned long long)total, escaped(tail + kept - show, show, text, sizeof text));
  return 0;
}

static int client_read(int argc, char **argv) {
  int fd = connect_or_fail(argc, argv);
  const char *text = option(argc, argv, "--send", "");
  if (*text && send(fd, text, strlen(text), MSG_NOSIGNAL) < 0) failed("send");
  long want = number_option(argc, argv, "--bytes", -1);
  static unsigned char buffer[CHUNK];
  static struct received message;
  static struct tally tally;
  static char shown[CHUNK * 2], fields[TALLY_ROOM];
  size_t kept = 0;
  tally_start(&tally);
  tally.next = -1;
  while (want < 0 || tally.bytes < (uint64_t)want) {
    peer_receive(fd, buffer + kept, sizeof buffer - kept, &message);
    if (message.bytes < 0) failed("recvmsg");
    tally_add(&tally, &message, buffer + kept);
    peer_close_fds(&message);
    if (message.bytes == 0) break;
    kept += (size_t)message.bytes;
    if (kept == sizeof buffer) kept = 0; /* What is shown is the last piece; the counts are of all. */
  }
  event("{\"event\":\"read\",\"text\":\"%s\",\"eof\":%s,%s}", escaped(buffer, kept, shown, sizeof shown), message.bytes == 0 ? "true" : "false",
        tally_fields(&tally, fields, sizeof fields));
  return 0;
}

static int client_hold(int argc, char **argv) {
  long count = number_option(argc, argv, "--count", 1);
  const char *text = option(argc, argv, "--send", "");
  for (long i = 0; i < count; i++) {
    int fd = connect_or_fail(argc, argv);
    if (*text && send(fd, text, strlen(text), MSG_NOSIGNAL) < 0) failed("send");
  }
  event("{\"event\":\"holding\",\"connections\":%ld}", count);
  char ignored[64];
  while (read(0, ignored, sizeof ignored) > 0) {}
  return 0;
}

/* Six ways to leave: at once; after bytes; after bytes with an fd; after half a close; with the echo unread; reset by linger. */
static void leave_rudely(int fd, long way) {
  static const char bytes[64] = "rude";
  if (way >= 1) {
    int numbered = way == 2 ? peer_numbered_fd(1) : -1;
    peer_send(fd, bytes, sizeof bytes, &numbered, numbered >= 0);
    if (numbered >= 0) close(numbered);
  }
  if (way == 3) shutdown(fd, SHUT_WR);
  if (way == 4) usleep(100);
  if (way == 5) shutdown(fd, SHUT_RDWR);
  close(fd);
}

static int client_abrupt(int argc, char **argv) {
  long count = number_option(argc, argv, "--count", 100), refused = 0;
  const char *call = "", *error = "";
  for (long i = 0; i < count; i++) {
    int fd = peer_connect(argv[0], peer_socket_type(option(argc, argv, "--type", "stream")), &call);
    if (fd >= 0) leave_rudely(fd, i % 6);
    else { refused++; error = strerror(errno); }
  }
  event("{\"event\":\"done\",\"connections\":%ld,\"refused\":%ld,\"error\":\"%s\"}", count - refused, refused, error);
  return refused ? 1 : 0;
}

int main(int argc, char **argv) {
  static const struct { const char *name; int (*run)(int, char **); } commands[] = {
    {"serve", peer_serve},          {"send", client_send}, {"half-close", client_half_close},
    {"read", client_read},          {"hold", client_hold}, {"abrupt", client_abrupt}};
  if (argc < 3) peer_usage();
  signal(SIGPIPE, SIG_IGN);
  struct rlimit most;
  if (getrlimit(RLIMIT_NOFILE, &most) == 0) {
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
  }
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 2, argv + 2);
  peer_usage();
}
