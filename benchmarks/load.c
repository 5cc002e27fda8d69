/* The load generator: one thread, epoll, every byte that comes back is checked.
 *
 * usage: load messages|connects HOST PORT CONNECTIONS SIZE SECONDS
 *
 * messages: each connection sends a message, reads it back whole, and sends the next.
 * connects: each connection does that once, closes, waits until the server has closed
 *           too, and is followed by a new one; what is counted are such lives.
 *
 * HOST is in 127.0.0.0/8, as is every source address: there are many, because
 * closed connections keep their ports for a minute.
 *
 * prints: "ready" when every connection has had its first answer, from when on
 *         things count, and in the end one line of name=value: count, and, in
 *         seconds, took, cpu (its own), p50, p99, p999 (a message's, or a life's)
 * exit status: 1 when a byte was wrong or a connection lost, 2 on bad usage
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* So many connections at most wait for their first answer: no server's queue
 * overflows, which would cost its clients a second each. */
#define OPENING 100
#define SOURCES 200
#define PATIENCE 60.0

struct connection {
    int fd, waits_to_write, closing;
    size_t sent, received;
    uint64_t since;
};

static struct sockaddr_in where;
static char *message, *answer;
static size_t size;
static int poll_fd;

static uint64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(1);
}

/* The histogram: linear within each power of two, so that a value is off by 1/256 at most. */

#define FINE 7
#define SLOTS ((64 - FINE + 1) << FINE)
static uint64_t histogram[SLOTS];

static void record(uint64_t value) {
    int shift = value >> FINE ? 63 - FINE - __builtin_clzll(value) : 0;
    histogram[((uint64_t)shift << FINE) + (value >> shift)]++;
}

static double percentile(double part, uint64_t count) {
    uint64_t wanted = (uint64_t)(part * count), seen = 0;
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        seen += histogram[slot];
        if (seen <= wanted) continue;
        int shift = slot >> (FINE + 1) ? (int)(slot >> FINE) - 1 : 0;
        uint64_t low = (slot - ((uint64_t)shift << FINE)) << shift;
        return (low + ((1ull << shift) - 1) / 2.0) / 1e9;
    }
    return 0;
}

static void watch(struct connection *c, int op, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poll_fd, op, c->fd, &event) < 0) die("epoll_ctl");
    c->waits_to_write = writing;
}

static void send_more(struct connection *c) {
    while (c->sent < size) {
        ssize_t n = send(c->fd, message + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!c->waits_to_write) watch(c, EPOLL_CTL_MOD, 1);
            return;
        }
        if (n < 0) die("send");
        c->sent += n;
    }
    if (c->waits_to_write) watch(c, EPOLL_CTL_MOD, 0);
}

static void send_anew(struct connection *c, uint64_t time) {
    c->since = time;
    c->sent = c->received = 0;
    send_more(c);
}

static void open_and_send(struct connection *c) {
    static unsigned opened;
    struct sockaddr_in source = {.sin_family = AF_INET};
    int one = 1;
    uint64_t time = nanoseconds();
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 0x100 + opened++ % SOURCES);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0) die("bind");
    if (connect(c->fd, (struct sockaddr *)&where, sizeof where) < 0) die("connect");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->closing = 0;
    watch(c, EPOLL_CTL_ADD, 0);
    send_anew(c, time);
}

/* Takes what has come; whether something is finished: a message, or, of a closing connection, its life. */
static int receive(struct connection *c) {
    ssize_t n = recv(c->fd, answer, c->closing ? 1 : size - c->received, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    if (c->closing && n == 0) return 1;
    if (n <= 0) die("connection lost");
    errno = 0;
    if (c->closing || memcmp(answer, message + c->received, n)) die("wrong byte");
    c->received += n;
    return c->received == size;
}

int main(int argc, char **argv) {
    int lives = argc == 7 && !strcmp(argv[1], "connects");
    if (argc != 7 || (!lives && strcmp(argv[1], "messages"))) {
        fprintf(stderr, "usage: load messages|connects HOST PORT CONNECTIONS SIZE SECONDS\n");
        return 2;
    }
    where = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
    if (inet_pton(AF_INET, argv[2], &where.sin_addr) != 1) die("HOST must be an IPv4 address");
    int total = atoi(argv[4]);
    size = strtoul(argv[5], NULL, 10);
    double seconds = atof(argv[6]);
    if (total < 1 || size < 1 || seconds <= 0) {
        fprintf(stderr, "load: CONNECTIONS, SIZE and SECONDS must be above 0\n");
        return 2;
    }
    message = malloc(size);
    answer = malloc(size);
    for (size_t i = 0; i < size; i++) message[i] = (char)(i * 31 + 7);
    poll_fd = epoll_create1(0);
    struct connection *connections = calloc(total, sizeof *connections);

    int opened = 0, answered = 0, counting = 0;
    uint64_t count = 0, start = nanoseconds(), time = start, end = start + (uint64_t)(PATIENCE * 1e9);
    double cpu = 0;
    struct epoll_event events[1024];
    while ((time = nanoseconds()) < end) {
        while (opened < total && opened - answered < OPENING) open_and_send(&connections[opened++]);
        if (!counting && answered == total) {
            printf("ready\n");
            fflush(stdout);
            counting = 1;
            cpu = cpu_seconds();
            start = nanoseconds();
            end = start + (uint64_t)(seconds * 1e9);
            for (int i = 0; i < total; i++) {
                if (lives) close(connections[i].fd), open_and_send(&connections[i]);
                else send_anew(&connections[i], start);
            }
        }
        int ready = epoll_wait(poll_fd, events, 1024, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_more(c);
            if (!(events[i].events & ~EPOLLOUT) || !receive(c)) continue;
            if (!counting) {
                answered++;
            } else if (lives && !c->closing) {
                c->closing = 1;
                shutdown(c->fd, SHUT_WR);
            } else {
                time = nanoseconds();
                record(time - c->since);
                count++;
                if (lives) close(c->fd), open_and_send(c);
                else send_anew(c, time);
            }
        }
    }
    if (!counting) errno = ETIMEDOUT, die("some connections had no answer");
    printf("count=%lu took=%.6f cpu=%.6f p50=%.9f p99=%.9f p999=%.9f\n", (unsigned long)count,
           (nanoseconds() - start) / 1e9, cpu_seconds() - cpu, percentile(0.5, count), percentile(0.99, count),
           percentile(0.999, count));
    fflush(stdout);
    /* Closed connections are the next run's noise: who reads the line above decides when. */
    while (getchar() != EOF) {}
    return 0;
}
