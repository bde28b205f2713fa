# make: build/libkaio.so. make check: the tests (scripts/test installs what they need first).
CC ?= gcc
CFLAGS ?= -O2 -g
KAIO_CFLAGS = -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -ftls-model=initial-exec \
	-Wall -Wextra -Werror -fstack-protector-strong -pthread
KAIO_LDFLAGS = -shared -pthread -Wl,-z,relro,-z,now,-z,noexecstack,-soname,libkaio.so
OBJECTS = $(patsubst shim/%.c,build/shim/%.o,$(wildcard shim/*.c))

all: build/libkaio.so build/kaio-check build/kaio-top

build/libkaio.so: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) $(KAIO_LDFLAGS) -o $@ $^

build/shim/%.o: shim/%.c $(wildcard shim/*.h) shim/options.def Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(KAIO_CFLAGS) -c -o $@ $<

build/kaio-check: scripts/kaio-check.c shim/options.def Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 -Wall -Wextra -Werror -o $@ $<

build/kaio-top: $(wildcard tools/*.[ch]) shim/stats.h Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -o $@ $(filter %.c,$^)

TESTS = $(patsubst %.c,build/%,$(wildcard tests/api/*.c tests/proof/*.c))

tests: $(TESTS)

build/tests/%: tests/%.c tests/api/test.h tests/proof/hold.h shim/stats.h Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 -Wall -Wextra -Werror -pthread -o $@ $< -laio

BENCHES = $(patsubst %.c,build/%,$(wildcard tests/bench/*.c))

# The microbenchmarks; scripts/bench runs them.
bench: $(BENCHES)

build/tests/bench/%: tests/bench/%.c $(wildcard tests/bench/*.h) Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 -Wall -Wextra -Werror -pthread -o $@ $< -laio

check: all tests
	tests/run

clean:
	rm -rf build

.PHONY: all tests bench check clean
