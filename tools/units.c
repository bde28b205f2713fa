/* SPDX-License-Identifier: MIT */
/* units.c - see units.h. */
#include "units.h"

#include <langinfo.h>
#include <locale.h>
#include <stdbool.h>
#include <string.h>

static char *next_text(void) {
    static char texts[8][48];
    static unsigned i;
    return texts[i++ % 8];
}

/* 1,234 */
static void group(char *text, double n) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%.0f", n);
    for (int i = 0; i < length; i++) {
        *text++ = digits[i];
        if (i < length - 1 && (length - i) % 3 == 1) *text++ = ',';
    }
    *text = 0;
}

static const char *with_unit(double value, const char *unit) {
    char *text = next_text();
    if (value >= 99.95) group(text, value);
    else sprintf(text, value >= 9.995 ? "%.1f" : "%.2f", value);
    return strcat(strcat(text, " "), unit);
}

/* Where the locale has it. */
static const char *microseconds(void) {
    static const char *unit;
    if (unit) return unit;
    setlocale(LC_CTYPE, "");
    bool wide = !strcmp(nl_langinfo(CODESET), "UTF-8");
    return unit = wide ? "µs" : "us";
}

const char *unit_time(double us) {
    if (us >= 999.5e3) return with_unit(us / 1e6, "s");
    if (us >= 999.5) return with_unit(us / 1e3, "ms");
    return with_unit(us, microseconds());
}

const char *unit_bytes(double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int i = 0;
    for (; bytes >= 1024 && i < 4; i++) bytes /= 1024;
    if (i) return with_unit(bytes, units[i]);
    char *text = next_text();
    sprintf(text, "%.0f B", bytes);
    return text;
}

const char *unit_count(double n) {
    char *text = next_text();
    group(text, n);
    return text;
}

const char *unit_share(double part, double whole) {
    char *text = next_text();
    sprintf(text, "%.0f %%", whole > 0 ? 100 * part / whole : 0);
    return text;
}

void put_right(FILE *out, const char *text, int columns) {
    for (const char *c = text; *c; c++) columns -= (*c & 0xc0) != 0x80;
    fprintf(out, " %*s%s", columns > 0 ? columns : 0, "", text);
}
