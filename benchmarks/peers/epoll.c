/* The limit: an echo server with nothing in it but epoll, read and write. Level-triggered, one thread.
 *
 * usage: epoll PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd;
    char *rest; /* what the socket did not take; while there is any, nothing is read */
    size_t length, sent;
};

static int poll_fd;
static char buffer[256 * 1024];

static void watch(struct connection *c, int op, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poll_fd, op, c->fd, &event) < 0) perror("epoll_ctl"), exit(1);
}

static void end(struct connection *c) {
    close(c->fd);
    free(c->rest);
    free(c);
}

static void write_rest(struct connection *c) {
    ssize_t n = send(c->fd, c->rest + c->sent, c->length - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        end(c);
        return;
    }
    if (n > 0) c->sent += n;
    if (c->sent < c->length) return;
    free(c->rest);
    c->rest = NULL;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void echo(struct connection *c) {
    ssize_t length = recv(c->fd, buffer, sizeof buffer, 0);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
        end(c);
        return;
    }
    ssize_t sent = send(c->fd, buffer, length, MSG_NOSIGNAL);
    if (sent == length) return;
    if (sent < 0 && errno != EAGAIN) {
        end(c);
        return;
    }
    if (sent < 0) sent = 0;
    c->length = length - sent;
    c->sent = 0;
    c->rest = malloc(c->length);
    memcpy(c->rest, buffer + sent, c->length);
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

int main(int argc, char **argv) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (argc != 2) return 2;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&where, sizeof where) < 0 || listen(listener, 1024) < 0) {
        perror("epoll: listen");
        return 1;
    }
    poll_fd = epoll_create1(0);
    struct connection accepting = {.fd = listener};
    watch(&accepting, EPOLL_CTL_ADD, EPOLLIN);
    struct epoll_event events[1024];
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 1024, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &accepting) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                c = calloc(1, sizeof *c);
                c->fd = fd;
                watch(c, EPOLL_CTL_ADD, EPOLLIN);
            } else if (c->rest) {
                write_rest(c);
            } else {
                echo(c);
            }
        }
    }
}
