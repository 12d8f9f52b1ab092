/*
 * hostile: what a container may do to the daemon that plants things in it. Static; runs inside.
 *
 *   hostile mute DIR        mounts FUSE on DIR and never reads a request: who walks there waits until killed
 *   hostile deaf DIR        the same, but reads every request and answers none: who walks there can't even be killed
 *   hostile slow DIR MS TO  the same, but answers: each name is a link to TO, and each question for one takes MS milliseconds
 *   hostile swap A B        exchanges A and B all the time
 *   hostile take DIR FILE   exchanges FILE with every temporary name (.pvx-...) that it sees in DIR
 *   hostile deep DIR FILE   the same, with what it finds inside of the directories of such names
 *   hostile block PATH FILE moves FILE to PATH when nothing is there, and back
 *
 * Prints "ready", then goes on until killed. /dev/fuse must be there for the first three.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void die(const char *what) {
  fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void ready(void) {
  puts("ready");
  fflush(stdout);
}

static void fuse(const char *dir, int deaf) {
  char options[128];
  int fd = open("/dev/fuse", O_RDWR);
  if (fd < 0) die("open /dev/fuse");
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
  if (mount("hostile", dir, "fuse", 0, options) < 0) die("mount fuse");
  if (!deaf) {
    ready();
    for (;;) pause();
  }
  static char request[1 << 20];
  for (int first = 1;; first = 0) {
    ssize_t n = read(fd, request, sizeof request);
    if (n < 0 && errno != EINTR && errno != ENOENT) die("read /dev/fuse");
    if (!first || n < 0) continue;
    struct fuse_in_header *in = (void *)request;
    struct { struct fuse_out_header header; struct fuse_init_out init; } out = {0};
    struct fuse_init_in *init = (void *)(in + 1);
    out.header.len = sizeof out;
    out.header.unique = in->unique;
    out.init.major = FUSE_KERNEL_VERSION;
    out.init.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor : FUSE_KERNEL_MINOR_VERSION;
    out.init.max_write = 65536;
    out.init.max_background = 16;
    if (write(fd, &out, sizeof out) < 0) die("answer FUSE_INIT");
    ready();
  }
}

static void answer(int fd, uint64_t unique, int error, const void *body, size_t size) {
  char out[sizeof(struct fuse_out_header) + 512];
  struct fuse_out_header header = {.len = sizeof header + (error ? 0 : size), .error = error, .unique = unique};
  memcpy(out, &header, sizeof header);
  if (!error) memcpy(out + sizeof header, body, size);
  /* ENOENT: who asked was killed meanwhile. */
  if (write(fd, out, header.len) < 0 && errno != ENOENT) die("answer");
}

static void slow(const char *dir, int ms, const char *to) {
  static char request[1 << 20];
  char options[128];
  int fd = open("/dev/fuse", O_RDWR);
  if (fd < 0) die("open /dev/fuse");
  snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
  if (mount("hostile", dir, "fuse", 0, options) < 0) die("mount fuse");
  for (;;) {
    if (read(fd, request, sizeof request) < 0) continue;
    struct fuse_in_header *in = (void *)request;
    struct fuse_init_in *init = (void *)(in + 1);
    struct fuse_init_out made = {.major = FUSE_KERNEL_VERSION, .max_write = 65536, .max_background = 16};
    /* Nothing of it may be cached: no times of validity. */
    struct fuse_entry_out entry = {.nodeid = 2, .attr = {.ino = 2, .mode = S_IFLNK | 0777, .nlink = 1}};
    struct fuse_attr_out attr = {.attr = {.ino = in->nodeid, .mode = in->nodeid == 1 ? S_IFDIR | 0755 : S_IFLNK | 0777, .nlink = 1}};
    switch (in->opcode) {
      case FUSE_INIT:
        made.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor : FUSE_KERNEL_MINOR_VERSION;
        answer(fd, in->unique, 0, &made, sizeof made);
        ready();
        break;
      case FUSE_LOOKUP:
        usleep((useconds_t)ms * 1000);
        answer(fd, in->unique, 0, &entry, sizeof entry);
        break;
      case FUSE_GETATTR: answer(fd, in->unique, 0, &attr, sizeof attr); break;
      case FUSE_READLINK: answer(fd, in->unique, 0, to, strlen(to)); break;
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT: break;
      default: answer(fd, in->unique, -ENOSYS, 0, 0);
    }
  }
}

static void swap(const char *a, const char *b) {
  ready();
  /* Without a pause the kernel's own path walk starts again and again (fs/dcache.c, d_alloc_parallel), and that is all there is to see. */
  for (;; usleep((useconds_t)(rand() % 40)))
    if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0 && errno != ENOENT) die("exchange");
}

static void take(const char *dir, const char *file) {
  char path[512];
  ready();
  for (;;) {
    DIR *d = opendir(dir);
    if (!d) continue;
    for (struct dirent *e; (e = readdir(d));) {
      if (strncmp(e->d_name, ".pvx-", 5)) continue;
      snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
      renameat2(AT_FDCWD, file, AT_FDCWD, path, RENAME_EXCHANGE);
    }
    closedir(d);
  }
}

static void block(const char *path, const char *file) {
  ready();
  for (;;) {
    if (renameat2(AT_FDCWD, file, AT_FDCWD, path, RENAME_NOREPLACE) < 0) continue;
    usleep(50);
    renameat2(AT_FDCWD, path, AT_FDCWD, file, RENAME_NOREPLACE);
    usleep(50);
  }
}

static void deep(const char *dir, const char *file) {
  int top = open(dir, O_RDONLY | O_DIRECTORY);
  ready();
  for (;;) {
    DIR *d = opendir(dir);
    if (!d) continue;
    for (struct dirent *e; (e = readdir(d));) {
      if (strncmp(e->d_name, ".pvx-", 5)) continue;
      int nook = openat(top, e->d_name, O_RDONLY | O_DIRECTORY);
      if (nook < 0) continue;
      DIR *inside = fdopendir(nook);
      for (int i = 0; i < 50; i++, rewinddir(inside))
        for (struct dirent *o; (o = readdir(inside));)
          if (o->d_name[0] != '.') renameat2(AT_FDCWD, file, nook, o->d_name, RENAME_EXCHANGE);
      closedir(inside);
    }
    closedir(d);
  }
}

int main(int argc, char **argv) {
  const char *mode = argc > 2 ? argv[1] : "";
  if (!strcmp(mode, "mute")) fuse(argv[2], 0);
  if (!strcmp(mode, "deaf")) fuse(argv[2], 1);
  if (argc < 4) return 2;
  if (!strcmp(mode, "slow") && argc > 4) slow(argv[2], atoi(argv[3]), argv[4]);
  if (!strcmp(mode, "swap")) swap(argv[2], argv[3]);
  if (!strcmp(mode, "take")) take(argv[2], argv[3]);
  if (!strcmp(mode, "deep")) deep(argv[2], argv[3]);
  if (!strcmp(mode, "block")) block(argv[2], argv[3]);
  return 2;
}
