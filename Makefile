# make: build/libkaio.so and what scripts/kaio needs. make check: the tests (scripts/test installs what
# they need first). make install PREFIX=... LIBDIR=... DESTDIR=..., make uninstall, make deb.
CC ?= gcc
CFLAGS ?= -O2 -g
KAIO_CFLAGS = -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -ftls-model=initial-exec \
	-Wall -Wextra -Werror -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -pthread
KAIO_LDFLAGS = -shared -pthread -Wl,-z,relro,-z,now,-z,noexecstack,-soname,libkaio.so
OBJECTS = $(patsubst shim/%.c,build/shim/%.o,$(wildcard shim/*.c))

VERSION = 0.1.0

TOOLS = build/kaio-check build/kaio-measure build/kaio-top
MANUAL = build/man/kaio.1 build/man/libkaio.7

all: build/libkaio.so $(TOOLS) $(MANUAL)

build/libkaio.so: $(OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) $(KAIO_LDFLAGS) -o $@ $^

build/shim/%.o: shim/%.c $(wildcard shim/*.h) shim/options.def Makefile
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

build/kaio-top: tools/kaio-top.c tools/top.c shim/json.c tools/top.h shim/stats.h Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(TOOL_CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^)

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

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
# What kaio needs stands in a directory of its own, with a link to the library, wherever LIBDIR is.
COMMANDS = $(DESTDIR)$(PREFIX)/libexec/kaio
COMPLETION = $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kaio

install: all
	install -D -m 644 -t $(DESTDIR)$(LIBDIR) build/libkaio.so
	install -D -t $(DESTDIR)$(PREFIX)/bin scripts/kaio
	install -D -m 644 -t $(COMMANDS) $(filter-out %.bash,$(wildcard scripts/kaio.d/*))
	install -t $(COMMANDS) $(TOOLS)
	ln -sfr $(DESTDIR)$(LIBDIR)/libkaio.so $(COMMANDS)/libkaio.so
	install -D -m 644 scripts/kaio.d/completion.bash $(COMPLETION)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 build/man/kaio.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man7 build/man/libkaio.7
	test -n "$(DESTDIR)" || ldconfig || true # LD_PRELOAD=libkaio.so finds it by name

uninstall:
	rm -rf $(COMMANDS)
	rm -f $(DESTDIR)$(LIBDIR)/libkaio.so $(DESTDIR)$(PREFIX)/bin/kaio $(COMPLETION)
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/kaio.1 $(DESTDIR)$(PREFIX)/share/man/man7/libkaio.7
	test -n "$(DESTDIR)" || ldconfig || true

# build/libkaio_VERSION_ARCH.deb
deb: all
	scripts/deb $(VERSION)

clean:
	rm -rf build

.PHONY: all tests bench check install uninstall deb clean
