/* SPDX-License-Identifier: MIT */
/* elf.h - ELF files of either class and either byte order, and what ld.so would load with them. */
#ifndef KAIO_TOOLS_ELF_H
#define KAIO_TOOLS_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A file, mapped. */
struct elf {
    const char *base; /* NULL: not an ELF file */
    size_t size;
    bool wide, swapped; /* 64-bit; the other byte order */
    dev_t device;
    ino_t inode;
};

/* 0, or errno: why it cannot be read. */
int elf_load(int fd, struct elf *elf);
int elf_open(const char *path, struct elf *elf);
void elf_close(struct elf *elf);

bool elf_same_machine(const struct elf *a, const struct elf *b);
const char *elf_machine(const struct elf *elf);     /* in words */
const char *elf_interpreter(const struct elf *elf); /* its ld.so; NULL: none */

/* What is known of a program or library; read once. */
struct object {
    struct object *next;
    const char *path;
    uint32_t machine; /* class, byte order and processor; 0: no ELF file */
    dev_t device;
    ino_t inode; /* the same file may have several paths */
    bool program, is_static;
    unsigned calls, defined; /* bits: AIO calls that it imports, or has inside */
    unsigned waits;          /* bits: ways to be told of an end that it imports */
    char **needed, *runpath; /* NULL behind the last name; runpath: DT_RUNPATH or DT_RPATH */
    bool inherited;          /* it is DT_RPATH, for its libraries' libraries, too */
    unsigned seen;
};

struct object *object_get(const char *path);

/* The object, and what ld.so would load with it; NULL behind the last. Until the next call. */
struct object **object_family(struct object *object);

/* Of a bit: aio_read and so on; sigwaitinfo and so on. NULL: there is none. */
const char *object_call(unsigned i);
const char *object_wait(unsigned i);

#endif
