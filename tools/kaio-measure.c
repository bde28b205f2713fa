/* kaio-measure - runs a command once and writes what it took, as a line of JSON; for kaio ab.
 *
 *   kaio-measure [-e NAME=VALUE] ... RESULT COMMAND [ARGUMENT ...]
 *     -e  set for the command only
 *
 * Times, memory and switches are wait4()'s: of the command and of the children it waited for. The
 * threads that it and its children create are counted from the kernel's records of each fork and
 * clone (perf_event_open(2), a dummy event on each CPU), which do not slow it down; where these are
 * not allowed (perf_event_paranoid above 2, seccomp) there is no such figure.
 * What the machine did otherwise meanwhile: CPU time of other programs (all that /proc/stat has,
 * but for interrupts, less the command's) and stolen by the hypervisor, in seconds of one CPU; how
 * long something waited for a CPU (/proc/pressure/cpu). Exit status: 0 if there is a RESULT, 125 if
 * not.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE      4096u
#define RING      (32ul * PAGE) /* of records, on each CPU; emptied when half full */
#define CPUS_MOST 1024
#define UNCOUNTED (-1)

static struct perf_event_mmap_page *rings[CPUS_MOST];
static struct pollfd fds[CPUS_MOST + 1]; /* the rings', and the command's pidfd */
static int nrings;

static void (*on_int)(int), (*on_quit)(int); /* as they are for the command */

static int fail(const char *what) {
    fprintf(stderr, "kaio: %s: %s\n", what, strerror(errno));
    return 125;
}

static double seconds(const struct timeval *t) {
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct machine {
    double busy, steal, pressure; /* seconds; pressure: UNCOUNTED if the kernel does not tell */
};

static struct machine machine_now(void) {
    unsigned long long user = 0, nice = 0, system = 0, steal = 0, waited;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    FILE *file = fopen("/proc/stat", "re");
    if (file &&
        fscanf(file, "cpu %llu %llu %llu %*u %*u %*u %*u %llu", &user, &nice, &system, &steal) != 4)
        steal = 0;
    if (file) fclose(file);
    struct machine m = {(double)(user + nice + system) / ticks, (double)steal / ticks, UNCOUNTED};
    file = fopen("/proc/pressure/cpu", "re");
    if (file && fscanf(file, "some avg10=%*f avg60=%*f avg300=%*f total=%llu", &waited) == 1)
        m.pressure = (double)waited / 1e6;
    if (file) fclose(file);
    return m;
}

static void put_machine(FILE *out, const struct machine *then, const struct machine *now,
                        const struct rusage *usage) {
    double others = now->busy - then->busy - seconds(&usage->ru_utime) - seconds(&usage->ru_stime);
    fprintf(out, "\"cpus\":%ld,\"others_s\":%.3f,\"steal_s\":%.3f,", sysconf(_SC_NPROCESSORS_ONLN),
            others > 0 ? others : 0, now->steal - then->steal);
    if (then->pressure >= 0 && now->pressure >= 0)
        fprintf(out, "\"pressure_s\":%.6f,", now->pressure - then->pressure);
}

/* The child waits for a byte, so that nothing of it is missed. */
static pid_t start(char *argv[], int *gate) {
    int ends[2];
    if (pipe(ends)) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(ends[1]);
        signal(SIGINT, on_int);
        signal(SIGQUIT, on_quit);
        if (read(ends[0], &byte, 1) < 0) _exit(127);
        close(ends[0]);
        execvp(*argv, argv);
        fail(*argv);
        _exit(errno == ENOENT ? 127 : 126);
    }
    close(ends[0]);
    *gate = ends[1];
    return pid;
}

/* 0: no thread yet. */
static long watch(pid_t pid) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .config = PERF_COUNT_SW_DUMMY,
                                   .size = sizeof attr,
                                   .task = 1,
                                   .inherit = 1,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1,
                                   .watermark = 1,
                                   .wakeup_watermark = RING / 2};
    long ncpus = sysconf(_SC_NPROCESSORS_CONF);
    if (ncpus > CPUS_MOST) return UNCOUNTED;
    for (int cpu = 0; cpu < ncpus; cpu++) {
        int fd = (int)syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd < 0 && errno == ENODEV) continue; /* offline */
        void *ring = fd < 0 ? MAP_FAILED
                            : mmap(NULL, PAGE + RING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (ring == MAP_FAILED) return UNCOUNTED;
        fds[nrings] = (struct pollfd){.fd = fd, .events = POLLIN};
        rings[nrings++] = ring;
    }
    return 0;
}

/* A record is 8 bytes of header, then for a fork the new task's process and its parent's. All is a
 * multiple of 8 bytes, so neither is split by the ring's end. */
static void count(struct perf_event_mmap_page *ring, long *threads) {
    const char *records = (char *)ring + PAGE;
    uint64_t at = ring->data_tail;
    /* acquire: pairs with the kernel's barrier between the records and data_head */
    uint64_t head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
    while (at < head && *threads >= 0) {
        const struct perf_event_header *header = (const void *)(records + at % RING);
        const uint32_t *process = (const void *)(records + (at + sizeof *header) % RING);
        if (header->type == PERF_RECORD_FORK) *threads += process[0] == process[1];
        if (header->type == PERF_RECORD_LOST) *threads = UNCOUNTED;
        at += header->size;
    }
    /* release: the records have been read before the kernel may write over them */
    __atomic_store_n(&ring->data_tail, head, __ATOMIC_RELEASE);
}

/* Empties the rings until the command has ended, and once more. */
static int wait_for(pid_t pid, struct rusage *usage, long *threads) {
    int status, ended = *threads < 0;
    fds[nrings] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    if (fds[nrings].fd < 0) *threads = UNCOUNTED, ended = 1;
    while (!ended) {
        ended = poll(fds, (nfds_t)nrings + 1, -1) > 0 && fds[nrings].revents;
        for (int i = 0; i < nrings; i++) count(rings[i], threads);
    }
    pid_t waited;
    while ((waited = wait4(pid, &status, 0, usage)) < 0 && errno == EINTR) continue;
    return waited < 0 ? -1 : status;
}

int main(int argc, char *argv[]) {
    int option, gate;
    while ((option = getopt(argc, argv, "+e:")) != -1)
        if (option != 'e' || putenv(optarg)) return 125;
    if (argc - optind < 2) return errno = EINVAL, fail("kaio-measure");
    FILE *out = fopen(argv[optind], "we");
    if (!out) return fail(argv[optind]);
    on_int = signal(SIGINT, SIG_IGN); /* the command's to answer; its run ends with it */
    on_quit = signal(SIGQUIT, SIG_IGN);
    struct rusage usage;
    pid_t pid = start(argv + optind + 1, &gate);
    if (pid < 0) return fail("fork");
    long threads = watch(pid);
    struct machine before = machine_now();
    double began = now();
    close(gate);
    int status = wait_for(pid, &usage, &threads);
    double wall = now() - began;
    struct machine after = machine_now();
    if (status < 0) return fail("wait");
    fprintf(out, "{\"wall_s\":%.6f,\"user_s\":%.6f,\"system_s\":%.6f,\"max_rss_kib\":%ld,", wall,
            seconds(&usage.ru_utime), seconds(&usage.ru_stime), usage.ru_maxrss);
    fprintf(out, "\"voluntary_switches\":%ld,\"involuntary_switches\":%ld,", usage.ru_nvcsw,
            usage.ru_nivcsw);
    put_machine(out, &before, &after, &usage);
    if (threads >= 0) fprintf(out, "\"threads\":%ld,", threads);
    fprintf(out, "\"status\":%d,\"signal\":%d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : 0,
            WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return fclose(out) ? fail(argv[optind]) : 0;
}
