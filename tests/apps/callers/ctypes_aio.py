# SPDX-License-Identifier: MIT
"""AIO through ctypes, struct aiocb laid out by hand, in several threads."""
import ctypes
import errno
import os
import tempfile
import threading

libc = ctypes.CDLL(None, use_errno=True)
LIO_READ, LIO_WRITE, LIO_NOP, LIO_WAIT, SIGEV_NONE = 0, 1, 2, 0, 1


class Aiocb(ctypes.Structure):
    _fields_ = [
        ("fildes", ctypes.c_int),
        ("lio_opcode", ctypes.c_int),
        ("reqprio", ctypes.c_int),
        ("buf", ctypes.c_void_p),
        ("nbytes", ctypes.c_size_t),
        ("sigev_value", ctypes.c_void_p),
        ("sigev_signo", ctypes.c_int),
        ("sigev_notify", ctypes.c_int),
        ("sigev_rest", ctypes.c_char * 48),
        ("private", ctypes.c_char * 32),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_char * 32),
    ]


assert ctypes.sizeof(Aiocb) == 168 and Aiocb.offset.offset == 128
libc.aio_return.restype = ctypes.c_ssize_t


def request(fd, buf, n, offset, opcode=LIO_NOP):
    return Aiocb(fildes=fd, buf=ctypes.addressof(buf) if buf else None, nbytes=n, offset=offset,
                 lio_opcode=opcode, sigev_notify=SIGEV_NONE)


def finish(cb):
    waits = (ctypes.POINTER(Aiocb) * 1)(ctypes.pointer(cb))
    while libc.aio_error(ctypes.byref(cb)) == errno.EINPROGRESS:
        libc.aio_suspend(waits, 1, None)
    return libc.aio_error(ctypes.byref(cb)), libc.aio_return(ctypes.byref(cb))


def listed(fd, n):
    bufs = [ctypes.create_string_buffer(100) for _ in range(n)]
    cbs = [request(fd, buf, 100, i * 100, LIO_READ) for i, buf in enumerate(bufs)]
    pointers = (ctypes.POINTER(Aiocb) * n)(*map(ctypes.pointer, cbs))
    res = libc.lio_listio(LIO_WAIT, pointers, n, None)
    return res, [finish(cb) for cb in cbs], b"".join(buf.raw for buf in bufs)


def main():
    with tempfile.TemporaryFile(dir=".") as file:
        fd, text = file.fileno(), bytes(i % 251 for i in range(4000))
        buf = ctypes.create_string_buffer(text, len(text))
        for _ in range(20 if os.environ.get("TEST_WARM") else 0):
            cb = request(fd, buf, 0, 0)
            assert libc.aio_read(ctypes.byref(cb)) == 0 and finish(cb) == (0, 0)
        write, sync = request(fd, buf, len(text), 0), request(fd, None, 0, 0)
        print("write", libc.aio_write(ctypes.byref(write)))
        print("sync", libc.aio_fsync(os.O_SYNC, ctypes.byref(sync)), finish(sync), finish(write))
        back = ctypes.create_string_buffer(5000)
        read = request(fd, back, 5000, 0)
        print("read", libc.aio_read(ctypes.byref(read)), finish(read), back.raw[:4000] == text)
        res, results, data = listed(fd, 40)
        print("list", res, set(results), data == text)
        read.reqprio = 21
        print("priority", libc.aio_read(ctypes.byref(read)), ctypes.get_errno() == errno.EINVAL)
        results = []
        threads = [threading.Thread(target=lambda: results.append(listed(fd, 40) == (res, [(0, 100)] * 40, text)))
                   for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("threads", results)
        pipe = os.pipe()
        read = request(pipe[0], back, 10, 0)
        print("pipe", libc.aio_read(ctypes.byref(read)),
              libc.aio_error(ctypes.byref(read)) == errno.EINPROGRESS)
        os.write(pipe[1], b"through")
        print("pipe", finish(read), back.raw[:7])


main()
