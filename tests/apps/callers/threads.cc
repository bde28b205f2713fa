// SPDX-License-Identifier: MIT
// C++: aiocbs in a vector, std::thread, exceptions thrown while requests are in flight, whose
// destructors wait for them, also when the thread is cancelled in aio_suspend().
#include <aio.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace {

constexpr int blocks = 32, block = 4096;
int file;

aiocb request(int fd, void *buf, size_t n, off_t offset) {
    aiocb cb{};
    cb.aio_fildes = fd;
    cb.aio_buf = buf;
    cb.aio_nbytes = n;
    cb.aio_offset = offset;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    cb.aio_lio_opcode = LIO_READ;
    return cb;
}

void wait(const aiocb &cb) {
    const aiocb *list[] = {&cb};
    while (aio_error(&cb) == EINPROGRESS) aio_suspend(list, 1, nullptr);
}

std::atomic<int> destroyed;

// A read in flight; its end waits for it.
class Read {
  public:
    Read(int i) : data(block), cb(request(file, data.data(), block, off_t(i) * block)), number(i) {
        if (aio_read(&cb)) throw std::system_error(errno, std::generic_category(), "aio_read");
    }
    Read(const Read &) = delete;
    ~Read() {
        wait(cb);
        destroyed += aio_error(&cb) == 0 && data[0] == char('A' + number % 26);
    }
    bool good() {
        wait(cb);
        return aio_return(&cb) == block &&
               data == std::vector<char>(block, char('A' + number % 26));
    }

  private:
    std::vector<char> data;
    aiocb cb;
    int number;
};

void vectors() {
    std::vector<char> data(blocks * block);
    std::vector<aiocb> cbs;
    std::vector<aiocb *> list;
    for (int i = 0; i < blocks; i++)
        cbs.push_back(request(file, &data[size_t(i) * block], block, off_t(i) * block));
    for (auto &cb : cbs) list.push_back(&cb);
    int res = lio_listio(LIO_NOWAIT, list.data(), blocks, nullptr), good = 0;
    for (auto &cb : cbs) {
        wait(cb);
        good += aio_return(&cb) == block &&
                *static_cast<volatile char *>(cb.aio_buf) == 'A' + cb.aio_offset / block % 26;
    }
    std::cout << "vector: " << res << ", " << good << " good\n";
}

void threads() {
    std::atomic<int> good{0};
    std::vector<std::thread> all;
    for (int t = 0; t < 4; t++)
        all.emplace_back([&good, t] {
            for (int i = 0; i < 100; i++) good += Read((t * 7 + i) % blocks).good();
        });
    for (auto &thread : all) thread.join();
    std::cout << "threads: " << good << " good\n";
}

void thrower(int depth) {
    Read read(depth);
    if (depth == 20) throw std::runtime_error("thrown");
    thrower(depth + 1);
}

void exceptions() {
    destroyed = 0;
    try {
        thrower(0);
    } catch (const std::runtime_error &e) {
        std::cout << e.what() << ", " << destroyed << " good on the way\n";
    }
    try {
        aiocb cb = request(file, nullptr, 0, 0);
        cb.aio_reqprio = 100;
        if (aio_read(&cb)) throw std::system_error(errno, std::generic_category());
    } catch (const std::system_error &e) {
        std::cout << "EINVAL: " << (e.code() == std::errc::invalid_argument) << "\n";
    }
}

// A pipe's read that ends when its owner does.
struct Waiting {
    int fds[2];
    char c = 0;
    aiocb cb;
    Waiting() {
        if (pipe(fds)) throw std::system_error(errno, std::generic_category());
        cb = request(fds[0], &c, 1, 0);
        aio_read(&cb);
    }
    ~Waiting() {
        if (write(fds[1], "x", 1) == 1) wait(cb);
        destroyed += aio_return(&cb) == 1 && c == 'x';
        close(fds[0]);
        close(fds[1]);
    }
};

void cancelled() {
    destroyed = 0;
    for (int i = 0; i < 20; i++) {
        std::atomic<bool> there{false};
        std::thread thread([&there] {
            Read read(1);
            Waiting waiting;
            there = true;
            wait(waiting.cb);
        });
        while (!there) std::this_thread::yield();
        if (i % 2) usleep(1000); // asleep, most often
        pthread_cancel(thread.native_handle());
        thread.join();
    }
    std::cout << "cancelled: " << destroyed << " destroyed well\n";
}

struct Call {
    std::mutex mutex;
    std::condition_variable changed;
    int calls = 0;
};

void call(sigval value) {
    auto &c = *static_cast<Call *>(value.sival_ptr);
    try {
        throw 1;
    } catch (int n) {
        std::lock_guard<std::mutex> lock(c.mutex);
        c.calls += n;
        c.changed.notify_one();
    }
}

void callbacks() {
    Call c;
    char data[64];
    std::vector<aiocb> cbs(20);
    for (auto &cb : cbs) {
        cb = request(file, data, sizeof data, 0);
        cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
        cb.aio_sigevent.sigev_value.sival_ptr = &c;
        cb.aio_sigevent.sigev_notify_function = call;
        aio_read(&cb);
    }
    std::unique_lock<std::mutex> lock(c.mutex);
    c.changed.wait(lock, [&c] { return c.calls == 20; });
    std::cout << "callbacks: " << c.calls << "\n";
}

} // namespace

int main() {
    char path[] = "threads.XXXXXX";
    file = mkstemp(path);
    unlink(path);
    for (int i = 0; i < blocks; i++)
        if (write(file, std::vector<char>(block, char('A' + i % 26)).data(), block) < 0) return 1;
    for (int i = 0; getenv("TEST_WARM") && i < 80; i++)
        if (!Read(i % blocks).good()) return 1;
    vectors();
    threads();
    exceptions();
    cancelled();
    callbacks();
}
