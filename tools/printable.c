/* SPDX-License-Identifier: MIT */
/* printable.c - names and paths of others, as a terminal can bear them: what is not printable in
 * the locale (control characters of both sets, invalid UTF-8) becomes \xHH, byte by byte.
 */
#include "printable.h"

#include <locale.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

/* The bytes and columns of the character at `text`; 0: it must not be printed. */
static size_t character(const char *text, int *columns) {
    static bool ready;
    mbstate_t state = {0};
    wchar_t c;
    if (!ready) setlocale(LC_CTYPE, ""), ready = true;
    size_t n = mbrtowc(&c, text, strlen(text), &state);
    if (n == 0 || n > MB_LEN_MAX || !iswprint((wint_t)c)) return 0;
    *columns = wcwidth(c);
    return *columns < 0 ? 0 : n;
}

int printable(FILE *out, const char *text, int most) {
    int used = 0;
    while (*text) {
        int columns = 4;
        size_t n = character(text, &columns);
        if (used + columns > most) break;
        if (n) fwrite(text, 1, n, out);
        else fprintf(out, "\\x%02x", (unsigned char)*text);
        text += n ? n : 1;
        used += columns;
    }
    return used;
}
