# SPDX-License-Identifier: MIT
# make: build/libkaio.so, build/libkaio-record.so and what scripts/kaio needs. make check: the tests that gcc and libaio-dev are enough for;
# scripts/test is for all, and installs what they need. make install PREFIX=... LIBDIR=... DESTDIR=..., make
# uninstall, make deb, make rpm, make dist; with the flags of the build, if it had any, or it is done anew.
CC ?= gcc
CFLAGS ?= -O2 -g
B = build

# make ARCH=i386 deb, install-library or what else: for another of Debian's architectures, by its cross compiler, in
# build/i386 (with DEBUG=1 build/i386/debug). <libaio.h> is the same for all.
ifdef ARCH
B = build/$(ARCH)
CC = $(shell dpkg-architecture -a$(ARCH) -qDEB_HOST_GNU_TYPE 2>/dev/null)-gcc
CPPFLAGS += -idirafter /usr/include
endif

# make SANITIZE=address,undefined and make SANITIZE=thread: the same in build/asan and build/tsan.
# TSan knows no fences (-Wtsan); tests/fuzz/sanitizers.sh.
ifdef SANITIZE
B = build/$(if $(findstring thread,$(SANITIZE)),tsan,asan)
CFLAGS = -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -Wno-tsan
FORTIFY = 0
endif
# make DEBUG=1: what must be so is asserted (KAIO_ASSERT), in build/debug. The tests use it in one setting.
ifdef DEBUG
B := $(B)/debug
CPPFLAGS += -DKAIO_DEBUG
endif
FORTIFY ?= 2
# make WERROR=1: a warning is an error, as in CI; another compiler may have warnings of its own.
WARNINGS = -Wall -Wextra $(if $(WERROR),-Werror)
# Of libraries and tools.
HARDENED = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$(FORTIFY)
HARDENED_LINK = -Wl,-z,relro,-z,now,-z,noexecstack
# What is built does not depend on where; the compiler believes $PWD, which may lead there by a link.
export PWD := $(CURDIR)
ANYWHERE = -fdebug-prefix-map=$(CURDIR)=.
KAIO_CFLAGS = -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -ftls-model=initial-exec \
	-Ishim $(WARNINGS) -Wno-psabi $(HARDENED) $(ANYWHERE) -pthread
KAIO_LDFLAGS = -shared -pthread $(HARDENED_LINK) -Wl,-soname,$(@F)
# Where the calls are before glibc 2.34: a program without librt may load a plug-in that is linked with it. musl has
# all in one.
EARLIER = -Wl,--push-state,--no-as-needed -l:librt.so.1 -l:libdl.so.2 -Wl,--pop-state
GLIBC = $(shell printf '\043include <features.h>\n__GLIBC__' | $(CC) $(CPPFLAGS) -E -P - | grep -x '[0-9]*')
SOURCES = $(shell find shim -name "*.c")
HEADERS = $(shell find shim record -name "*.h" -o -name "*.def")
OBJECTS = $(SOURCES:%.c=$(B)/%.o)
# With its own copies of what it needs of shim/host; their descriptors have a mark of their own (fd.c).
RECORDER = record fd output raised

VERSION = 0.2.0

TOOLS = $(B)/kaio $(B)/kaio-measure $(B)/kaio-record
MANUAL = $(B)/man/kaio.1 $(B)/man/libkaio.7
COMPLETIONS = $(addprefix $(B)/completion/,bash zsh fish)

LIBRARIES = $(B)/libkaio.so $(B)/libkaio-record.so

all: $(LIBRARIES) $(TOOLS) $(MANUAL) $(COMPLETIONS)

# What the build finds is what it depends on, too: it is done anew with other flags, another compiler, or once
# <sys/sdt.h> is there (probe.h).
$(B)/found: export FLAGS_FOUND = $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(FORTIFY)
$(B)/found: FORCE
	@mkdir -p $(@D)
	@found="$$(echo "$$FLAGS_FOUND"; $(CC) --version | head -n 1; \
		printf '#if __has_include(<sys/sdt.h>)\nprobes\n#endif\n' | $(CC) $(CPPFLAGS) -E -P -)"; \
	[ "$$found" = "$$(cat $@ 2>/dev/null)" ] || echo "$$found" >$@

$(B)/libkaio.so: $(OBJECTS) shim/local.map
$(B)/libkaio-record.so: $(RECORDER:%=$(B)/record/%.o)
$(B)/libkaio.so: KAIO_LDFLAGS += -Wl,--version-script=shim/local.map
libraries: $(LIBRARIES)
$(LIBRARIES):
	$(CC) $(CFLAGS) $(LDFLAGS) $(KAIO_LDFLAGS) -o $@ $(filter %.o,$^) $(if $(GLIBC),$(EARLIER))

$(B)/shim/%.o: shim/%.c $(HEADERS) Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(KAIO_CFLAGS) -c -o $@ $<

$(B)/record/record.o: record/record.c
$(B)/record/fd.o $(B)/record/output.o $(B)/record/raised.o: $(B)/record/%.o: shim/host/%.c
$(RECORDER:%=$(B)/record/%.o): $(HEADERS) Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(KAIO_CFLAGS) -DFD_MARK=62 -c -o $@ $(filter %.c,$^)

TOOL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Ishim $(WARNINGS) -DKAIO_VERSION='"$(VERSION)"'

$(B)/kaio: $(filter-out tools/kaio-% tools/server.c,$(wildcard tools/*.c))
$(B)/kaio-measure: tools/kaio-measure.c tools/server.c
$(B)/kaio-record: tools/kaio-record.c tools/parent.c tools/printable.c
# As the libraries, they run from glibc 2.17 on: tools/start.c.
START = -Wl,--wrap=__libc_start_main
$(TOOLS): tools/start.c $(wildcard tools/*.h) $(HEADERS) Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(TOOL_CFLAGS) -fPIE -pie $(HARDENED) $(ANYWHERE) $(LDFLAGS) $(HARDENED_LINK) \
		-o $@ $(filter %.c,$^) $(if $(GLIBC),$(START))

# A line .\" @--FORM@ becomes the table of options in that form, @VERSION@ the version.
$(B)/man/%: man/% $(if $(ARCH),build,$(B))/kaio Makefile
	@mkdir -p $(@D)
	awk -v version=$(VERSION) '/^\.\\" @--/ { gsub(/.*@--|@/, ""); \
		system("$(word 2,$^) --internal " $$0); next } { gsub(/@VERSION@/, version); print; fflush() }' $< >$@

$(COMPLETIONS): $(B)/completion/%: $(if $(ARCH),build,$(B))/kaio
	@mkdir -p $(@D)
	$< --completion $* >$@

ifdef ARCH
build/kaio: FORCE # one that runs here
	$(MAKE) ARCH= CC=cc $@
endif

# Programs of tests/apps are built by their scripts, which know whether they can be.
TESTS = $(patsubst %.c,$(B)/%,$(filter-out tests/apps/% tests/bench/%,$(wildcard tests/*/*.c)))

tests: $(TESTS) build-debug build-i386

build-debug:
	$(MAKE) -s DEBUG=1 $(B)/debug/libkaio.so

# Of the other class, where there is a compiler. Several tests take them, at the same time.
build-i386:
	! command -v i686-linux-gnu-gcc >/dev/null || $(MAKE) -s ARCH=i386 libraries

# What they are linked with; of libaio only those load it that call it. scripts/matrix links them otherwise.
TEST_LIBS ?= -Wl,--as-needed -laio
$(B)/tests/%: tests/%.c $(filter-out tests/bench/%,$(wildcard tests/*/*.h)) shim/observe/stats.h Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 $(WARNINGS) -Itests/lib -pthread -o $@ $< $(TEST_LIBS)

# Static analysis: what is found is an error. A line that is right all the same says so beside it;
# .clang-tidy says what is not asked.
ANALYZED = $(SOURCES) $(wildcard record/*.c tools/*.c)
GCC_ANALYZED = $(ANALYZED:%=build/analyze/%.gcc)
TIDIED = $(ANALYZED:%=build/analyze/%.tidy)

analyze-gcc analyze-tidy analyze-lock: WERROR = 1

analyze: analyze-gcc analyze-cppcheck analyze-tidy analyze-lock

analyze-gcc: $(GCC_ANALYZED)
analyze-tidy: $(TIDIED)

$(GCC_ANALYZED) $(TIDIED): $(HEADERS) $(wildcard tools/*.h) .clang-tidy Makefile

build/analyze/%.gcc: %
	@mkdir -p $(@D)
	gcc -fanalyzer $(TOOL_CFLAGS) -O2 -c -o $@ $<

# Of a function's states a quarter of what clang would look at: 41 s of CPU time instead of 104, and what was planted
# was found all the same.
NODES = -Xclang -analyzer-config -Xclang max-nodes=50000
build/analyze/%.tidy: %
	@mkdir -p $(@D)
	clang-tidy --quiet $< -- $(TOOL_CFLAGS) $(NODES) 2>$@ || { cat $@; rm $@; false; }

# LOCKED, GUARDED and so on (shim/host/host.h) are what they say.
analyze-lock:
	for source in $(SOURCES); do clang $(TOOL_CFLAGS) -Wthread-safety -fsyntax-only $$source || exit 1; done

# It cannot expand TAILQ_*() unless it sees them.
analyze-cppcheck:
	cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
		--std=c11 -D_GNU_SOURCE -DKAIO_VERSION='""' -Ishim \
		--include=/usr/include/x86_64-linux-gnu/sys/queue.h shim record tools

BENCHES = $(patsubst %.c,$(B)/%,$(wildcard tests/bench/*.c))

# The microbenchmarks, and what they preload; scripts/bench runs them.
bench: $(BENCHES) $(B)/tests/bench/append.so $(B)/tests/bench/libkaio-holds.so

$(B)/tests/bench/append.so: tests/bench/preload/append.c Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Wall -Wextra -Werror -fPIC -shared -o $@ $<

# The library, with its lock wrapped by what counts.
$(B)/tests/bench/holds.o: tests/bench/preload/holds.c $(HEADERS) Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(KAIO_CFLAGS) -c -o $@ $<
$(B)/tests/bench/libkaio-holds.so: $(OBJECTS) $(B)/tests/bench/holds.o shim/local.map
	$(CC) $(CFLAGS) $(LDFLAGS) $(KAIO_LDFLAGS) -Wl,--version-script=shim/local.map \
		-Wl,--wrap=kaio_lock,--wrap=kaio_unlock,--wrap=kaio_stand_aside \
		-o $@ $(filter %.o,$^) $(if $(GLIBC),$(EARLIER))

$(B)/tests/bench/%: tests/bench/%.c $(wildcard tests/bench/*.h) Makefile $(B)/found
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -std=gnu11 $(WARNINGS) -pthread -o $@ $< -laio

# The programs of tests/api as a user runs the library: gcc and libaio are enough. scripts/test has all settings.
check: $(B)/libkaio.so $(filter $(B)/tests/api/%,$(TESTS))
	TEST_SETTINGS=auto tests/run api/

# build/musl/libkaio-musl.so: for programs of musl's (Alpine), whose loader does not take what needs glibc. musl-gcc
# finds neither the kernel's headers nor <libaio.h> nor <sys/queue.h>; those of glibc come after musl's own.
MUSL_CC ?= musl-gcc -idirafter /usr/include/$(shell $(CC) -print-multiarch) -idirafter /usr/include
musl:
	$(MAKE) -s B=build/musl CC="$(MUSL_CC)" build/musl/libkaio-musl.so
$(B)/libkaio-musl.so: $(B)/libkaio.so
	cp $< $@

PREFIX ?= /usr/local
# Where ld.so looks by name, and where it is led to by $LIB in a path (kaio): for each architecture its own place.
LIBDIR ?= $(PREFIX)/lib$(addprefix /,$(shell $(CC) -print-multiarch 2>/dev/null))
INSTALLED = $(LIBRARIES:$(B)/%=$(DESTDIR)$(LIBDIR)/%)
# What kaio needs stands in a directory of its own, with links to the libraries, wherever LIBDIR is.
COMMANDS = $(DESTDIR)$(PREFIX)/libexec/kaio
SHARE = $(DESTDIR)$(PREFIX)/share
MAN = $(SHARE)/man
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
COMPLETED = $(SHARE)/bash-completion/completions/kaio $(DESTDIR)$(ZSHDIR)/_kaio \
	$(SHARE)/fish/vendor_completions.d/kaio.fish
DIRECTORIES = $(abspath $(DESTDIR)$(PREFIX)/bin $(dir $(COMMANDS) $(COMPLETED)) $(MAN)/man1 $(MAN)/man7)

install: install-library install-command

# Alone for the programs of another class or architecture, beside those for which kaio is built.
install-library: $(LIBRARIES)
	scripts/made note $(abspath $(DESTDIR)$(LIBDIR))
	install -D -m 644 -t $(DESTDIR)$(LIBDIR) $(LIBRARIES)
	test -n "$(DESTDIR)" || ldconfig || true # LD_PRELOAD=libkaio.so finds it by name

install-musl: musl
	scripts/made note $(abspath $(DESTDIR)$(LIBDIR))
	install -D -m 644 -t $(DESTDIR)$(LIBDIR) build/musl/libkaio-musl.so

install-command: $(TOOLS) $(MANUAL) $(COMPLETIONS)
	scripts/made note $(DIRECTORIES)
	install -D -t $(DESTDIR)$(PREFIX)/bin $(B)/kaio
	install -D -m 644 -t $(COMMANDS) $(wildcard scripts/kaio.d/*)
	install -t $(COMMANDS) $(filter-out %/kaio,$(TOOLS))
	ln -sfr -t $(COMMANDS) $(INSTALLED)
	install -D -m 644 $(B)/completion/bash $(word 1,$(COMPLETED))
	install -D -m 644 $(B)/completion/zsh $(word 2,$(COMPLETED))
	install -D -m 644 $(B)/completion/fish $(word 3,$(COMPLETED))
	install -D -m 644 -t $(MAN)/man1 $(B)/man/kaio.1
	install -D -m 644 -t $(MAN)/man7 $(B)/man/libkaio.7

uninstall: uninstall-library
	rm -rf $(COMMANDS)
	rm -f $(DESTDIR)$(PREFIX)/bin/kaio $(COMPLETED)
	rm -f $(MAN)/man1/kaio.1 $(MAN)/man7/libkaio.7
	scripts/made remove $(DIRECTORIES)

uninstall-library:
	rm -f $(INSTALLED) $(DESTDIR)$(LIBDIR)/libkaio-musl.so
	scripts/made remove $(abspath $(DESTDIR)$(LIBDIR))
	test -n "$(DESTDIR)" || ldconfig || true

# build/libkaio_VERSION_ARCH.deb and build/kaio_VERSION_ARCH.deb, by debian/ in a copy of the tree: all that this
# leaves is beside the copy. Of another architecture no package need be installed.
deb:
	@command -v dh >/dev/null || { echo "make deb: debhelper is missing; as root: apt-get build-dep ./" >&2; exit 1; }
	rm -rf $(B)/deb
	mkdir -p $(B)/deb/libkaio
	tar -c --exclude ./build --exclude ./.git . | tar -x -C $(B)/deb/libkaio
	cd $(B)/deb/libkaio && env -u ARCH -u MAKEFLAGS -u MAKELEVEL DEB_BUILD_OPTIONS="nocheck $$DEB_BUILD_OPTIONS" \
		dpkg-buildpackage -b -us -uc $(if $(ARCH),-a$(ARCH) -d)
	mv $(B)/deb/*.deb build
	rm -rf $(B)/deb

# build/libkaio-VERSION-1.x86_64.rpm and build/kaio-..., of what is built here; Debian has rpmbuild, but none of the
# packages that are required to build. Times are of debian/changelog, as in Debian's packages, unless
# SOURCE_DATE_EPOCH is set.
rpm: all
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(date -d "$$(sed -n '/^ -- /{s/.*>  //p;q}' debian/changelog)" +%s)} \
	rpmbuild -bb --quiet --build-in-place --nodeps --define '__brp_compress true' --define '_topdir $(CURDIR)/build/rpm' \
		--define '_rpmdir $(CURDIR)/build' --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' scripts/libkaio.spec
	rm -rf build/rpm

# build/libkaio-VERSION.tar.gz, of what is committed
dist:
	@mkdir -p build
	git archive --prefix=libkaio-$(VERSION)/ -o build/libkaio-$(VERSION).tar.gz HEAD

clean:
	rm -rf $(filter-out build/made,$(wildcard build/*))

FORCE:

.PHONY: FORCE all libraries tests build-debug build-i386 analyze analyze-gcc analyze-cppcheck analyze-tidy analyze-lock bench check musl install install-library install-musl install-command \
	uninstall uninstall-library deb rpm dist clean
