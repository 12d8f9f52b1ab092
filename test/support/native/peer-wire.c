/* The test peer's sockets, numbered fds, tallies and event lines; contracts in peer.h. */
#define _GNU_SOURCE
#include "peer.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

_Noreturn void peer_usage(void) {
  fprintf(stderr, "usage: peer serve|send|half-close|read|hold|abrupt PATH [options]; see the head of peer.c\n");
  exit(2);
}

const char *option(int argc, char **argv, const char *name, const char *otherwise) {
  for (int i = 0; i + 1 < argc; i++)
    if (!strcmp(argv[i], name)) return argv[i + 1];
  return otherwise;
}

long number_option(int argc, char **argv, const char *name, long otherwise) {
  const char *text = option(argc, argv, name, NULL);
  return text ? strtol(text, NULL, 0) : otherwise;
}

int flag(int argc, char **argv, const char *name) {
  for (int i = 0; i < argc; i++)
    if (!strcmp(argv[i], name)) return 1;
  return 0;
}

int peer_socket_type(const char *name) {
  if (!strcmp(name, "stream")) return SOCK_STREAM;
  if (!strcmp(name, "seqpacket")) return SOCK_SEQPACKET;
  peer_usage();
}

/* sun_path holds 107 bytes; a longer path is reached through an fd of its directory. The fd is the caller's to close. */
static int address(const char *path, struct sockaddr_un *to) {
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  if (strlen(path) < sizeof to->sun_path) {
    strcpy(to->sun_path, path);
    return -2;
  }
  char folder[PATH_MAX], name[PATH_MAX];
  snprintf(folder, sizeof folder, "%s", path);
  snprintf(name, sizeof name, "%s", path);
  int fd = open(dirname(folder), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0 && (size_t)snprintf(to->sun_path, sizeof to->sun_path, "/proc/self/fd/%d/%s", fd, basename(name)) >= sizeof to->sun_path) {
    close(fd);
    errno = ENAMETOOLONG;
    return -1;
  }
  return fd;
}

static int open_socket(const char *path, int type, const char **failed, int (*use)(int, const struct sockaddr *, socklen_t), const char *name) {
  struct sockaddr_un to;
  int folder = address(path, &to);
  *failed = "open";
  if (folder == -1) return -1;
  *failed = "socket";
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  *failed = name;
  if (fd >= 0 && use(fd, (struct sockaddr *)&to, sizeof to) < 0) {
    int error = errno;
    close(fd);
    fd = -1;
    errno = error;
  }
  int error = errno;
  if (folder >= 0) close(folder);
  errno = error;
  return fd;
}

static int connect_call(int fd, const struct sockaddr *to, socklen_t length) { return connect(fd, to, length); }
static int bind_call(int fd, const struct sockaddr *to, socklen_t length) { return bind(fd, to, length); }

int peer_connect(const char *path, int type, const char **failed) { return open_socket(path, type, failed, connect_call, "connect"); }
int peer_bind(const char *path, int type, const char **failed) { return open_socket(path, type, failed, bind_call, "bind"); }

int peer_numbered_fd(long number) {
  char text[24];
  int fd = memfd_create("peer", MFD_CLOEXEC), length = snprintf(text, sizeof text, "peer:%ld", number);
  if (fd >= 0 && pwrite(fd, text, (size_t)length, 0) != length) abort();
  return fd;
}

static long number_of(int fd) {
  char text[25] = {0};
  if (pread(fd, text, sizeof text - 1, 0) <= 5 || strncmp(text, "peer:", 5)) return -1;
  return strtol(text + 5, NULL, 10);
}

ssize_t peer_send(int socket, const void *bytes, size_t length, const int *fds, int fd_count) {
  union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int) * MOST_FDS)]; } control;
  size_t done = 0;
  while (done < length) {
    struct iovec piece = {(char *)bytes + done, length - done};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fd_count && done == 0) {
      memset(&control, 0, sizeof control);
      message.msg_control = &control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
      struct cmsghdr *head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
      memcpy(CMSG_DATA(head), fds, sizeof(int) * (size_t)fd_count);
    }
    ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

void peer_receive(int socket, void *buffer, size_t room, struct received *into) {
  union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int) * MOST_FDS) + CMSG_SPACE(sizeof(struct ucred))]; } control;
  struct iovec piece = {buffer, room};
  struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  into->fd_count = into->has_credentials = 0;
  do into->bytes = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (into->bytes < 0 && errno == EINTR);
  into->truncated = into->bytes >= 0 && (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
  if (into->bytes < 0) return;
  for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET) continue;
    if (head->cmsg_type == SCM_RIGHTS) {
      into->fd_count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      memcpy(into->fds, CMSG_DATA(head), sizeof(int) * (size_t)into->fd_count);
    } else if (head->cmsg_type == SCM_CREDENTIALS) {
      into->has_credentials = 1;
      memcpy(&into->credentials, CMSG_DATA(head), sizeof into->credentials);
    }
  }
  for (int i = 0; i < into->fd_count; i++) into->numbers[i] = number_of(into->fds[i]);
}

void peer_close_fds(struct received *message) {
  for (int i = 0; i < message->fd_count; i++) close(message->fds[i]);
  message->fd_count = 0;
}

/* No period that a power of two divides, so that a lost or doubled page shows. */
unsigned char peer_pattern(uint64_t offset) { return (unsigned char)(offset % 251); }

void tally_start(struct tally *t) {
  memset(t, 0, offsetof(struct tally, mark));
  t->in_order = t->pattern_intact = 1;
  t->next = 1;
}

void tally_add(struct tally *t, const struct received *message, const unsigned char *bytes) {
  for (int i = 0; i < message->fd_count; i++) {
    long number = message->numbers[i];
    int follows = t->marks && t->mark[t->marks - 1].offset == t->bytes && number == t->mark[t->marks - 1].number + t->mark[t->marks - 1].count;
    if (number < 0 || (t->next >= 0 && number != t->next)) t->in_order = 0;
    t->next = number + 1;
    if (i && follows) t->mark[t->marks - 1].count++;
    else if (t->marks < MOST_MARKS) {
      t->mark[t->marks].offset = t->bytes;
      t->mark[t->marks].number = number;
      t->mark[t->marks++].count = 1;
    }
  }
  t->fds += (uint64_t)message->fd_count;
  t->truncated |= message->truncated;
  if (message->bytes <= 0) return;
  for (ssize_t i = 0; i < message->bytes && t->pattern_intact; i++)
    if (bytes[i] != peer_pattern(t->bytes + (uint64_t)i)) t->pattern_intact = 0;
  t->bytes += (uint64_t)message->bytes;
}

const char *tally_fields(const struct tally *t, char *out, size_t room) {
  size_t at = (size_t)snprintf(out, room, "\"bytes\":%llu,\"fds\":%llu,\"in_order\":%s,\"truncated\":%s,\"intact\":%s,\"runs\":[",
                               (unsigned long long)t->bytes, (unsigned long long)t->fds, t->in_order ? "true" : "false",
                               t->truncated ? "true" : "false", t->pattern_intact ? "true" : "false");
  for (size_t i = 0; i < t->marks && at + 64 < room; i++)
    at += (size_t)snprintf(out + at, room - at, "%s[%llu,%ld,%ld]", i ? "," : "", (unsigned long long)t->mark[i].offset, t->mark[i].number,
                           t->mark[i].count);
  snprintf(out + at, room - at, "]");
  return out;
}

const char *escaped(const unsigned char *text, size_t length, char *out, size_t room) {
  size_t at = 0;
  for (size_t i = 0; i < length && at + 8 < room; i++) {
    unsigned char c = text[i];
    if (c == '"' || c == '\\') at += (size_t)sprintf(out + at, "\\%c", c);
    else if (c < 0x20 || c >= 0x7f) at += (size_t)sprintf(out + at, "\\u%04x", c);
    else out[at++] = (char)c;
  }
  out[at] = 0;
  return out;
}

void event(const char *format, ...) {
  va_list args;
  char *line;
  va_start(args, format);
  int length = vasprintf(&line, format, args);
  va_end(args);
  if (length < 0) abort();
  line[length] = '\n';
  for (int done = 0; done <= length;) {
    ssize_t n = write(1, line + done, (size_t)(length + 1 - done));
    if (n < 0 && errno != EINTR) break;
    if (n > 0) done += (int)n;
  }
  free(line);
}
