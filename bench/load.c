/*
 * The load of the bench: sends prepared requests over keep-alive connections to 127.0.0.1 and times every one of them.
 *
 *     load --port P --bodies FILE --keys FILE --count N [--first I] [--path /v1/chat/completions]
 *          [--connections C] [--rate PER_SECOND] [--seconds LIMIT] [--done-log FILE]
 *
 * Closed loop (no --rate): each of C connections sends its next request when the last answer has ended.
 * Open loop (--rate): request i is due at start + i / rate; its latency counts from that moment, even when it had to wait
 *     for a free connection, so a server that stalls cannot hide the requests it kept waiting.
 * FILE of bodies: 4 bytes little-endian length, then that many bytes, again and again. FILE of keys: one bearer a line;
 *     request i uses key i modulo their number. Both are read whole before the clock starts.
 *
 * Every request is sent once; nothing is retried. Percentiles come from all samples, not from a histogram.
 * One JSON object goes to stdout. Times are milliseconds. Bounded by --count and by --seconds (default 120).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum framing { BY_LENGTH, BY_CHUNKS, BY_CLOSE };
enum chunk_state { SIZE_LINE, DATA, DATA_END, TRAILER };

struct conn {
    int fd, connecting, busy, want_write;
    long request;             /* which one is under way */
    char head[1024];          /* request head, then the body straight from the mapped file */
    size_t head_len, sent, total;
    char in[65536];
    size_t in_len;
    int in_body, status, stream, close_after;
    enum framing framing;
    enum chunk_state chunk;
    size_t left;              /* of the body, or of the current chunk */
    char tail[512];           /* the end of the answer's body: where usage or [DONE] is */
    size_t tail_len, body_len;
    uint64_t from, first;     /* when it was due or sent; when its first data arrived */
};

static const char *path = "/v1/chat/completions", *done_log;
static int port, epoll_fd, timer_fd, n_conns = 32;
static long first_request, count, next_request, finished;
static double rate, limit_s = 120;
static const char **bodies;
static uint32_t *body_lens;
static long n_bodies;
static char **keys;
static long n_keys;
static struct conn **conns;
static int connecting;
static uint64_t started, deadline;
static long statuses[600], malformed, broken, unsent, reconnects, queued, streams;
static double *latencies, *ttfts, *walls;
static long n_latencies, n_ttfts;
static FILE *log_file;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t due(long i) { return started + (uint64_t)((double)i * 1e9 / rate); }

/* ---- input files ------------------------------------------------------------------------------------------------- */

static char *map(const char *name, size_t *len) {
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct stat s;
    if (fd < 0 || fstat(fd, &s)) die(name);
    *len = (size_t)s.st_size;
    char *p = mmap(NULL, *len + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED) die(name);
    close(fd);
    return p;
}

static void read_bodies(const char *name) {
    size_t len, at = 0, room = 1024;
    char *p = map(name, &len);
    bodies = malloc(room * sizeof *bodies);
    body_lens = malloc(room * sizeof *body_lens);
    while (at + 4 <= len) {
        uint32_t n;
        memcpy(&n, p + at, 4);
        if ((size_t)n_bodies == room) {
            room *= 2;
            bodies = realloc(bodies, room * sizeof *bodies);
            body_lens = realloc(body_lens, room * sizeof *body_lens);
        }
        if (!bodies || !body_lens) die("malloc");
        bodies[n_bodies] = p + at + 4;
        body_lens[n_bodies++] = n;
        at += 4 + n;
    }
    if (n_bodies < first_request + count) {
        fprintf(stderr, "load: %ld bodies for requests %ld to %ld\n", n_bodies, first_request, first_request + count);
        exit(2);
    }
}

static void read_keys(const char *name) {
    FILE *f = fopen(name, "r");
    char line[512];
    if (!f) die(name);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!*line) continue;
        keys = realloc(keys, (size_t)(n_keys + 1) * sizeof *keys);
        keys[n_keys++] = strdup(line);
    }
    fclose(f);
    if (!n_keys) { fprintf(stderr, "load: no keys in %s\n", name); exit(2); }
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void watch(struct conn *c, int op, int write) {
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &e)) die("epoll_ctl");
    c->want_write = write;
}

static void connect_to(struct conn *c) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS) die("connect");
    c->connecting = 1;
    watch(c, EPOLL_CTL_ADD, 1);
}

static void start(struct conn *c);

static int more_to_send(void) { return next_request < count && now_ns() < deadline; }

static void disconnect(struct conn *c) {
    close(c->fd);
    c->fd = -1;
}

static void reconnect(struct conn *c) {
    disconnect(c);
    if (!more_to_send()) return;
    reconnects++;
    connecting++;
    connect_to(c);
}

static void push(struct conn *c) {
    while (c->sent < c->total) {
        const char *body = bodies[first_request + c->request];
        struct iovec v[2];
        int n = 0;
        if (c->sent < c->head_len) {
            v[n++] = (struct iovec){c->head + c->sent, c->head_len - c->sent};
            v[n++] = (struct iovec){(void *)body, c->total - c->head_len};
        } else {
            v[n++] = (struct iovec){(void *)(body + (c->sent - c->head_len)), c->total - c->sent};
        }
        ssize_t sent = writev(c->fd, v, n);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) { if (!c->want_write) watch(c, EPOLL_CTL_MOD, 1); return; }
            return; /* the read side will see the end of the connection and count it */
        }
        c->sent += (size_t)sent;
    }
    if (c->want_write) watch(c, EPOLL_CTL_MOD, 0);
}

/* Gives the connection its next request, if one is due. */
static void start(struct conn *c) {
    if (c->busy || c->connecting || c->fd < 0 || !more_to_send()) return;
    uint64_t now = now_ns();
    if (rate > 0 && due(next_request) > now) return;
    long i = next_request++;
    uint32_t len = body_lens[first_request + i];
    c->request = i;
    c->head_len = (size_t)snprintf(c->head, sizeof c->head,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        "Accept: */*\r\nUser-Agent: bench\r\nContent-Length: %u\r\n\r\n", path, port, keys[(first_request + i) % n_keys], len);
    c->sent = 0;
    c->total = c->head_len + len;
    c->busy = 1;
    c->in_len = c->tail_len = c->body_len = 0;
    c->in_body = c->status = c->stream = c->close_after = 0;
    c->first = 0;
    c->from = rate > 0 ? due(i) : now;
    push(c);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* An answer that lacks its usage, or a stream that lacks its [DONE], is not an answer. */
static int whole(const struct conn *c) {
    return c->stream ? memmem(c->tail, c->tail_len, "[DONE]", 6) != NULL : memmem(c->tail, c->tail_len, "\"usage\"", 7) != NULL;
}

static void finish(struct conn *c) {
    uint64_t now = now_ns();
    finished++;
    if (c->status > 0 && c->status < 600) statuses[c->status]++;
    if (c->status == 200) {
        if (!whole(c)) malformed++;
        else {
            latencies[n_latencies] = (double)(now - c->from) / 1e6;
            walls[n_latencies++] = c->first ? (double)(now - c->first) / 1e6 : 0;
            if (c->stream && c->first) ttfts[n_ttfts++] = (double)(c->first - c->from) / 1e6;
            streams += c->stream;
            if (log_file) fprintf(log_file, "%ld\n", first_request + c->request);
        }
    }
    c->busy = 0;
    if (c->close_after) { reconnect(c); return; }
    start(c);
}

static void give_up(struct conn *c) {
    if (c->busy) {
        /* A body that ends with its connection is complete; anything else that ends so was cut. */
        if (c->in_body && c->framing == BY_CLOSE) { c->close_after = 1; finish(c); return; }
        broken++;
        finished++;
        c->busy = 0;
    }
    reconnect(c);
}

static void take(struct conn *c, const char *data, size_t len) {
    if (!c->first && len && (!c->stream || memmem(data, len, "data:", 5))) c->first = now_ns();
    c->body_len += len;
    if (len >= sizeof c->tail) {
        memcpy(c->tail, data + len - sizeof c->tail, sizeof c->tail);
        c->tail_len = sizeof c->tail;
        return;
    }
    size_t keep = c->tail_len + len > sizeof c->tail ? sizeof c->tail - len : c->tail_len;
    memmove(c->tail, c->tail + c->tail_len - keep, keep);
    memcpy(c->tail + keep, data, len);
    c->tail_len = keep + len;
}

static int read_head(struct conn *c, size_t len) {
    char *end = c->in + len, *line = memchr(c->in, '\n', len);
    if (len < 12 || memcmp(c->in, "HTTP/1.", 7) || !line) return -1;
    c->status = atoi(c->in + 9);
    c->framing = BY_CLOSE;
    for (line++; line < end - 2;) {
        char *eol = memchr(line, '\r', (size_t)(end - line));
        size_t n = (size_t)(eol - line);
        if (n > 15 && !strncasecmp(line, "content-length:", 15)) { c->framing = BY_LENGTH; c->left = strtoul(line + 15, NULL, 10); }
        else if (n > 18 && !strncasecmp(line, "transfer-encoding:", 18)) { c->framing = BY_CHUNKS; c->chunk = SIZE_LINE; }
        else if (n > 13 && !strncasecmp(line, "content-type:", 13)) c->stream = memmem(line, n, "event-stream", 12) != NULL;
        else if (n > 11 && !strncasecmp(line, "connection:", 11)) c->close_after = memmem(line, n, "close", 5) != NULL;
        line = eol + 2;
    }
    c->in_body = 1;
    return 0;
}

/* Consumes what it can of the body. Returns bytes used; sets *ended when the answer is complete. */
static size_t read_body(struct conn *c, const char *data, size_t len, int *ended) {
    size_t at = 0;
    if (c->framing != BY_CHUNKS) {
        size_t n = c->framing == BY_LENGTH && c->left < len ? c->left : len;
        take(c, data, n);
        if (c->framing == BY_LENGTH) { c->left -= n; *ended = c->left == 0; }
        return n;
    }
    while (at < len && !*ended) {
        if (c->chunk == DATA) {
            size_t n = c->left < len - at ? c->left : len - at;
            take(c, data + at, n);
            at += n;
            c->left -= n;
            if (c->left == 0) c->chunk = DATA_END;
            continue;
        }
        const char *eol = memchr(data + at, '\n', len - at);
        if (!eol) return at; /* the rest of the line has not come yet */
        if (c->chunk == DATA_END) c->chunk = SIZE_LINE;
        else if (c->chunk == SIZE_LINE) {
            c->left = strtoul(data + at, NULL, 16);
            c->chunk = c->left ? DATA : TRAILER;
        } else if (eol - (data + at) <= 1) *ended = 1;
        at = (size_t)(eol - data) + 1;
    }
    return at;
}

static void receive(struct conn *c) {
    ssize_t n = read(c->fd, c->in + c->in_len, sizeof c->in - c->in_len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || !c->busy) { give_up(c); return; }
    c->in_len += (size_t)n;
    size_t used = 0;
    if (!c->in_body) {
        char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!end) {
            if (c->in_len == sizeof c->in) give_up(c);
            return;
        }
        used = (size_t)(end - c->in) + 4;
        if (read_head(c, used)) { give_up(c); return; }
    }
    int ended = c->framing == BY_LENGTH && c->left == 0;
    if (!ended) used += read_body(c, c->in + used, c->in_len - used, &ended);
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
    if (ended) finish(c);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/* Open loop: starts whatever is due on the connections that are free, then sleeps until the next is due. */
static void start_due(void) {
    uint64_t expirations;
    if (read(timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd");
    for (int i = 0; i < n_conns && more_to_send() && due(next_request) <= now_ns(); i++) start(conns[i]);
    if (next_request >= count) return;
    uint64_t at = due(next_request), now = now_ns();
    if (at <= now) {
        queued++;
        at = now + 1000000; /* every connection is busy: the first to be free takes it at once, and we look again in a millisecond */
    }
    struct itimerspec t = {.it_value = {.tv_sec = (time_t)(at / 1000000000ull), .tv_nsec = (long)(at % 1000000000ull)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_spread(const char *name, double *v, long n) {
    if (n == 0) { printf("\"%s\":null,", name); return; }
    qsort(v, (size_t)n, sizeof *v, ascending);
    double sum = 0;
    for (long i = 0; i < n; i++) sum += v[i];
    /* Nearest rank. */
    printf("\"%s\":{\"n\":%ld,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"max\":%.4f},", name, n, sum / (double)n,
           v[(n * 50 + 99) / 100 - 1], v[(n * 90 + 99) / 100 - 1], v[(n * 99 + 99) / 100 - 1], v[n - 1]);
}

int main(int argc, char **argv) {
    const char *bodies_file = NULL, *keys_file = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--bodies")) bodies_file = value;
        else if (!strcmp(name, "--keys")) keys_file = value;
        else if (!strcmp(name, "--first")) first_request = atol(value);
        else if (!strcmp(name, "--count")) count = atol(value);
        else if (!strcmp(name, "--connections")) n_conns = atoi(value);
        else if (!strcmp(name, "--rate")) rate = atof(value);
        else if (!strcmp(name, "--seconds")) limit_s = atof(value);
        else if (!strcmp(name, "--done-log")) done_log = value;
        else { fprintf(stderr, "load: unknown option %s\n", name); return 2; }
    }
    if (!port || !bodies_file || !keys_file || count < 1 || n_conns < 1) {
        fprintf(stderr, "usage: load --port P --bodies FILE --keys FILE --count N …\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    read_bodies(bodies_file);
    read_keys(keys_file);
    latencies = malloc((size_t)count * sizeof *latencies);
    walls = malloc((size_t)count * sizeof *walls);
    ttfts = malloc((size_t)count * sizeof *ttfts);
    conns = malloc((size_t)n_conns * sizeof *conns);
    if (!latencies || !walls || !ttfts || !conns) die("malloc");
    for (int i = 0; i < n_conns; i++) {
        conns[i] = calloc(1, sizeof **conns);
        if (!conns[i]) die("calloc");
        conns[i]->fd = -1;
    }
    if (done_log && !(log_file = fopen(done_log, "w"))) die(done_log);
    /* Line by line: the log has to be right up to the moment the server dies. */
    if (log_file) setvbuf(log_file, NULL, _IOLBF, 0);

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (n_conns > count) n_conns = (int)count;
    started = now_ns();
    deadline = started + (uint64_t)(limit_s * 1e9);
    connecting = n_conns;
    for (int i = 0; i < n_conns; i++) connect_to(conns[i]);

    int refused = 0, running = 0;
    while (finished < count && now_ns() < deadline && !refused) {
        struct epoll_event ready[128];
        int n = epoll_wait(epoll_fd, ready, 128, 100);
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (!c) { start_due(); continue; }
            if (c->fd < 0) continue;
            if (c->connecting) {
                int error = 0;
                socklen_t len = sizeof error;
                getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
                /* Nobody listens (any more): there is nothing left to measure, and no use in knocking. */
                if (error) { refused = 1; break; }
                c->connecting = 0;
                connecting--;
                watch(c, EPOLL_CTL_MOD, 0);
                if (running) start(c);
                continue;
            }
            if (ready[i].events & EPOLLOUT) push(c);
            if (c->fd >= 0 && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
        if (!running && connecting == 0) { /* the clock starts when every connection stands */
            running = 1;
            started = now_ns();
            deadline = started + (uint64_t)(limit_s * 1e9);
            if (rate > 0) {
                struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);
                start_due();
            } else {
                for (int i = 0; i < n_conns; i++) start(conns[i]);
            }
        }
    }
    uint64_t ended = now_ns();
    for (int i = 0; i < n_conns; i++) unsent += conns[i]->busy; /* cut by the time limit, or by a server that is gone */
    if (log_file) fclose(log_file);

    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double wall = (double)(ended - started) / 1e9, cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                                                        (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    long ok = n_latencies, not_200 = 0;
    for (int i = 0; i < 600; i++) if (i != 200) not_200 += statuses[i];
    printf("{\"completed\":%ld,\"non_200\":%ld,\"malformed\":%ld,\"broken\":%ld,\"unfinished\":%ld,\"not_sent\":%ld,\"refused\":%d,"
           "\"reconnects\":%ld,\"queued\":%ld,\"streams\":%ld,\"connections\":%d,\"wall_s\":%.6f,\"per_s\":%.3f,\"load_cpu_s\":%.4f,",
           ok, not_200, malformed, broken, unsent, count - next_request, refused, reconnects, queued, streams, n_conns, wall,
           (double)ok / wall, cpu);
    print_spread("latency_ms", latencies, n_latencies);
    print_spread("ttft_ms", ttfts, n_ttfts);
    print_spread("answer_wall_ms", walls, n_latencies);
    printf("\"statuses\":{");
    for (int i = 0, comma = 0; i < 600; i++)
        if (statuses[i]) { printf("%s\"%d\":%ld", comma ? "," : "", i, statuses[i]); comma = 1; }
    printf("}}\n");
    return 0;
}
