/*
 * wayland-load: a Wayland client that asks as fast as it is answered, by the raw protocol, so that
 * what is measured is the compositor and what stands before it.
 *
 *   wayland-load sync PATH SECONDS     wl_display.sync round trips: a second, and p50 and p99 in microseconds
 *   wayland-load frames PATH SECONDS   frames of a wl_shm client, each from a pool of its own (one fd a
 *                                      frame): pool, buffer, attach, damage, commit, sync: frames a second
 *
 * One line of JSON. Opcodes: wayland.xml, xdg-shell.xml.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SIDE 64                         /* Pixels: the figure is about messages, not about copying. */
#define FRAME_BYTES (SIDE * SIDE * 4)
#define SAMPLES 4000000
#define ANSWER_SECONDS 10               /* Longest wait for one answer: past that the thing measured is broken. */

enum { DISPLAY = 1, REGISTRY = 2, CALLBACK = 3, COMPOSITOR = 4, SHM = 5, WM_BASE = 6, SURFACE = 7, XDG_SURFACE = 8,
       TOPLEVEL = 9, POOL = 10, BUFFER = 11 };

static int sock;
static uint8_t in[1 << 16];
static size_t have;
static uint32_t names[3];               /* wl_compositor, wl_shm, xdg_wm_base */
static int configured, deleted[BUFFER + 1];

static _Noreturn void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "wayland-load: cannot ");
  vfprintf(stderr, format, args);
  fprintf(stderr, "\n");
  va_end(args);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- sending: requests gather here until one write --- */

static uint8_t out[4096];
static size_t out_len;

static void put(uint32_t word) {
  memcpy(out + out_len, &word, 4);
  out_len += 4;
}
static void request(uint32_t id, uint32_t opcode, int words, ...) {
  va_list args;
  put(id);
  put((uint32_t)(8 + 4 * words) << 16 | opcode);
  va_start(args, words);
  for (int i = 0; i < words; i++) put(va_arg(args, uint32_t));
  va_end(args);
}
static void bind_global(uint32_t name, const char *interface, uint32_t version, uint32_t id) {
  uint32_t length = (uint32_t)strlen(interface) + 1, padded = (length + 3) & ~3u;
  put(REGISTRY);
  put((8 + 4 + 4 + padded + 8) << 16);
  put(name);
  put(length);
  memset(out + out_len, 0, padded);
  memcpy(out + out_len, interface, length);
  out_len += padded;
  put(version);
  put(id);
}
static void flush_with(int fd) {
  struct iovec iov = {out, out_len};
  union { struct cmsghdr header; char bytes[CMSG_SPACE(sizeof(int))]; } control;
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  }
  if (sendmsg(sock, &message, MSG_NOSIGNAL) != (ssize_t)out_len) die("send: %s", strerror(errno));
  out_len = 0;
}

/* --- receiving --- */

static uint32_t word(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
}

/* Whether it was the answer to a sync. */
static int event(const uint8_t *m, uint32_t size) {
  uint32_t id = word(m), opcode = word(m + 4) & 0xffff;
  if (id == DISPLAY && opcode == 0) die("go on: wl_display.error on %u: %.*s", word(m + 8), (int)(size - 20), (const char *)m + 20);
  if (id == DISPLAY && opcode == 1 && word(m + 8) <= BUFFER) deleted[word(m + 8)] = 1;
  if (id == REGISTRY && opcode == 0) {
    static const char *wanted[] = {"wl_compositor", "wl_shm", "xdg_wm_base"};
    for (int i = 0; i < 3; i++)
      if (strcmp((const char *)m + 16, wanted[i]) == 0) names[i] = word(m + 8);
  }
  if (id == WM_BASE && opcode == 0) request(WM_BASE, 3, 1, word(m + 8));
  if (id == XDG_SURFACE && opcode == 0) {
    request(XDG_SURFACE, 4, 1, word(m + 8));
    configured = 1;
  }
  return id == CALLBACK && opcode == 0;
}

/* Reads once; whether a sync was answered meanwhile. */
static int receive(void) {
  ssize_t n = recv(sock, in + have, sizeof in - have, 0);
  if (n <= 0) die("receive: %s", n == 0 ? "closed" : strerror(errno));
  have += (size_t)n;
  size_t at = 0;
  int answered = 0;
  while (have - at >= 8 && have - at >= word(in + at + 4) >> 16) {
    uint32_t size = word(in + at + 4) >> 16;
    if (size < 8) die("read a message of %u bytes", size);
    answered |= event(in + at, size);
    at += size;
  }
  memmove(in, in + at, have - at);
  have -= at;
  return answered;
}

/* Sends what is gathered and a sync behind it, and waits until that is answered and the callback's id is free again. */
static void sync_with(int fd) {
  deleted[CALLBACK] = 0;
  request(DISPLAY, 0, 1, CALLBACK);
  flush_with(fd);
  int answered = 0;
  while (!answered || !deleted[CALLBACK]) answered |= receive();
}

static void connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) die("connect to %s: the path is too long", path);
  strcpy(address.sun_path, path);
  sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof address) < 0) die("connect to %s: %s", path, strerror(errno));
  struct timeval limit = {.tv_sec = ANSWER_SECONDS};
  setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  request(DISPLAY, 1, 1, REGISTRY);
  sync_with(-1);
}

static void make_window(void) {
  for (int i = 0; i < 3; i++)
    if (names[i] == 0) die("make a window: the compositor lacks wl_compositor, wl_shm or xdg_wm_base");
  bind_global(names[0], "wl_compositor", 1, COMPOSITOR);
  bind_global(names[1], "wl_shm", 1, SHM);
  bind_global(names[2], "xdg_wm_base", 1, WM_BASE);
  request(COMPOSITOR, 0, 1, SURFACE);
  request(WM_BASE, 2, 2, XDG_SURFACE, SURFACE);
  request(XDG_SURFACE, 1, 1, TOPLEVEL);
  request(SURFACE, 6, 0);
  sync_with(-1);
  while (!configured) receive();
}

/* One frame from a pool of its own; its ids are free again when it returns. */
static void frame(int memory) {
  deleted[POOL] = deleted[BUFFER] = 0;
  request(SHM, 0, 2, POOL, FRAME_BYTES);
  request(POOL, 0, 6, BUFFER, 0, SIDE, SIDE, SIDE * 4, 1);
  request(SURFACE, 1, 3, BUFFER, 0, 0);
  request(SURFACE, 2, 4, 0, 0, SIDE, SIDE);
  request(SURFACE, 6, 0);
  request(BUFFER, 0, 0);
  request(POOL, 1, 0);
  sync_with(memory);
  while (!deleted[POOL] || !deleted[BUFFER]) receive();
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  int frames = argc == 4 && strcmp(argv[1], "frames") == 0;
  double seconds = argc == 4 ? atof(argv[3]) : 0;
  if (argc != 4 || seconds <= 0 || (!frames && strcmp(argv[1], "sync") != 0)) {
    fprintf(stderr, "usage: wayland-load sync|frames PATH SECONDS\n");
    return 2;
  }
  connect_to(argv[2]);
  int memory = -1;
  if (frames) {
    make_window();
    memory = memfd_create("frame", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, FRAME_BYTES) < 0) die("make a frame: %s", strerror(errno));
  }
  float *samples = malloc(SAMPLES * sizeof *samples);
  if (samples == NULL) die("allocate %d samples", SAMPLES);
  size_t count = 0;
  double begin = now(), last = begin;
  while (last - begin < seconds && count < SAMPLES) {
    if (frames) frame(memory);
    else sync_with(-1);
    double t = now();
    samples[count++] = (float)((t - last) * 1e6);
    last = t;
  }
  qsort(samples, count, sizeof *samples, by_size);
  printf("{\"per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", (double)count / (last - begin),
         (double)samples[count / 2], (double)samples[count * 99 / 100]);
  return 0;
}
