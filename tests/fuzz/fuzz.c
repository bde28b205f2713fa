/* SPDX-License-Identifier: MIT */
/* fuzz SEED [OPS [WITHOUT]]: a random program over the whole API, checked against a model; fuzz.sh
 * runs it. Plain <aio.h>: under glibc (TEST_SIDE=glibc) it leaves out what glibc cannot do.
 *
 * The files and requests that it is made of are in fuzz.h. Each request must end once, with what
 * the model allows, and be notified once. A seed repeats the program's decisions as far as they do
 * not depend on what has ended when.
 *
 * WITHOUT: letters of what is left out: kinds b d m a p s e i o, see fuzz.h; l lists, c cancel, f
 * fork, x close and dup2 with requests in progress, y syncs, n notifications, h a handler that
 * interrupts and asks, w wrong requests, t threads (one is left), z large requests.
 */
#include "fuzz.h"

/* Requests: their end. */

static void slot_free(struct slot *s) {
    if (s->cb != &s->own) free(s->cb);
    s->cb = &s->own;
    s->what = NOTHING;
}

/* In call order, or it is not known what it got. */
static void end_in_lane(struct slot *s) {
    struct lane *lane = s->lane;
    struct object *o = s->object;
    int writes = s->what == WRITE;
    while ((s = lane->first[writes]) && s->ended) {
        lane->first[writes] = s->next;
        if (!s->next) lane->last[writes] = &lane->first[writes];
        lane->flying[writes] -= s->cb->aio_nbytes;
        uint64_t value = 0;
        if (s->r == 8) memcpy(&value, s->buf, 8);
        if (o->kind == EVENT) *(writes ? &o->added : &o->taken) += value;
        else if (s->r > 0) append(&lane->bytes[writes], s->buf, (size_t)s->r);
        if (o->kind != APPEND && o->kind != EVENT) compare(lane, s);
        slot_free(s);
    }
}

/* May it have ended with nothing done? */
static bool may_fail(const struct slot *s) {
    if (s->err == ECANCELED) return s->cancelled || s->overtaken;
    if (fault && (s->err == fault || s->err == EAGAIN)) return true;
    return s->err == EBADF && s->overtaken;
}

static void end_of_file(struct slot *s) {
    struct object *o = s->object;
    size_t offset = (size_t)s->cb->aio_offset, n = s->cb->aio_nbytes;
    locked(s, -1);
    bool part = s->overtaken || fault;
    if (s->err && !may_fail(s)) broken(s, "another error");
    if (s->err) return;
    if (s->what == WRITE) {
        if ((size_t)s->r != n && !part) broken(s, "short write");
        memcpy(o->model + offset, s->buf, (size_t)s->r);
        if (s->r > 0 && offset + (size_t)s->r > o->size) o->size = offset + (size_t)s->r;
        return;
    }
    size_t expected = offset >= o->size ? 0 : o->size - offset < n ? o->size - offset : n;
    if ((size_t)s->r != expected && !(part && (size_t)s->r < expected))
        broken(s, "count is not %zu", expected);
    if (memcmp(s->buf, o->model + offset, (size_t)s->r)) broken(s, "other data");
}

static void end_of_stream(struct slot *s) {
    size_t n = s->cb->aio_nbytes;
    bool cut = s->overtaken && (s->err == EPIPE || s->err == ECONNRESET);
    if (s->err && !cut && !may_fail(s)) broken(s, "another error");
    bool part = s->overtaken || fault || (s->cancelled && s->r > 0); /* it had begun */
    if (!s->err && s->what == WRITE && (size_t)s->r != n && !part) broken(s, "short write");
    if (!s->err && s->what == READ && (s->r > (ssize_t)n || (s->r < 1 && !s->overtaken)))
        broken(s, "count");
    if (!s->err && s->object->kind == EVENT && s->r != 8) broken(s, "eventfd count");
}

static void end_of_sync(struct thread *t, struct slot *s) {
    bool stream = !is_file(s->object) && s->object->kind != APPEND;
    if (s->err && may_fail(s)) return;
    if (s->err != (stream ? EINVAL : 0)) broken(s, "another error");
    if (s->overtaken) return;
    for (struct slot *i = t->slots; i < t->slots + SLOTS; i++)
        if (i->what && !i->ended && i->object == s->object && i->order < s->order &&
            i->cb->aio_fildes == s->cb->aio_fildes && aio_error(i->cb) == EINPROGRESS)
            broken(i, "a sync did not cover this");
}

static void await_notification(const struct slot *s, atomic_uint *notified) {
    time_t start = now_s();
    for (int i = 0; atomic_load(notified) == 0; i++) {
        if (i > 1000) usleep(200);
        if (now_s() > start + patience_s) broken(s, "no notification");
    }
    if (atomic_load(notified) != 1) broken(s, "%u notifications", atomic_load(notified));
}

/* Looks at one; true: it has ended, or its slot is free. */
static bool look(struct thread *t, struct slot *s) {
    if (s->what == NOTHING || s->ended) return true;
    s->err = aio_error(s->cb);
    if (s->err == EINPROGRESS) return false;
    s->r = aio_return(s->cb);
    if (aio_return(s->cb) != s->r) broken(s, "aio_return changed its mind");
    if ((s->err != 0) != (s->r < 0)) broken(s, "error and result disagree");
    if (s->notifies && !(fault && s->err == EAGAIN)) await_notification(s, &s->notified);
    else if (!s->notifies && atomic_load(&s->notified)) broken(s, "notified unasked");
    if (s->object) s->object->flying--;
    if (s->list) s->list->pending--;
    if (s->what == WRONG) {
        if (s->err != s->expected && !(s->err && may_fail(s)))
            broken(s, "not %s", strerrorname_np(s->expected));
    } else if (s->what == SYNC) {
        end_of_sync(t, s);
    } else if (s->lane) {
        end_of_stream(s);
        s->ended = true;
        end_in_lane(s);
        return true;
    } else {
        end_of_file(s);
    }
    slot_free(s);
    return true;
}

static bool look_at_all(struct thread *t, const struct object *o) {
    bool all = true;
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (!o || s->object == o) all &= look(t, s);
    for (struct list *l = t->lists; l < t->lists + LISTS; l++) {
        if (!l->used || l->pending) continue;
        await_notification(NULL, &l->notified);
        l->used = false;
    }
    return all;
}

/* A write of a FIFO that has found place for a part waits for the rest in the library's write(),
 * where no cancellation reaches it. Reads in progress take what there is by themselves. */
static void help_writes(struct thread *t, struct object *o) {
    if (!o || o->kind != FIFO || o->check < 0) return;
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (s->what == READ && !s->ended && s->object == o) return;
    drain(&o->lanes[0].bytes[0], o->check);
}

static void look_until_ended(struct thread *t, struct object *o) {
    time_t start = now_s();
    for (int i = 0; !look_at_all(t, o); i++) {
        if (i > 100) usleep(100), help_writes(t, o);
        for (struct slot *s = t->slots; now_s() > start + patience_s && s < t->slots + SLOTS; s++)
            if (s->what && !s->ended && s->object == o) broken(s, "never ends");
    }
}

/* Notifications and interruptions. */

static void notified(int value) {
    unsigned index = (unsigned)value & 255, generation = (unsigned)value >> 8;
    if (index >= THREADS * SLOTS) { /* a list's */
        index -= THREADS * SLOTS;
        struct list *l = &threads[index / LISTS].lists[index % LISTS];
        if (l->generation != generation) broken(NULL, "a list was notified late");
        atomic_fetch_add(&l->notified, 1);
        return;
    }
    struct slot *s = &threads[index / SLOTS].slots[index % SLOTS];
    if ((s->generation & 0x7fffff) != generation) broken(NULL, "notified once more, or late");
    if (aio_error(s->cb) == EINPROGRESS) broken(s, "notified before its end");
    atomic_fetch_add(&s->notified, 1);
}

void notified_by_thread(union sigval value);
void notified_by_thread(union sigval value) {
    notified(value.sival_int);
}

static void on_notification(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    int saved = errno;
    if (info->si_code != SI_ASYNCIO) broken(NULL, "si_code %d", info->si_code);
    notified(info->si_value.sival_int);
    errno = saved;
}

/* Asks for what any thread has in progress: such as have their own aiocb are never freed. */
static void on_interruption(int signo) {
    static atomic_uint turn;
    int saved = errno;
    unsigned n = atomic_fetch_add(&turn, 7) + (unsigned)signo;
    struct slot *s = &threads[n / SLOTS % THREADS].slots[n % SLOTS & ~1u];
    const struct aiocb *list[] = {NULL, &s->own};
    struct timespec wait = {0, n % 3 * 100000};
    if (s->what && aio_error(&s->own) != EINPROGRESS && n % 5 == 0) aio_return(&s->own);
    aio_suspend(list, 2, &wait);
    errno = saved;
}

/* Operations. */

static void refused(struct slot *s) { /* else it is looked at like any that has ended */
    if (!fault || errno != EAGAIN || aio_error(s->cb) != EAGAIN)
        broken(s, "refused: %s", strerror(errno));
}

static void op_request(struct thread *t) {
    struct slot *s = prepare(t, false, NULL);
    if (!s) return;
    int r = s->cb->aio_lio_opcode == LIO_READ ? aio_read(s->cb) : aio_write(s->cb);
    if (r) refused(s);
}

static void op_sync(struct thread *t) {
    struct slot *s = &t->slots[below(t, SLOTS)];
    struct object *o = t->objects[below(t, OBJECTS)];
    if (!has('y') || s->what != NOTHING || (glibc && o->kind == PIPE)) return;
    bool disk = o->kind == BUFFERED || o->kind == DIRECT || o->kind == APPEND;
    if (disk && !one_in(t, 4)) return;
    if (one_in(t, 3) && !glibc && (is_file(o) || o->kind == APPEND)) {
        int r = one_in(t, 2) ? fsync(o->fd) : fdatasync(o->fd);
        need(r == 0 || errno == fault, "fsync");
        for (s = t->slots; s < t->slots + SLOTS; s++)
            if (s->what && !s->ended && s->object == o && aio_error(s->cb) == EINPROGRESS)
                broken(s, "fsync() did not cover this");
        return;
    }
    s->cb = &s->own;
    memset(s->cb, 0x5a, sizeof *s->cb);
    memset(&s->cb->aio_sigevent, 0, sizeof s->cb->aio_sigevent);
    s->cb->aio_fildes = o->peer >= 0 && one_in(t, 2) ? o->peer : o->fd;
    s->generation++;
    atomic_store(&s->notified, 0);
    s->cancelled = s->overtaken = s->ended = false;
    s->lane = NULL;
    s->list = NULL;
    s->object = o;
    s->order = ++t->order;
    s->what = SYNC;
    prepare_notification(t, s);
    o->flying++;
    atomic_fetch_add(&requests, 1);
    if (aio_fsync(one_in(t, 2) ? O_SYNC : O_DSYNC, s->cb)) refused(s);
}

static void op_list(struct thread *t) {
    struct list *l = &t->lists[below(t, LISTS)];
    bool wait = one_in(t, 2);
    struct aiocb *cbs[ITEMS + 2];
    struct slot *items[ITEMS];
    int n = 0, failed = 0, nitems = 0;
    if (!has('l') || l->used || l->pending) return;
    for (unsigned k = 1 + below(t, ITEMS); k; k--) {
        if (one_in(t, 9)) cbs[n++] = NULL;
        struct slot *s = n < ITEMS ? prepare(t, wait, nitems ? items[nitems - 1] : NULL) : NULL;
        if (!s) continue;
        s->list = l;
        l->pending++;
        items[nitems++] = s;
        cbs[n++] = s->cb;
    }
    struct sigevent sigev = {.sigev_notify = SIGEV_NONE};
    unsigned index = (unsigned)(THREADS * SLOTS + t->index * LISTS + (l - t->lists));
    bool notify = !wait && has('n') && one_in(t, 2);
    if (notify) {
        l->generation = (l->generation + 1) & 0x7fffff;
        atomic_store(&l->notified, 0);
        sigev.sigev_value.sival_int = (int)(l->generation << 8 | index);
        sigev.sigev_notify = one_in(t, 3) ? SIGEV_THREAD : SIGEV_SIGNAL;
        if (sigev.sigev_notify == SIGEV_THREAD) sigev.sigev_notify_function = notified_by_thread;
        else sigev.sigev_signo = rt_signal;
    }
    int r = lio_listio(wait ? LIO_WAIT : LIO_NOWAIT, cbs, n, &sigev), err = errno;
    if (r && err == EINTR && wait) return;
    if (!wait && r) broken(NULL, "lio_listio: %s", strerror(err));
    for (int i = 0; i < nitems && wait; i++) {
        int error = aio_error(items[i]->cb);
        if (error == EINPROGRESS) broken(items[i], "LIO_WAIT did not");
        failed += error != 0;
    }
    if (wait && (failed ? r == 0 || err != EIO : r != 0))
        broken(NULL, "LIO_WAIT: %d %s, %d failed", r, strerror(err), failed);
    l->used = notify;
}

static void cancelled(struct thread *t, const struct object *o, const struct slot *one, int fd) {
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (s->what && (one ? s == one : s->object == o && s->cb->aio_fildes == fd))
            s->cancelled = true;
}

static void op_cancel(struct thread *t) {
    struct slot *s = &t->slots[below(t, SLOTS)];
    struct object *o = s->what && !s->ended ? s->object : NULL;
    if (!has('c') || glibc || !o || o->closed || s->overtaken) return;
    struct slot *one = one_in(t, 2) ? s : NULL;
    int fd = s->cb->aio_fildes;
    if (one && one_in(t, 10)) {
        if (aio_cancel(read_only, s->cb) != -1 || errno != EINVAL) broken(s, "cancel: not EINVAL");
        return;
    }
    bool was_ended = aio_error(s->cb) != EINPROGRESS;
    cancelled(t, o, one, fd);
    int r = aio_cancel(fd, one ? s->cb : NULL), err = aio_error(s->cb);
    if (r < 0) broken(s, "aio_cancel: %s", strerror(errno));
    if (one && was_ended && r != AIO_ALLDONE) broken(s, "aio_cancel of an ended one: %d", r);
    if (r != AIO_NOTCANCELED && err == EINPROGRESS) broken(s, "aio_cancel: %d, in progress", r);
    if (one && r == AIO_CANCELED && err != ECANCELED) broken(s, "not ECANCELED but %d", err);
}

static void op_suspend(struct thread *t) {
    const struct aiocb *list[SLOTS + 2];
    int n = 0;
    bool sure = false, foreign = one_in(t, 5);
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &t->slots[i];
        if (one_in(t, 2)) continue;
        bool in = s->what && !s->ended;
        list[n++] = in ? s->cb : NULL;
        sure |= in && (s->what == WRONG || (s->object && is_file(s->object) && s->what != SYNC));
    }
    if (foreign)
        list[n++] = &threads[below(t, (unsigned)nthreads)].slots[below(t, SLOTS) & ~1u].own;
    struct timespec limit = {0, below(t, 3) * 300000l};
    bool any = foreign;
    for (int i = 0; i < n; i++) any |= list[i] != NULL;
    int r = aio_suspend(list, n, sure && one_in(t, 2) ? NULL : &limit), err = errno;
    if (r && err != EAGAIN && err != EINTR) broken(NULL, "aio_suspend: %s", strerror(err));
    if (r == 0 && any && !foreign) {
        bool one = false;
        for (int i = 0; i < n; i++) one |= list[i] && aio_error(list[i]) != EINPROGRESS;
        if (!one) broken(NULL, "aio_suspend: 0, but all are in progress");
    }
}

static int in_child(void) {
    static unsigned char out[BLOCK], in[BLOCK];
    int fd = memfd_create("child", 0);
    for (int i = 0; i < 3; i++) {
        struct aiocb cb[2], *list[] = {&cb[0], &cb[1]};
        memset(cb, 0, sizeof cb);
        for (int k = 0; k < 2; k++) {
            cb[k].aio_fildes = fd;
            cb[k].aio_nbytes = BLOCK / 2;
            cb[k].aio_offset = (off_t)(k * BLOCK / 2);
            cb[k].aio_buf = out + k * BLOCK / 2;
            cb[k].aio_lio_opcode = LIO_WRITE;
        }
        memset(out, 'a' + i, sizeof out);
        while (lio_listio(LIO_WAIT, list, 2, NULL) && errno == EINTR) continue;
        for (int k = 0; k < 2; k++)
            while (aio_error(&cb[k]) == EINPROGRESS)
                aio_suspend((const struct aiocb *[]){&cb[k]}, 1, NULL);
        cb[0].aio_buf = in;
        cb[0].aio_nbytes = BLOCK;
        if (aio_read(&cb[0])) return 10;
        while (aio_error(&cb[0]) == EINPROGRESS)
            aio_suspend((const struct aiocb *[]){&cb[0]}, 1, NULL);
        if (aio_return(&cb[0]) != BLOCK || memcmp(in, out, BLOCK)) return 11;
    }
    return 0;
}

static void op_fork(struct thread *t) {
    if (!has('f') || glibc || !one_in(t, 30)) return;
    fflush(stdout);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm((unsigned)patience_s);
        _exit(in_child());
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (status) broken(NULL, "the child: status %x", status);
}

/* Closes it, or puts another file on its number, with requests in progress. */
static void replace_roughly(struct thread *t, struct object *o, struct object **place) {
    for (struct slot *s = t->slots; s < t->slots + SLOTS; s++)
        if (s->what && s->object == o) s->overtaken = true;
    int fds[] = {o->fd, o->peer}, swap = (int)below(t, 2);
    bool over = one_in(t, 2);
    o->closed = o->flying > 0 || o->lanes[0].first[0] || o->kind >= PIPE;
    *place = over ? object_new(t) : NULL;
    if (over) {
        int fd = o->fd;
        need((one_in(t, 2) ? dup2((*place)->fd, fd) : dup3((*place)->fd, fd, O_CLOEXEC)) == fd,
             "dup2");
        close((*place)->fd);
        (*place)->fd = fd;
        fds[0] = -1;
    }
    for (int i = 0; i < 2; i++)
        if (fds[i ^ swap] >= 0) close(fds[i ^ swap]);
    o->closed = true;
    if (o->kind == FIFO && o->peer >= 0) close(o->check), o->check = -1; /* EPIPE for writes */
    look_until_ended(t, o);
    object_free(o);
    if (!over) *place = object_new(t);
}

static void op_replace(struct thread *t) {
    struct object **place = &t->objects[below(t, OBJECTS)], *o = *place;
    if (!one_in(t, 10)) return;
    if (!glibc && has('x') && one_in(t, 2)) {
        replace_roughly(t, o, place);
        return;
    }
    for (int i = 0; i < 2; i++) {
        int fd = i ? o->peer : o->fd;
        if (fd < 0 || is_file(o) || glibc) continue;
        cancelled(t, o, NULL, fd);
        aio_cancel(fd, NULL);
    }
    look_until_ended(t, o);
    object_free(o);
    *place = object_new(t);
}

static void *run(void *arg) {
    struct thread *t = arg;
    for (int i = 0; i < OBJECTS; i++) t->objects[i] = object_new(t);
    for (long i = 0; i < ops / nthreads; i++, atomic_fetch_add(&done, 1)) {
        switch (below(t, 20)) {
        default: op_request(t); break;
        case 0: op_sync(t); break;
        case 1:
        case 2: op_list(t); break;
        case 3: op_cancel(t); break;
        case 4:
        case 5: op_suspend(t); break;
        case 6: op_fork(t); break;
        case 7: op_replace(t); break;
        case 8:
        case 9:
        case 10: look_at_all(t, NULL); break;
        case 11:
        case 12: look(t, &t->slots[below(t, SLOTS)]); break;
        }
    }
    for (int i = 0; i < OBJECTS; i++) {
        struct object *o = t->objects[i];
        cancelled(t, o, NULL, o->fd);
        cancelled(t, o, NULL, o->peer);
        if (!glibc) aio_cancel(o->fd, NULL);
        if (!glibc && o->peer >= 0) aio_cancel(o->peer, NULL);
        look_until_ended(t, o);
        object_free(o);
    }
    look_until_ended(t, NULL);
    return NULL;
}

/* Ends a run that hangs, and says what of. */
static void *watch(void *unused) {
    long last = -1;
    for (time_t since = now_s();; usleep(200000)) {
        if (atomic_load(&done) != last) last = atomic_load(&done), since = now_s();
        if (now_s() < since + 2 * patience_s) continue;
        for (int i = 0; i < nthreads * SLOTS; i++) {
            struct slot *s = &threads[i / SLOTS].slots[i % SLOTS];
            if (s->what && !s->ended)
                printf("%d: %s of %c\n", i, whats[s->what],
                       s->object ? KINDS[s->object->kind] : '-');
        }
        broken(NULL, "it hangs");
    }
    return unused;
}

int main(int argc, char *argv[]) {
    if (argc < 2) return 2;
    seed = argv[1];
    if (argc > 2) ops = atol(argv[2]);
    if (argc > 3) without = argv[3];
    const char *side = getenv("TEST_SIDE");
    glibc = side && !strcmp(side, "glibc");
    if (!has('t')) nthreads = 1;
    if (getenv("FUZZ_FAULT")) fault = atoi(getenv("FUZZ_FAULT"));
    if (getenv("FUZZ_PATIENCE")) patience_s = atoi(getenv("FUZZ_PATIENCE"));
    if (getenv("TEST_SLOW")) patience_s *= atoi(getenv("TEST_SLOW")); /* tests/run */
    uint64_t state = strtoull(seed, NULL, 0);
    directory = open(".", O_RDONLY | O_CLOEXEC);
    read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    to_high(&directory), to_high(&read_only);
    rt_signal = SIGRTMIN + 3;
    struct sigaction action = {.sa_sigaction = on_notification, .sa_flags = SA_SIGINFO};
    if (glibc || next_random(&state) % 2) action.sa_flags |= SA_RESTART;
    sigaction(rt_signal, &action, NULL);
    action.sa_flags &= ~SA_SIGINFO;
    action.sa_handler = on_interruption;
    sigaction(SIGALRM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < nthreads; i++) {
        threads[i].index = i;
        threads[i].random = next_random(&state);
        for (int k = 0; k < SLOTS; k++) {
            struct slot *s = &threads[i].slots[k];
            s->cb = &s->own;
            need(!posix_memalign((void **)&s->buf, BLOCK, MOST + 8), "memory");
        }
    }
    pthread_t watcher;
    pthread_create(&watcher, NULL, watch, NULL);
    struct itimerval often = {{0, 1500}, {0, 1500}}, never = {{0, 0}, {0, 0}};
    if (!glibc && has('h')) setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < nthreads; i++)
        need(!pthread_create(&threads[i].thread, NULL, run, &threads[i]), "thread");
    for (int i = 0; i < nthreads; i++) pthread_join(threads[i].thread, NULL);
    setitimer(ITIMER_REAL, &never, NULL);
    printf("%ld operations, %ld requests, seed %s: done\n", atomic_load(&done),
           atomic_load(&requests), seed);
    return 0;
}
