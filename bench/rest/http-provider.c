/*
 * The smallest HTTP provider on a unix socket that keeps connections: answers every head
 * with the same 200. One thread, one epoll set.
 *
 * usage: http-provider PATH [--verify]
 * With --verify a head without exactly one X-PV-Client is answered with 400, so that a run
 * can first prove that the identity is there.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEAD_BYTES = 16384, BATCH = 64 };

static const char OK[] =
    "HTTP/1.1 200 OK\r\n"
    "Server: pvx-bench\r\n"
    "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 120\r\n"
    "\r\n"
    "{\"state\":\"up\",\"addresses\":[\"192.0.2.17/24\",\"2001:db8::17/64\"],\"speed\":1000,"
    "\"duplex\":\"full\",\"counters\":{\"rx\":18,\"tx\":17}}";
static const char BAD[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

struct connection {
    int fd;
    size_t length;
    char head[HEAD_BYTES];
};

static int verified(const char *head) {
    const char *first = strcasestr(head, "\r\nX-PV-Client: ");
    return first != NULL && strcasestr(first + 2, "\r\nX-PV-Client: ") == NULL;
}

static int serve(struct connection *c, int verify) {
    ssize_t got = recv(c->fd, c->head + c->length, HEAD_BYTES - 1 - c->length, 0);
    if (got <= 0) return -1;
    c->length += (size_t)got;
    c->head[c->length] = 0;
    char *end;
    while ((end = strstr(c->head, "\r\n\r\n")) != NULL) {
        int good = !verify || verified(c->head);
        if (send(c->fd, good ? OK : BAD, good ? sizeof OK - 1 : sizeof BAD - 1, MSG_NOSIGNAL) < 0 || !good) return -1;
        size_t used = (size_t)(end + 4 - c->head);
        memmove(c->head, c->head + used, c->length - used + 1);
        c->length -= used;
    }
    return c->length == HEAD_BYTES - 1 ? -1 : 0;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int verify = argc > 2 && strcmp(argv[2], "--verify") == 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
    unlink(argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0) {
        perror("bind");
        return 1;
    }
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    struct epoll_event events[BATCH];
    for (;;) {
        int n = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) {
                c = calloc(1, sizeof *c);
                c->fd = accept(listener, NULL, NULL);
                event.data.ptr = c;
                epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
            } else if (serve(c, verify) < 0) {
                close(c->fd);
                free(c);
            }
        }
    }
}
