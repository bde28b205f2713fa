/* SPDX-License-Identifier: MIT */
/* probe.h - USDT probes of provider "libkaio": a nop each until perf, bpftrace or gdb asks.
 *
 *   submit    aiocb, operation, descriptor, offset, bytes   a request has been taken
 *   decline   aiocb, reason (enum kaio_reason)              it is not left to the kernel
 *   complete  aiocb, lane (enum kaio_lane), result          just before its status is stored
 *   notify    sigev_notify, signal number                   just before the program is told
 *
 * They are there if <sys/sdt.h> (systemtap-sdt-dev) was, when the library was built.
 */
#ifndef KAIO_PROBE_H
#define KAIO_PROBE_H

#if __has_include(<sys/sdt.h>)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define KAIO_PROBE(name, ...) STAP_PROBEV(libkaio, name, __VA_ARGS__)
#else
#define KAIO_PROBE(name, ...) ((void)0)
#endif

#endif
