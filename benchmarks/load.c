/* A closed-loop echo load generator: each connection sends a message, reads it
 * back whole, checks it, sends the next. One thread, epoll.
 *
 * usage: load HOST PORT CONNECTIONS SIZE SECONDS
 * prints: messages seconds cpu_seconds
 * exit status: 1 when a byte was wrong or a connection lost, 2 on bad usage
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct connection {
    int fd, waits_to_write;
    size_t sent, received;
};

static char *message, *answer;
static size_t size;
static int poll_fd;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(1);
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

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: load HOST PORT CONNECTIONS SIZE SECONDS\n");
        return 2;
    }
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &where.sin_addr) != 1) die("HOST must be an IPv4 address");
    int count = atoi(argv[3]);
    size = strtoul(argv[4], NULL, 10);
    double seconds = atof(argv[5]);
    message = malloc(size);
    answer = malloc(size);
    for (size_t i = 0; i < size; i++) message[i] = (char)(i * 31 + 7);

    poll_fd = epoll_create1(0);
    struct connection *connections = calloc(count, sizeof *connections);
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&where, sizeof where) < 0) die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        watch(c, EPOLL_CTL_ADD, 0);
    }

    unsigned long messages = 0;
    double start = now();
    for (int i = 0; i < count; i++) send_more(&connections[i]);
    struct epoll_event events[1024];
    while (now() - start < seconds) {
        int ready = epoll_wait(poll_fd, events, 1024, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_more(c);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            ssize_t n = recv(c->fd, answer, size - c->received, 0);
            if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) continue;
            if (n <= 0) die("connection lost");
            errno = 0;
            if (memcmp(answer, message + c->received, n)) die("wrong byte");
            c->received += n;
            if (c->received == size) {
                messages++;
                c->sent = c->received = 0;
                send_more(c);
            }
        }
    }
    double took = now() - start;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("%lu %.6f %.6f\n", messages, took, cpu);
    return 0;
}
