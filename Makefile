# make: build/libkaio.so. make check: the tests (scripts/test installs what they need first).
CC ?= gcc
CFLAGS ?= -O2 -g
KAIO_CFLAGS = -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -ftls-model=initial-exec \
	-Wall -Wextra -Werror -fstack-protector-strong -pthread
KAIO_LDFLAGS = -shared -pthread -Wl,-z,relro,-z,now,-z,noexecstack,-soname,libkaio.so
OBJECTS = $(patsubst shim/%.c,build/shim/%.o,$(wildcard shim/*.c))

VERSION = 0.1.0

TOOLS = build/kaio-check build/kaio-measure
MANUAL = build/man/kaio.1 build/man/libkaio.7

all: build/libkaio.so $(TOOLS) $(MANUAL)

build/libkaio.so: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) $(KAIO_LDFLAGS) -o $@ $^

build/shim/%.o: shim/%.c shim/kaio.h shim/options.def Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(KAIO_CFLAGS) -c -o $@ $<

TOOL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -DKAIO_VERSION='"$(VERSION)"'

build/kaio-check: tools/kaio-check.c tools/options.c tools/probe.c tools/check.h shim/options.def Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(TOOL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^)

build/kaio-measure: tools/kaio-measure.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(TOOL_CFLAGS) $(LDFLAGS) -o $@ $<

# A line .\" @--FORM@ becomes the table of options in that form, @VERSION@ the version.
build/man/%: man/% build/kaio-check Makefile
	@mkdir -p $(@D)
	awk -v version=$(VERSION) '/^\.\\" @--/ { gsub(/.*@--|@/, ""); \
		system("build/kaio-check --" $$0); next } { gsub(/@VERSION@/, version); print; fflush() }' $< >$@

TESTS = $(patsubst %.c,build/%,$(wildcard tests/api/*.c tests/proof/*.c))

tests: $(TESTS)

build/tests/%: tests/%.c tests/api/test.h Makefile
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
