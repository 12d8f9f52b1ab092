/*
 * What both halves of the test peer share: numbered fds, receiving with ancillary data, event lines.
 *
 * An fd that the peer sends is a memfd that holds a number in decimal. Whoever receives it can tell
 * which one it is, so "all of them, in order, at their place" is something that can be checked.
 */
#ifndef PEER_H
#define PEER_H
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define MOST_FDS 253        /* SCM_MAX_FD: the kernel takes no more in one message (unix(7)). */
#define MOST_MARKS 4096     /* Runs of fds that are remembered for each connection. */
#define CHUNK (64 * 1024)

/* One received message. `numbers` are those of peer_number; -1 for an fd that is not one of ours. */
struct received {
  ssize_t bytes;              /* as recvmsg(2): 0 at the end, -1 with errno */
  int fd_count, truncated;    /* truncated: MSG_CTRUNC or MSG_TRUNC was set */
  int fds[MOST_FDS];
  long numbers[MOST_FDS];
  int has_credentials;
  struct { pid_t pid; uid_t uid; gid_t gid; } credentials;
};

/* What arrived on one connection: how much, which fds and at which byte. */
struct tally {
  uint64_t bytes, fds;
  int in_order, truncated, pattern_intact;
  long next;                                        /* the number that must come next; -1: any */
  size_t marks;
  /* A run: `count` fds numbered from `number` on that came with the byte at `offset`. */
  struct { uint64_t offset; long number, count; } mark[MOST_MARKS];
};

int peer_socket_type(const char *name);                             /* "stream" | "seqpacket" */
int peer_connect(const char *path, int type, const char **failed);  /* fd, or -1: errno and the call's name */
int peer_bind(const char *path, int type, const char **failed);
int peer_numbered_fd(long number);
ssize_t peer_send(int socket, const void *bytes, size_t length, const int *fds, int fd_count);
void peer_receive(int socket, void *buffer, size_t room, struct received *into);
void peer_close_fds(struct received *message);

void tally_start(struct tally *tally);
void tally_add(struct tally *tally, const struct received *message, const unsigned char *bytes);
/* Byte `offset` of the test pattern. */
unsigned char peer_pattern(uint64_t offset);

/* One line of JSON on standard output in one write(2), so that lines of several threads never mix. */
void event(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* `text` as the inside of a JSON string, cut at `room`. */
const char *escaped(const unsigned char *text, size_t length, char *out, size_t room);
#define TALLY_ROOM (MOST_MARKS * 40)
/* The fields of a tally: "bytes":..,"fds":..,"in_order":..,...,"runs":[[offset,number,count],...] */
const char *tally_fields(const struct tally *tally, char *out, size_t room);

_Noreturn void peer_usage(void);
/* Value of `--name` in argv, or `otherwise`. */
const char *option(int argc, char **argv, const char *name, const char *otherwise);
long number_option(int argc, char **argv, const char *name, long otherwise);
int flag(int argc, char **argv, const char *name);

int peer_serve(int argc, char **argv);
#endif
