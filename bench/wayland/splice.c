/*
 * splice TARGET SOCKET: what a relay costs that looks at nothing: each connection at TARGET is
 * joined to one at SOCKET, bytes and fds as they come. One thread, epoll, no queues: where a
 * peer does not take what came, it waits for that peer. For comparison in bench/wayland only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS 253
#define MOST 4096

static int peer_of[MOST];

static int address_of(const char *path, struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address->sun_path) return -1;
  strcpy(address->sun_path, path);
  return 0;
}

static void fail(const char *what) {
  fprintf(stderr, "splice: cannot %s: %s\n", what, strerror(errno));
  exit(1);
}

/* One receive and its sends. 0: the connection has ended. */
static int pump(int from, int to) {
  static uint8_t bytes[256 * 1024];
  static union { struct cmsghdr align; char room[CMSG_SPACE(FDS * sizeof(int))]; } control;
  struct iovec iov = {bytes, sizeof bytes};
  struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  ssize_t n = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && errno == EAGAIN) return 1;
  if (n <= 0) return 0;
  int fds[FDS], count = 0;
  struct cmsghdr *c = message.msg_controllen > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (c != NULL && c->cmsg_type == SCM_RIGHTS) {
    count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(c), (size_t)count * sizeof(int));
  }
  if (count == 0) message.msg_control = NULL, message.msg_controllen = 0;
  for (size_t done = 0; done < (size_t)n;) {
    iov = (struct iovec){bytes + done, (size_t)n - done};
    ssize_t sent = sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN) {
      poll(&(struct pollfd){to, POLLOUT, 0}, 1, 1000);
      continue;
    }
    if (sent < 0) return 0;
    done += (size_t)sent;
    message.msg_control = NULL;
    message.msg_controllen = 0;
  }
  for (int i = 0; i < count; i++) close(fds[i]);
  return 1;
}

int main(int argc, char **argv) {
  struct sockaddr_un own, provider;
  if (argc != 3 || address_of(argv[1], &own) < 0 || address_of(argv[2], &provider) < 0) {
    fprintf(stderr, "usage: splice TARGET SOCKET\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  unlink(argv[1]);
  if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof own) < 0 || listen(listener, 64) < 0) fail("listen");
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
  puts("listening");
  fflush(stdout);
  for (;;) {
    struct epoll_event ready[64];
    int n = epoll_wait(epoll, ready, 64, -1);
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      if (fd == listener) {
        int down = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        int up = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (down < 0 || up < 0 || down >= MOST || up >= MOST || connect(up, (struct sockaddr *)&provider, sizeof provider) < 0) {
          close(down);
          close(up);
          continue;
        }
        peer_of[down] = up;
        peer_of[up] = down;
        epoll_ctl(epoll, EPOLL_CTL_ADD, down, &(struct epoll_event){.events = EPOLLIN, .data.fd = down});
        epoll_ctl(epoll, EPOLL_CTL_ADD, up, &(struct epoll_event){.events = EPOLLIN, .data.fd = up});
      } else if (peer_of[fd] != 0 && !pump(fd, peer_of[fd])) {
        int other = peer_of[fd];
        peer_of[fd] = peer_of[other] = 0;
        close(fd);
        close(other);
      }
    }
  }
}
