/*
 * A closed-loop HTTP client on a unix socket: N keep-alive connections, one request under
 * way on each, for a number of seconds. One thread, one epoll set, so that it costs less
 * than what it measures.
 *
 * usage: http-load PATH CONNECTIONS SECONDS
 * prints: {"requests":N,"seconds":S,"p50_us":A,"p99_us":B,"errors":E}
 *
 * Latency is from before the send to after the receive of the whole answer. Times go into
 * a histogram of 0.1 us, so that memory does not depend on the run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1024, ANSWER_BYTES = 16384, BUCKETS = 1000000, BATCH = 64 };

static const char REQUEST[] =
    "GET /v1/devices/eth0/status?fields=state,addresses HTTP/1.1\r\n"
    "Host: localhost\r\n"
    "User-Agent: pvx-bench/1.0\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: identity\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef\r\n"
    "\r\n";

struct connection {
    int fd;
    uint64_t sent_at;
    size_t length;
    char answer[ANSWER_BYTES];
};

static struct connection connections[MAX_CONNECTIONS];
static uint32_t histogram[BUCKETS];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void ask(struct connection *c) {
    c->length = 0;
    c->sent_at = now_ns();
    if (send(c->fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof REQUEST - 1)) {
        perror("send");
        exit(1);
    }
}

/* Whether the answer in hand is complete; exits on anything but a 200 with a Content-Length. */
static int complete(struct connection *c) {
    c->answer[c->length] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL) return 0;
    char *length = strcasestr(c->answer, "\r\nContent-Length:");
    if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0 || length == NULL || length > end) {
        fprintf(stderr, "unexpected answer: %.200s\n", c->answer);
        exit(1);
    }
    return c->length >= (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
}

static double percentile(uint64_t total, double share) {
    uint64_t seen = 0, wanted = (uint64_t)((double)total * share);
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) return i / 10.0;
    }
    return BUCKETS / 10.0;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    if (count < 1 || count > MAX_CONNECTIONS) return 2;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
    int epoll = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        connections[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(connections[i].fd, (struct sockaddr *)&address, sizeof address) != 0) {
            perror("connect");
            return 1;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
    }
    uint64_t requests = 0, errors = 0, start = now_ns(), stop = start + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < count; i++) ask(&connections[i]);
    struct epoll_event events[BATCH];
    for (uint64_t now = start; now < stop;) {
        int n = epoll_wait(epoll, events, BATCH, 1000);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t got = recv(c->fd, c->answer + c->length, ANSWER_BYTES - 1 - c->length, 0);
            if (got <= 0) {
                fprintf(stderr, "the peer closed: %s\n", got < 0 ? strerror(errno) : "end");
                return 1;
            }
            c->length += (size_t)got;
            if (!complete(c)) continue;
            now = now_ns();
            uint64_t took = (now - c->sent_at) / 100;
            histogram[took < BUCKETS ? took : BUCKETS - 1]++;
            requests++;
            ask(c);
        }
        if (n == 0) {
            errors++;
            now = now_ns();
        }
    }
    double ran = (double)(now_ns() - start) / 1e9;
    printf("{\"requests\":%llu,\"seconds\":%.3f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"errors\":%llu}\n",
           (unsigned long long)requests, ran, percentile(requests, 0.5), percentile(requests, 0.99),
           (unsigned long long)errors);
    return 0;
}
