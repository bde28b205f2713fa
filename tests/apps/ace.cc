// SPDX-License-Identifier: MIT
// ace aiocb|sig FROM TO - an ACE Proactor copies a file, several blocks at a time, while it sends
// the same file through a pair of sockets and checks what comes out; ace.sh. "aiocb": it waits with
// aio_suspend() for its array of requests, among them the read of a pipe by which it is woken;
// "sig": each request queues a signal.
#include <ace/Asynch_IO.h>
#include <ace/Message_Block.h>
#include <ace/POSIX_Proactor.h>
#include <ace/Proactor.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 8192, BLOCKS_AT_ONCE = 8, REQUESTS_AT_MOST = 64 };

static void need(bool ok, const char *what) {
    if (ok) return;
    perror(what);
    exit(1);
}

// Each block that has been written lets the next one be read.
class Copy : public ACE_Handler {
  public:
    Copy(int from, int to, ACE_Proactor *proactor) {
        need(reader.open(*this, from, 0, proactor) == 0, "Asynch_Read_File");
        need(writer.open(*this, to, 0, proactor) == 0, "Asynch_Write_File");
        struct stat st;
        need(fstat(from, &st) == 0, "fstat");
        size = st.st_size;
        for (int i = 0; i < BLOCKS_AT_ONCE; i++) next();
    }
    bool ended() const {
        return written == size;
    }

    void handle_read_file(const ACE_Asynch_Read_File::Result &result) override {
        need(result.success() && result.bytes_transferred() > 0, "read of the file");
        u_long at = result.offset();
        need(writer.write(result.message_block(), result.bytes_transferred(), at) == 0, "write");
    }
    void handle_write_file(const ACE_Asynch_Write_File::Result &result) override {
        need(result.success() && result.bytes_transferred() == result.bytes_to_write(),
             "write of the file");
        written += result.bytes_transferred();
        result.message_block().release();
        next();
    }

  private:
    void next() {
        if (asked >= size) return;
        u_long at = asked;
        asked += BLOCK;
        need(reader.read(*new ACE_Message_Block(BLOCK), BLOCK, at) == 0, "read");
    }
    ACE_Asynch_Read_File reader;
    ACE_Asynch_Write_File writer;
    off_t size, asked = 0, written = 0;
};

// The data goes into one socket while it is read from the other.
class Stream : public ACE_Handler {
  public:
    Stream(const std::string &sent, ACE_Proactor *proactor) : data(sent) {
        int ends[2];
        need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
        need(reader.open(*this, ends[0], 0, proactor) == 0, "Asynch_Read_Stream");
        need(writer.open(*this, ends[1], 0, proactor) == 0, "Asynch_Write_Stream");
        read();
        write();
    }
    bool ended() const {
        return received.size() == data.size();
    }
    bool is_right() const {
        return received == data;
    }

    void handle_read_stream(const ACE_Asynch_Read_Stream::Result &result) override {
        need(result.success() && result.bytes_transferred() > 0, "read of the socket");
        received.append(result.message_block().rd_ptr(), result.bytes_transferred());
        result.message_block().release();
        if (!ended()) read();
    }
    void handle_write_stream(const ACE_Asynch_Write_Stream::Result &result) override {
        need(result.success(), "write of the socket");
        sent += result.bytes_transferred();
        result.message_block().release();
        if (sent < data.size()) write();
    }

  private:
    void read() {
        need(reader.read(*new ACE_Message_Block(BLOCK), BLOCK) == 0, "read");
    }
    void write() {
        size_t n = std::min<size_t>(data.size() - sent, BLOCK);
        auto *block = new ACE_Message_Block(n);
        block->copy(data.data() + sent, n);
        need(writer.write(*block, n) == 0, "write");
    }
    ACE_Asynch_Read_Stream reader;
    ACE_Asynch_Write_Stream writer;
    std::string data, received;
    size_t sent = 0;
};

static std::string contents(int fd) {
    std::string all;
    char buf[BLOCK];
    for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;) all.append(buf, (size_t)n);
    return all;
}

int main(int argc, char **argv) {
    need(argc == 4, "three arguments");
    const char *slow = getenv("TEST_SLOW"); // tests/run
    alarm(60 * (slow ? atoi(slow) : 1));
    ACE_POSIX_Proactor *way;
    if (!strcmp(argv[1], "sig")) way = new ACE_POSIX_SIG_Proactor(REQUESTS_AT_MOST);
    else way = new ACE_POSIX_AIOCB_Proactor(REQUESTS_AT_MOST);
    ACE_Proactor proactor(way, true);
    int from = open(argv[2], O_RDONLY), to = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    need(from >= 0 && to >= 0, "open");
    Stream stream(contents(from), &proactor);
    Copy copy(from, to, &proactor);
    while (!copy.ended() || !stream.ended()) need(proactor.handle_events() >= 0, "handle_events");
    need(stream.is_right(), "data of the socket");
    puts("done");
}
