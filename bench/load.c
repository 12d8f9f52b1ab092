/*
 * load: both ends of the benchmarks, in C so that what is measured is what stands between them.
 *
 * Ends that answer (until standard input ends):
 *   load serve PATH echo      gives back what it gets; one thread, epoll
 *   load serve PATH sink      reads and drops; at the end of a connection sends the count as 8 bytes
 *   load serve PATH endless   writes as fast as each connection takes it
 *
 * Ends that ask; each prints one line of JSON:
 *   load rtt PATH SECONDS             one connection, 64 bytes there and back: p50 and p99 in microseconds
 *   load msgs PATH SECONDS N          N connections, one message of 64 bytes in flight on each: messages a second
 *   load stream PATH SECONDS          one direction into a sink: GB a second until the sink has counted them all
 *   load conns PATH SECONDS N         N threads connect, echo one byte, close: connections a second
 *   load idle PATH N                  N connections, one byte echoed on each; then held until standard input ends
 *   load never-read PATH N            N connections to an endless end, never read; held the same way
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64
#define BLOCK (256 * 1024)
#define SAMPLES 4000000
#define ANSWER_SECONDS 20 /* Longest wait for one answer: past that the thing measured is broken. */

static _Noreturn void die(const char *format, ...) {
  int error = errno;
  va_list args;
  va_start(args, format);
  fprintf(stderr, "load: cannot ");
  vfprintf(stderr, format, args);
  fprintf(stderr, ": %s\n", strerror(error));
  va_end(args);
  exit(1);
}

static _Noreturn void usage(void) {
  fprintf(stderr, "usage: load serve PATH echo|sink|endless | load rtt|msgs|stream|conns PATH SECONDS [N] | load idle|never-read PATH N\n");
  exit(2);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_un address(const char *path) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof to.sun_path) {
    errno = ENAMETOOLONG;
    die("use %s", path);
  }
  strcpy(to.sun_path, path);
  return to;
}

static int connect_to(const char *path) {
  struct sockaddr_un to = address(path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval wait = {ANSWER_SECONDS, 0};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) < 0)
    die("make a socket");
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect to %s", path);
  return fd;
}

static void read_exactly(int fd, void *into, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t n = read(fd, (char *)into + done, length - done);
    if (n == 0) errno = ECONNRESET;
    if (n <= 0) die("read an answer");
    done += (size_t)n;
  }
}

static void write_exactly(int fd, const void *from, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t n = send(fd, (const char *)from + done, length - done, MSG_NOSIGNAL);
    if (n < 0) die("write");
    done += (size_t)n;
  }
}

/* --- ends that answer ---------------------------------------------------------------------- */

struct connection {
  int fd;
  uint64_t count;
  size_t start, end; /* Of `held`, the echo that the other side has not taken yet. */
  char held[];
};

static char block[BLOCK];

static void close_connection(struct connection *c) {
  close(c->fd);
  free(c);
}

/* Takes what is there and gives it back. Returns 0 when the connection is over. */
static int echo_some(struct connection *c, int epoll) {
  for (;;) {
    if (c->start == c->end) {
      ssize_t n = read(c->fd, c->held, BLOCK / 4);
      if (n < 0 && errno == EAGAIN) return 1;
      if (n <= 0) return 0;
      c->start = 0;
      c->end = (size_t)n;
    }
    ssize_t n = send(c->fd, c->held + c->start, c->end - c->start, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return 0;
    if (n > 0) c->start += (size_t)n;
    int waiting = c->start < c->end;
    struct epoll_event want = {.events = waiting ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (waiting || n < 0) {
      epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &want);
      c->count = 1; /* Interest is in writing. */
      return 1;
    }
    if (c->count) {
      epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &want);
      c->count = 0;
    }
    if ((size_t)n < BLOCK / 4) return 1; /* Level-triggered: what else there is comes again. */
  }
}

static int sink_some(struct connection *c) {
  ssize_t n = read(c->fd, block, sizeof block);
  if (n < 0) return errno == EAGAIN;
  if (n == 0) {
    send(c->fd, &c->count, sizeof c->count, MSG_NOSIGNAL);
    return 0;
  }
  c->count += (uint64_t)n;
  return 1;
}

static int write_some(struct connection *c) {
  for (;;) {
    ssize_t n = send(c->fd, block, sizeof block / 4, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
  }
}

static int serve(const char *path, const char *mode) {
  int echo = !strcmp(mode, "echo"), endless = !strcmp(mode, "endless");
  if (!echo && !endless && strcmp(mode, "sink")) usage();
  struct sockaddr_un at = address(path);
  unlink(path);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
  if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 4096) < 0) die("listen at %s", path);
  static int standard_input;
  struct epoll_event in = {.events = EPOLLIN, .data.ptr = &listener}, end = {.events = EPOLLIN, .data.ptr = &standard_input}, got[256];
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &in) < 0) die("watch the listener");
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &end) < 0) die("watch standard input (a pipe is wanted)");
  puts("{\"listening\":true}");
  fflush(stdout);
  for (;;) {
    int count = epoll_wait(epoll, got, 256, -1);
    for (int i = 0; i < count; i++) {
      if (got[i].data.ptr == &standard_input) {
        if (read(0, block, sizeof block) <= 0) return 0;
        continue;
      }
      if (got[i].data.ptr == &listener) {
        int fd;
        for (int batch = 0; batch < 64 && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0; batch++) {
          struct connection *c = calloc(1, sizeof *c + (echo ? BLOCK / 4 : 0));
          c->fd = fd;
          struct epoll_event want = {.events = endless ? EPOLLOUT : EPOLLIN, .data.ptr = c};
          if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &want) < 0) close_connection(c);
        }
        continue;
      }
      struct connection *c = got[i].data.ptr;
      if (!(echo ? echo_some(c, epoll) : endless ? write_some(c) : sink_some(c))) close_connection(c);
    }
  }
}

/* --- ends that ask ------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static int rtt(const char *path, double seconds) {
  uint32_t *samples = malloc(SAMPLES * sizeof *samples);
  char message[MESSAGE] = {0};
  int fd = connect_to(path);
  size_t count = 0;
  for (int warm = 0; warm < 200; warm++) {
    write_exactly(fd, message, MESSAGE);
    read_exactly(fd, message, MESSAGE);
  }
  for (double begin = now(), before = begin; before - begin < seconds && count < SAMPLES; count++) {
    write_exactly(fd, message, MESSAGE);
    read_exactly(fd, message, MESSAGE);
    double after = now();
    samples[count] = (uint32_t)((after - before) * 1e9);
    before = after;
  }
  qsort(samples, count, sizeof *samples, compare);
  printf("{\"p50_us\":%.2f,\"p99_us\":%.2f,\"count\":%zu}\n", samples[count / 2] / 1e3, samples[count * 99 / 100] / 1e3, count);
  return 0;
}

static int msgs(const char *path, double seconds, int connections) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  char message[MESSAGE] = {0};
  for (int i = 0; i < connections; i++) {
    int fd = connect_to(path);
    struct epoll_event want = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &want) < 0) die("watch a connection");
    write_exactly(fd, message, MESSAGE);
  }
  uint64_t count = 0;
  double begin = now(), end = begin;
  for (struct epoll_event got[256]; end - begin < seconds; end = now()) {
    int n = epoll_wait(epoll, got, 256, ANSWER_SECONDS * 1000);
    if (n <= 0) die("get an answer");
    for (int i = 0; i < n; i++) {
      read_exactly(got[i].data.fd, message, MESSAGE);
      write_exactly(got[i].data.fd, message, MESSAGE);
    }
    count += (uint64_t)n;
  }
  printf("{\"per_second\":%.0f,\"count\":%llu}\n", (double)count / (end - begin), (unsigned long long)count);
  return 0;
}

static int stream(const char *path, double seconds) {
  int fd = connect_to(path);
  uint64_t sent = 0, counted = 0;
  double begin = now();
  while (now() - begin < seconds) {
    write_exactly(fd, block, sizeof block);
    sent += sizeof block;
  }
  shutdown(fd, SHUT_WR);
  read_exactly(fd, &counted, sizeof counted);
  double took = now() - begin;
  if (counted != sent) {
    fprintf(stderr, "load: sent %llu bytes, the sink counted %llu\n", (unsigned long long)sent, (unsigned long long)counted);
    return 1;
  }
  printf("{\"gb_per_second\":%.3f,\"bytes\":%llu}\n", (double)sent / took / 1e9, (unsigned long long)sent);
  return 0;
}

struct connecting { const char *path; double until; uint64_t count; };

static void *connect_repeatedly(void *argument) {
  struct connecting *work = argument;
  char byte = 'x';
  while (now() < work->until) {
    int fd = connect_to(work->path);
    write_exactly(fd, &byte, 1);
    read_exactly(fd, &byte, 1);
    close(fd);
    work->count++;
  }
  return NULL;
}

static int conns(const char *path, double seconds, int threads) {
  pthread_t thread[64];
  struct connecting work[64];
  if (threads > 64) usage();
  double begin = now();
  for (int i = 0; i < threads; i++) {
    work[i] = (struct connecting){path, begin + seconds, 0};
    if (pthread_create(&thread[i], NULL, connect_repeatedly, &work[i])) die("start a thread");
  }
  uint64_t count = 0;
  for (int i = 0; i < threads; i++) {
    pthread_join(thread[i], NULL);
    count += work[i].count;
  }
  printf("{\"per_second\":%.0f,\"count\":%llu}\n", (double)count / (now() - begin), (unsigned long long)count);
  return 0;
}

static int hold(const char *path, int connections, int echo) {
  char byte = 'x';
  for (int i = 0; i < connections; i++) {
    int fd = connect_to(path);
    if (!echo) continue;
    write_exactly(fd, &byte, 1);
    read_exactly(fd, &byte, 1);
  }
  printf("{\"holding\":%d}\n", connections);
  fflush(stdout);
  while (read(0, &byte, 1) > 0) {}
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) usage();
  signal(SIGPIPE, SIG_IGN);
  struct rlimit most;
  if (getrlimit(RLIMIT_NOFILE, &most) == 0) {
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
  }
  const char *what = argv[1], *path = argv[2];
  double seconds = atof(argv[3]);
  int number = atoi(argc > 4 ? argv[4] : argv[3]);
  if (!strcmp(what, "serve")) return serve(path, argv[3]);
  if (seconds <= 0) usage();
  if (!strcmp(what, "rtt")) return rtt(path, seconds);
  if (!strcmp(what, "stream")) return stream(path, seconds);
  if (number < 1) usage();
  if (!strcmp(what, "msgs") && argc > 4) return msgs(path, seconds, number);
  if (!strcmp(what, "conns") && argc > 4) return conns(path, seconds, number);
  if (!strcmp(what, "idle")) return hold(path, number, 1);
  if (!strcmp(what, "never-read")) return hold(path, number, 0);
  usage();
}
