/*
 * The upstream of the bench: one process, one thread, that answers OpenAI chat completions as fast as it can.
 *
 *     upstream PORT [CHUNKS [PACE_MS]]
 *
 * POST, any path     "stream":true absent   one JSON answer of about 1.1 KB, with usage
 *                    "stream":true          CHUNKS chunks (100), then finish, usage and [DONE], written at once;
 *                                           a body that names the model "bench-paced" gets a chunk every PACE_MS (20)
 * GET  /stats        what was answered so far, so that the bench can compare it with what was booked
 * GET  other paths   a model list
 *
 * It has to be far cheaper than what it measures: everything that can be built before the first request is, a burst is one
 * memcpy and one write, and paced streams share one timer. A pace is the same for every stream, so the next chunk due is
 * always at the head of a queue and no heap is needed. It listens on 127.0.0.1 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_BODY (32u << 20)
#define MAX_HEAD (64u << 10)
#define ID_DIGITS 16

struct conn {
    int fd;
    int want_write;      /* EPOLLOUT is registered */
    int closing;         /* close once the output is flushed */
    int streaming;       /* a paced stream is under way: further requests wait in `in` */
    int sent_continue;   /* the current request's `Expect: 100-continue` was answered */
    char *in;
    size_t in_len, in_cap;
    char *out;
    size_t out_off, out_len, out_cap;
    int next_chunk;
    unsigned long id, prompt_tokens;
    uint64_t due;        /* ns, CLOCK_MONOTONIC */
    struct conn *prev, *next;
};

struct frame {
    size_t at, len, id_at; /* in `script`; where the 16 digits of the id go */
};

/* Korean office prose, so that byte counts look like the real thing. Three bytes a syllable. */
static const char *ANSWER =
    "요청하신 내용을 정리하면 다음과 같습니다. 첫째, 올해 하반기 사업은 상반기 점검 결과를 반영하여 우선순위를 다시 "
    "정하였습니다. 둘째, 관계 부서와 협의하여 일정과 담당자를 확정하였고 남은 과제는 분기마다 확인합니다. 셋째, "
    "예산은 이미 편성된 범위 안에서 집행하며 부족한 부분은 다음 심의 때 근거를 갖추어 설명합니다. 시민이 알기 쉬운 "
    "말로 안내문을 고쳐 쓰고, 문의가 많은 항목은 따로 묶어 첫 화면에 보이게 하는 것이 좋겠습니다.";

static int epoll_fd, timer_fd;
static int chunks = 100;
static uint64_t pace_ns = 20000000ull;
static char *script; /* all chunk frames of one stream, ids left blank */
static size_t script_len;
static struct frame *frames;
static struct conn *queue_head, *queue_tail;
static unsigned long n_answers, n_streams_started, n_streams_finished, n_bytes_in;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static char *reserve(struct conn *c, size_t more) {
    if (c->out_off == c->out_len) c->out_off = c->out_len = 0;
    if (c->out_len + more > c->out_cap) {
        c->out_cap = (c->out_len + more) * 2;
        c->out = realloc(c->out, c->out_cap);
        if (!c->out) die("realloc");
    }
    return c->out + c->out_len;
}

static void put(struct conn *c, const char *text, size_t len) {
    memcpy(reserve(c, len), text, len);
    c->out_len += len;
}

static void watch(struct conn *c, int write) {
    if (c->want_write == write) return;
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e)) die("epoll_ctl");
    c->want_write = write;
}

static void unqueue(struct conn *c) {
    if (!c->streaming) return;
    if (c->prev) c->prev->next = c->next; else queue_head = c->next;
    if (c->next) c->next->prev = c->prev; else queue_tail = c->prev;
    c->prev = c->next = NULL;
    c->streaming = 0;
}

static void drop(struct conn *c) {
    unqueue(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

/* Returns -1 when the connection is gone. */
static int flush(struct conn *c) {
    while (c->out_off < c->out_len) {
        ssize_t n = write(c->fd, c->out + c->out_off, c->out_len - c->out_off);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) { watch(c, 1); return 0; }
            drop(c);
            return -1;
        }
        c->out_off += (size_t)n;
    }
    watch(c, 0);
    if (c->closing && !c->streaming) { drop(c); return -1; }
    return 0;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void put_id(char *at, unsigned long id) {
    static const char hex[] = "0123456789abcdef";
    for (int i = ID_DIGITS - 1; i >= 0; i--, id >>= 4) at[i] = hex[id & 15];
}

/* Frames `payload` as one SSE event inside one HTTP chunk; `payload` holds the id as sixteen '#'. */
static size_t frame_event(char *to, size_t room, const char *payload) {
    return (size_t)snprintf(to, room, "%zx\r\ndata: %s\n\n\r\n", strlen(payload) + 8, payload);
}

static void build_script(void) {
    static const char *words[] = {"검토 ", "결과를 ", "다음과 ", "같이 ", "보고 ", "드립니다. ", "세부 ", "계획은 ", "붙임을 ", "참고 "};
    size_t room = (size_t)chunks * 512;
    script = malloc(room);
    frames = malloc(sizeof *frames * (size_t)chunks);
    if (!script || !frames) die("malloc");
    for (int i = 0; i < chunks; i++) {
        char payload[400];
        snprintf(payload, sizeof payload,
                 "{\"id\":\"chatcmpl-################\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
                 "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"%s\"},\"finish_reason\":null}]}",
                 i == 0 ? "\"role\":\"assistant\"," : "", words[i % 10]);
        size_t n = frame_event(script + script_len, room - script_len, payload);
        frames[i].at = script_len;
        frames[i].len = n;
        frames[i].id_at = (size_t)(strchr(script + script_len, '#') - (script + script_len));
        script_len += n;
    }
}

static void put_frame(struct conn *c, int i) {
    char *to = reserve(c, frames[i].len);
    memcpy(to, script + frames[i].at, frames[i].len);
    put_id(to + frames[i].id_at, c->id);
    c->out_len += frames[i].len;
}

static void put_stream_head(struct conn *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    put(c, head, sizeof head - 1);
    n_streams_started++;
}

/* The finish reason, the usage and [DONE] come together, as real upstreams send them. */
static void put_stream_tail(struct conn *c) {
    char payload[512], framed[640];
    snprintf(payload, sizeof payload,
             "{\"id\":\"chatcmpl-################\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
             "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
    put_id(strchr(payload, '#'), c->id);
    put(c, framed, frame_event(framed, sizeof framed, payload));
    snprintf(payload, sizeof payload,
             "{\"id\":\"chatcmpl-################\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
             "\"model\":\"bench-model\",\"choices\":[],\"usage\":{\"prompt_tokens\":%lu,\"completion_tokens\":%d,\"total_tokens\":%lu}}",
             c->prompt_tokens, chunks, c->prompt_tokens + (unsigned long)chunks);
    put_id(strchr(payload, '#'), c->id);
    put(c, framed, frame_event(framed, sizeof framed, payload));
    put(c, framed, frame_event(framed, sizeof framed, "[DONE]"));
    put(c, "0\r\n\r\n", 5);
    n_streams_finished++;
}

static void put_json(struct conn *c, const char *body, size_t len) {
    char *to = reserve(c, len + 160);
    c->out_len += (size_t)sprintf(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", len);
    put(c, body, len);
}

static void answer_whole(struct conn *c) {
    char body[2048];
    int n = snprintf(body, sizeof body,
                     "{\"id\":\"chatcmpl-################\",\"object\":\"chat.completion\",\"created\":1767225600,\"model\":\"bench-model\","
                     "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},\"logprobs\":null,"
                     "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%lu,\"completion_tokens\":210,\"total_tokens\":%lu,"
                     "\"prompt_tokens_details\":{\"cached_tokens\":0}},\"service_tier\":\"default\"}",
                     ANSWER, c->prompt_tokens, c->prompt_tokens + 210);
    put_id(strchr(body, '#'), c->id);
    put_json(c, body, (size_t)n);
    n_answers++;
}

static void answer_get(struct conn *c, const char *target, size_t len) {
    char body[256];
    int n;
    if (len >= 6 && !memcmp(target, "/stats", 6))
        n = snprintf(body, sizeof body, "{\"answers\":%lu,\"streams_started\":%lu,\"streams_finished\":%lu,\"bytes_in\":%lu}",
                     n_answers, n_streams_started, n_streams_finished, n_bytes_in);
    else
        n = snprintf(body, sizeof body, "{\"object\":\"list\",\"data\":[{\"id\":\"bench-model\",\"object\":\"model\"}]}");
    put_json(c, body, (size_t)n);
}

/* ---- paced streams ----------------------------------------------------------------------------------------------- */

static void arm(void) {
    struct itimerspec t = {0};
    if (queue_head) {
        t.it_value.tv_sec = (time_t)(queue_head->due / 1000000000ull);
        t.it_value.tv_nsec = (long)(queue_head->due % 1000000000ull);
    }
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void enqueue(struct conn *c) {
    c->streaming = 1;
    c->next = NULL;
    c->prev = queue_tail;
    if (queue_tail) queue_tail->next = c; else queue_head = c;
    queue_tail = c;
}

static void advance(struct conn *c); /* the next request of the connection, below */

static void pace(void) {
    uint64_t expirations;
    if (read(timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd");
    uint64_t now = now_ns();
    while (queue_head && queue_head->due <= now) {
        struct conn *c = queue_head;
        uint64_t due = c->due;
        unqueue(c);
        put_frame(c, c->next_chunk++);
        if (c->next_chunk < chunks) {
            /* From the time it was due, not from now: a late wake-up must not stretch the stream. */
            c->due = due + pace_ns;
            enqueue(c);
            flush(c);
        } else {
            put_stream_tail(c);
            if (flush(c) == 0) advance(c);
        }
    }
    arm();
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int has_prefix(const char *line, size_t len, const char *name) {
    size_t n = strlen(name);
    return len > n && !strncasecmp(line, name, n);
}

/* Decodes a chunked body in place. Returns its length, -1 while it is incomplete, -2 if it makes no sense. */
static long dechunk(char *body, size_t len, size_t *consumed, int in_place) {
    size_t at = 0, to = 0;
    for (;;) {
        char *eol = memchr(body + at, '\n', len - at);
        if (!eol) return -1;
        char *end;
        unsigned long size = strtoul(body + at, &end, 16);
        if (end == body + at || size > MAX_BODY) return -2;
        size_t data = (size_t)(eol - body) + 1;
        if (size == 0) { /* no trailers are expected: the empty line ends it */
            if (len - data < 2) return -1;
            *consumed = data + 2;
            return (long)to;
        }
        if (len - data < size + 2) return -1;
        if (in_place) memmove(body + to, body + data, size);
        to += size;
        at = data + size + 2;
    }
}

static void respond(struct conn *c, const char *body, size_t len) {
    static unsigned long last_id;
    c->id = ++last_id;
    /* A quarter of the bytes: between English and Korean, and under the bound of one token a byte that a gateway may hold by. */
    c->prompt_tokens = len / 4;
    n_bytes_in += len;
    const char *flag = memmem(body, len, "\"stream\":", 9);
    if (flag) {
        const char *value = flag + 9, *end = body + len;
        while (value < end && *value == ' ') value++;
        if (end - value < 4 || memcmp(value, "true", 4)) flag = NULL;
    }
    if (!flag) { answer_whole(c); return; }
    put_stream_head(c);
    if (!memmem(body, len, "\"bench-paced\"", 13)) {
        char *to = reserve(c, script_len);
        memcpy(to, script, script_len);
        for (int i = 0; i < chunks; i++) put_id(to + frames[i].at + frames[i].id_at, c->id);
        c->out_len += script_len;
        put_stream_tail(c);
        return;
    }
    put_frame(c, 0);
    c->next_chunk = 1;
    if (chunks == 1) { put_stream_tail(c); return; }
    c->due = now_ns() + pace_ns;
    int idle = queue_head == NULL;
    enqueue(c);
    if (idle) arm();
}

/* Answers every complete request in the buffer, one after another. */
static void advance(struct conn *c) {
    size_t used = 0;
    while (!c->streaming && !c->closing && used < c->in_len) {
        char *start = c->in + used;
        size_t have = c->in_len - used;
        char *head_end = memmem(start, have, "\r\n\r\n", 4);
        if (!head_end) {
            if (have > MAX_HEAD) c->closing = 1;
            break;
        }
        size_t head = (size_t)(head_end - start) + 4, content = 0;
        int chunked = 0, expects = 0, close_after = 0;
        for (char *line = memchr(start, '\n', head) + 1; line < head_end;) {
            char *eol = memchr(line, '\r', (size_t)(start + head - line));
            size_t n = (size_t)(eol - line);
            if (has_prefix(line, n, "content-length:")) content = strtoul(line + 15, NULL, 10);
            else if (has_prefix(line, n, "transfer-encoding:")) chunked = memmem(line, n, "chunked", 7) != NULL;
            else if (has_prefix(line, n, "expect:")) expects = 1;
            else if (has_prefix(line, n, "connection:")) close_after = memmem(line, n, "close", 5) != NULL;
            line = eol + 2;
        }
        if (content > MAX_BODY) { c->closing = 1; break; }
        char *body = start + head;
        size_t after = content;
        int complete = have - head >= content;
        if (chunked) {
            long n = dechunk(body, have - head, &after, 0);
            if (n == -2) { c->closing = 1; break; }
            complete = n >= 0;
            if (complete) content = (size_t)dechunk(body, have - head, &after, 1);
        }
        if (!complete) {
            if (expects && !c->sent_continue) {
                put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
                c->sent_continue = 1;
            }
            break;
        }
        c->sent_continue = 0;
        c->closing = close_after;
        if (!memcmp(start, "GET ", 4)) answer_get(c, start + 4, head - 4);
        else respond(c, body, content);
        used += head + after;
    }
    if (used) {
        memmove(c->in, c->in + used, c->in_len - used);
        c->in_len -= used;
    }
    flush(c);
}

static void receive(struct conn *c) {
    for (;;) {
        if (c->in_cap - c->in_len < 16384) {
            c->in_cap = c->in_cap ? c->in_cap * 2 : 65536;
            if (c->in_cap > MAX_BODY * 2) { drop(c); return; }
            c->in = realloc(c->in, c->in_cap);
            if (!c->in) die("realloc");
        }
        size_t room = c->in_cap - c->in_len;
        ssize_t n = read(c->fd, c->in + c->in_len, room);
        if (n == 0) { drop(c); return; } /* half-closed clients are not served: a gateway that leaves must look gone */
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) break;
            drop(c);
            return;
        }
        c->in_len += (size_t)n;
        if ((size_t)n < room) break; /* level-triggered: whatever is left wakes us again */
    }
    advance(c);
}

static void welcome(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
    }
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: upstream PORT [CHUNKS [PACE_MS]]\n");
        return 2;
    }
    if (argc > 2) chunks = atoi(argv[2]);
    if (argc > 3) pace_ns = (uint64_t)atoi(argv[3]) * 1000000ull;
    if (chunks < 1 || pace_ns < 1) return 2;
    signal(SIGPIPE, SIG_IGN);
    build_script();

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&a, sizeof a)) die("bind");
    if (listen(listener, 1024)) die("listen");

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    e.data.ptr = &timer_fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);

    for (;;) {
        struct epoll_event ready[128];
        int n = epoll_wait(epoll_fd, ready, 128, -1);
        int timer = 0;
        for (int i = 0; i < n; i++) {
            void *who = ready[i].data.ptr;
            if (who == &listener) welcome(listener);
            else if (who == &timer_fd) timer = 1;
            else {
                struct conn *c = who;
                if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
                else if (ready[i].events & EPOLLOUT) flush(c);
            }
        }
        /* Last, because pacing may drop connections that this batch still names. */
        if (timer) pace();
    }
}
