/* SPDX-License-Identifier: MIT */
/* host PLUGIN...: a program that knows nothing of AIO loads plug-ins that use it, three times each
 * and in every way, and unloads them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char *argv[]) {
    const char *mode = getenv("TEST_DLOPEN");
    int flags = !strcmp(mode, "global")     ? RTLD_NOW | RTLD_GLOBAL
                : !strcmp(mode, "lazy")     ? RTLD_LAZY | RTLD_LOCAL
                : !strcmp(mode, "deepbind") ? RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND
                                            : RTLD_NOW | RTLD_LOCAL;
    for (int i = 0; i < 3 * (argc - 1); i++) {
        void *handle = dlopen(argv[1 + i % (argc - 1)], flags);
        void (*plugin)(void) = handle ? (void (*)(void))dlsym(handle, "plugin") : NULL;
        if (!plugin) {
            puts(dlerror());
            return 1;
        }
        plugin();
        printf("unloaded: %d\n", dlclose(handle));
    }
    return 0;
}
