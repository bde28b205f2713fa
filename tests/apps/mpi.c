/* SPDX-License-Identifier: MIT */
// MPI-IO with many requests in flight and a check of all data: mpi FILE [ROUNDS]. Without
// non-blocking collective calls if MPI_BLOCKING is set. Any number of ranks; the file's contents
// depend only on these. The byte at each place follows from its offset, so a rank can check
// what another one wrote. Non-blocking calls are what MPI libraries make with POSIX AIO.
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, REQUESTS = 64, PIECE = 512, FEW = 4 };
static int rank, ranks;
static MPI_File file;
static MPI_Request requests[REQUESTS];
static char *buffers;

static void must(int error, const char *what) {
    if (error == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(error, text, &length);
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}
#define MUST(call) must(call, #call)

// The bytes that belong at OFFSET; SALT tells the parts of the test from each other.
static uint64_t word(MPI_Offset offset, int salt) {
    return ((uint64_t)offset / 8 + 1) * 0x9e3779b97f4a7c15u + (uint64_t)salt;
}

static void fill(char *buffer, MPI_Offset offset, size_t length, int salt) {
    for (size_t i = 0; i < length; i += 8) {
        uint64_t value = word(offset + (MPI_Offset)i, salt);
        memcpy(buffer + i, &value, 8);
    }
}

static void check(const char *buffer, MPI_Offset offset, size_t length, int salt,
                  const char *part) {
    for (size_t i = 0; i < length; i += 8) {
        uint64_t value = word(offset + (MPI_Offset)i, salt);
        if (!memcmp(buffer + i, &value, 8)) continue;
        fprintf(stderr, "rank %d: %s: wrong data at %lld\n", rank, part,
                (long long)offset + (long long)i);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

// Waits for N requests, the last ones by MPI_Test, and sees that each moved its part of a rank's
// bytes.
static void end(int n, const char *part) {
    int length = REQUESTS * BLOCK / n;
    MPI_Status statuses[REQUESTS];
    MUST(MPI_Waitall(n / 2, requests, statuses));
    for (int i = n / 2, done; i < n; i++) do
            MUST(MPI_Test(&requests[i], &done, &statuses[i]));
        while (!done);
    for (int i = 0, count; i < n; i++) {
        MUST(MPI_Get_count(&statuses[i], MPI_BYTE, &count));
        if (count == length) continue;
        fprintf(stderr, "rank %d: %s: %d bytes instead of %d\n", rank, part, count, length);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

// What others wrote can be read after this, as MPI has it for a file that is not atomic.
static void publish(void) {
    MUST(MPI_File_sync(file));
    MUST(MPI_Barrier(MPI_COMM_WORLD));
    MUST(MPI_File_sync(file));
}

// Blocks dealt out in turn, with explicit offsets; each rank reads what its neighbour wrote.
static void at(MPI_Offset base, int salt) {
    for (int i = 0; i < REQUESTS; i++) {
        MPI_Offset offset = base + ((MPI_Offset)i * ranks + rank) * BLOCK;
        fill(buffers + i * BLOCK, offset, BLOCK, salt);
        MUST(MPI_File_iwrite_at(file, offset, buffers + i * BLOCK, BLOCK, MPI_BYTE, &requests[i]));
    }
    end(REQUESTS, "iwrite_at");
    publish();
    memset(buffers, 0, REQUESTS * BLOCK);
    int other = (rank + 1) % ranks;
    for (int i = 0; i < REQUESTS; i++)
        MUST(MPI_File_iread_at(file, base + ((MPI_Offset)i * ranks + other) * BLOCK,
                               buffers + i * BLOCK, BLOCK, MPI_BYTE, &requests[i]));
    end(REQUESTS, "iread_at");
    for (int i = 0; i < REQUESTS; i++)
        check(buffers + i * BLOCK, base + ((MPI_Offset)i * ranks + other) * BLOCK, BLOCK, salt,
              "iread_at");
}

// A stretch of each rank's own, through its file pointer.
static void pointer(MPI_Offset base, int salt) {
    MPI_Offset mine = base + (MPI_Offset)rank * REQUESTS * BLOCK;
    MUST(MPI_File_seek(file, mine, MPI_SEEK_SET));
    for (int i = 0; i < REQUESTS; i++) {
        fill(buffers + i * BLOCK, mine + i * BLOCK, BLOCK, salt);
        MUST(MPI_File_iwrite(file, buffers + i * BLOCK, BLOCK, MPI_BYTE, &requests[i]));
    }
    end(REQUESTS, "iwrite");
    publish();
    memset(buffers, 0, REQUESTS * BLOCK);
    mine = base + (MPI_Offset)((rank + 1) % ranks) * REQUESTS * BLOCK;
    MUST(MPI_File_seek(file, mine, MPI_SEEK_SET));
    for (int i = 0; i < REQUESTS; i++)
        MUST(MPI_File_iread(file, buffers + i * BLOCK, BLOCK, MPI_BYTE, &requests[i]));
    end(REQUESTS, "iread");
    check(buffers, mine, REQUESTS * BLOCK, salt, "iread");
}

// Collective calls on one large block a rank.
static void collective(MPI_Offset base, int salt) {
    MPI_Offset mine = base + (MPI_Offset)rank * REQUESTS * BLOCK;
    fill(buffers, mine, REQUESTS * BLOCK, salt);
    MUST(MPI_File_write_at_all(file, mine, buffers, REQUESTS * BLOCK, MPI_BYTE, MPI_STATUS_IGNORE));
    publish();
    memset(buffers, 0, REQUESTS * BLOCK);
    mine = base + (MPI_Offset)((rank + 1) % ranks) * REQUESTS * BLOCK;
    MUST(MPI_File_read_at_all(file, mine, buffers, REQUESTS * BLOCK, MPI_BYTE, MPI_STATUS_IGNORE));
    check(buffers, mine, REQUESTS * BLOCK, salt, "read_at_all");
}

// Non-blocking collective calls, many in progress at once; each rank's blocks lie together.
static void collectives(MPI_Offset base, int salt) {
    MPI_Offset mine = base + (MPI_Offset)rank * REQUESTS * BLOCK;
    fill(buffers, mine, REQUESTS * BLOCK, salt);
    for (int i = 0; i < REQUESTS; i++)
        MUST(MPI_File_iwrite_at_all(file, mine + i * BLOCK, buffers + i * BLOCK, BLOCK, MPI_BYTE,
                                    &requests[i]));
    end(REQUESTS, "iwrite_at_all");
    publish();
    memset(buffers, 0, REQUESTS * BLOCK);
    mine = base + (MPI_Offset)((rank + 1) % ranks) * REQUESTS * BLOCK;
    for (int i = 0; i < REQUESTS; i++)
        MUST(MPI_File_iread_at_all(file, mine + i * BLOCK, buffers + i * BLOCK, BLOCK, MPI_BYTE,
                                   &requests[i]));
    end(REQUESTS, "iread_at_all");
    check(buffers, mine, REQUESTS * BLOCK, salt, "iread_at_all");
}

// What goes through a view: requests of each rank's own, one collective call, or some that do not
// block.
enum way { OWN, ONE, SOME };

static void write_view(enum way way) {
    int n = way == OWN ? REQUESTS : FEW, length = REQUESTS * BLOCK / n;
    for (int i = 0; i < n && way != ONE; i++) {
        MPI_Offset at = (MPI_Offset)i * length;
        if (way == OWN)
            MUST(MPI_File_iwrite_at(file, at, buffers + at, length, MPI_BYTE, &requests[i]));
        else MUST(MPI_File_iwrite_at_all(file, at, buffers + at, length, MPI_BYTE, &requests[i]));
    }
    if (way != ONE) end(n, way == OWN ? "iwrite_at in a view" : "iwrite_at_all in a view");
    else
        MUST(
            MPI_File_write_at_all(file, 0, buffers, REQUESTS * BLOCK, MPI_BYTE, MPI_STATUS_IGNORE));
}

static void read_view(enum way way) {
    int n = way == OWN ? REQUESTS : FEW, length = REQUESTS * BLOCK / n;
    for (int i = 0; i < n && way != ONE; i++) {
        MPI_Offset at = (MPI_Offset)i * length;
        if (way == OWN)
            MUST(MPI_File_iread_at(file, at, buffers + at, length, MPI_BYTE, &requests[i]));
        else MUST(MPI_File_iread_at_all(file, at, buffers + at, length, MPI_BYTE, &requests[i]));
    }
    if (way != ONE) end(n, way == OWN ? "iread_at in a view" : "iread_at_all in a view");
    else
        MUST(MPI_File_read_at_all(file, 0, buffers, REQUESTS * BLOCK, MPI_BYTE, MPI_STATUS_IGNORE));
}

// Views in which each rank sees every ranks-th piece: requests of many pieces.
static void views(MPI_Offset base, int salt, int turns) {
    static const enum way writes[] = {OWN, ONE, SOME}, reads[] = {ONE, OWN, SOME};
    MPI_Datatype strided, tile;
    MUST(MPI_Type_vector(BLOCK / PIECE, PIECE, PIECE * ranks, MPI_BYTE, &strided));
    MUST(MPI_Type_create_resized(strided, 0, (MPI_Aint)BLOCK * ranks, &tile));
    MUST(MPI_Type_commit(&tile));
    MUST(MPI_File_set_view(file, base + rank * PIECE, MPI_BYTE, tile, "native", MPI_INFO_NULL));
    for (int turn = 0; turn < turns; turn++) {
        for (int i = 0; i < REQUESTS * BLOCK / PIECE; i++)
            fill(buffers + i * PIECE, base + ((MPI_Offset)i * ranks + rank) * PIECE, PIECE,
                 salt + turn);
        write_view(writes[turn]);
        publish();
        memset(buffers, 0, REQUESTS * BLOCK);
        read_view(reads[turn]);
        for (int i = 0; i < REQUESTS * BLOCK / PIECE; i++)
            check(buffers + i * PIECE, base + ((MPI_Offset)i * ranks + rank) * PIECE, PIECE,
                  salt + turn, "view");
        MUST(MPI_Barrier(MPI_COMM_WORLD));
    }
    MUST(MPI_File_set_view(file, 0, MPI_BYTE, MPI_BYTE, "native", MPI_INFO_NULL));
    MUST(MPI_Type_free(&tile));
    MUST(MPI_Type_free(&strided));
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int rounds = argc > 2 ? atoi(argv[2]) : 1, blocking = getenv("MPI_BLOCKING") != NULL;
    if (argc < 2 || rounds < 1 || !(buffers = malloc(REQUESTS * BLOCK)))
        MPI_Abort(MPI_COMM_WORLD, 2);
    MUST(MPI_File_open(MPI_COMM_WORLD, argv[1], MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL,
                       &file));
    MPI_Offset part = (MPI_Offset)ranks * REQUESTS * BLOCK;
    for (int i = 0; i < rounds; i++) {
        at(0, i);
        pointer(part, i);
        collective(2 * part, i);
        views(3 * part, i, blocking ? 2 : 3);
        if (!blocking) collectives(4 * part, i);
    }
    MUST(MPI_File_close(&file));
    if (rank == 0) printf("%d ranks: data right\n", ranks);
    free(buffers);
    MPI_Finalize();
    return 0;
}
