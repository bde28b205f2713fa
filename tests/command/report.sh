#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kaio top --report as a table, and kaio report as a page: the figures are those that processes left; the page needs
# nothing else, fits 1280 and 400 columns of pixels in a browser (Chromium), light and dark, and says what to change.
set -eu
kaio=$TESTS_TOP/build/kaio
fail() { echo "$1"; exit 1; }
export -n KAIO_LIB # no variable of the library
watch=$TESTS_TOP/build/tests/command/watch
dd if=/dev/urandom of=data bs=1M count=1 status=none
name=$(printf 'a<b>\033[m&')
cp "$watch" "$name"
mkdir stats
KAIO_STATS=stats "$kaio" sh -c '"$0" killed data; "$0" quits data; "$1" forked data' "$watch" "./$name" 2>/dev/null

# the table: the sum, then a line for each process
"$kaio" top --report stats/ >out || fail "--report DIRECTORY: $?"
grep -qx 'libkaio: 129 requests' out && grep -q '^  of watch (3 processes) *113$' out || fail "the sum: $(cat -v out)"
grep -Eq '^ +PID COMMAND +TIME +REQUESTS +BYTES +P50 +P99 +KERN +WORK +CALL$' out || fail "the head: $(cat -v out)"
[ "$(grep -Ec '^ *[0-9]+ (watch|a<b>\\x1b\[m&?) +[0-9.,]+ ([um]|µ)?s +[0-9]+ ' out)" = 5 ] || fail "a line for each: $(cat -v out)"
grep -Eq '^ *[0-9]+ watch +[0-9.]+ .?.?s +101 .*( +[0-9]+%){3}$' out || fail "the killed one: $(cat -v out)"
[ "$(LC_ALL=C "$kaio" top --report stats/ | awk '{ print length }' | sort -n | tail -n 1)" -le 80 ] || fail "more than 80 columns: $(cat -v out)"
[ "$("$kaio" top --json --report stats/ | jq -s 'length')" = 5 ] && [ "$("$kaio" top --json --report stats/* | jq -s 'length')" = 5 ] || fail "--json"
mkdir empty
"$kaio" top --report empty >out && grep -q '^libkaio: 0 requests' out || fail "an empty directory: $(cat out)"
for wrong in nowhere data; do
    if "$kaio" top --report $wrong >out 2>errors || [ $? != 125 ] || [ "$(wc -l <errors)" != 1 ]; then fail "--report $wrong: $(cat errors)"; fi
    if "$kaio" report $wrong >out 2>errors || [ $? != 125 ] || [ "$(wc -l <errors)" != 1 ]; then fail "report $wrong: $(cat errors)"; fi
done
if "$kaio" report 2>errors || [ $? != 125 ] || ! grep -q 'no directory' errors; then fail "report of nothing: $(cat errors)"; fi
mkdir bin
if PATH=$PWD/bin "$kaio" report stats/ 2>errors || [ $? != 125 ] || ! grep -q 'gnuplot is missing.*apt-get install gnuplot-nox' errors; then
    fail "without gnuplot: $(cat errors)"
fi
[ ! -e report.html ] || fail "a page without pictures"
command -v gnuplot >/dev/null || { echo "skipped, the page: no gnuplot"; exit 0; }

# advice PATTERN DIRECTORY...
advice() {
    "$kaio" report -o advice.html "${@:2}" || fail "report ${*:2}: $?"
    sed -n '/What to change/,/where time went/p' advice.html | grep -q "$1" || fail "no '$1': $(sed -n '/What to change/,/where time/p' advice.html)"
}
left() { # NAME COMMAND...: what it leaves, in a directory of that name
    mkdir "$1"
    KAIO_STATS=$1 "$kaio" "${@:2}"
}
left off --mode off "$watch" many data
advice "glibc's figures" off
sleep "${TEST_SLOW:-1}" | left single "$watch" running data
advice 'when no other was in progress' single
advice 'Nothing was asked for' empty
left cached --mode worker "$watch" many data
advice 'Nothing that shows here' cached

LC_ALL=C.UTF-8 "$kaio" report stats/ cached -o page.html || fail "report: $?"
[ "$(grep -c '</svg>' page.html)" = 3 ] || fail "$(grep -c '</svg>' page.html) pictures"
grep -q 'a&lt;b>\\x1b\[m&amp;' page.html && ! LC_ALL=C grep -q "$(printf '\033')" page.html || fail "a name: $(grep 'a&lt;b' page.html)"
! grep -Eo '(src|href)=[^ >]*|url\([^)]*\)|@import' page.html | grep -v "href='#gp" || fail "not self-contained"
grep -q '6 processes asked for' page.html || fail "the sum: $(grep 'asked for' page.html)"

command -v chromium >/dev/null || { echo "skipped, a browser: no chromium"; exit 0; }
# What the page is like in the browser is told by a script that is put into a copy of it.
sed 's|</html>|<script>onload=()=>{const d=document.documentElement,s=getComputedStyle(document.body);document.title=`wide ${d.scrollWidth-d.clientWidth} figures ${[...document.querySelectorAll("figure")].filter(f=>f.getBoundingClientRect().height>80).length} ink ${s.color} paper ${s.backgroundColor} width ${d.clientWidth}`;parent.postMessage(document.title,"*")}</script>&|' page.html >told.html
browser() { # WIDTH OPTION...
    timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$PWD/profile" --window-size="$1",900 "${@:2}" 2>log
}
title() { # WIDTH OPTION...: what the script has found
    browser "$1" "${@:2}" --dump-dom "file://$PWD/told.html" | sed -n 's|.*<title>\(wide .*\)</title>.*|\1|p'
}
wide=$(title 1280)
[[ $wide == "wide 0 figures 3 "* ]] || fail "1280: $wide: $(tail -n 3 log)"
# headless Chromium has no window narrower than 500: a frame is
printf '<iframe src="told.html" style="width:400px;height:900px;border:0"></iframe><script>onmessage=e=>{document.title=e.data}</script>' >narrow.html
narrow=$(browser 1280 --virtual-time-budget=2000 --dump-dom "file://$PWD/narrow.html" | sed -n 's|.*<title>\(wide .*\)</title>.*|\1|p')
[[ $narrow == "wide 0 figures 3 "*" width 400" ]] || fail "400: $narrow: $(tail -n 3 log)"
dark=$(title 1280 --blink-settings=preferredColorScheme=0)
[[ $dark == "wide 0 figures 3 "* ]] && [ "${dark#*ink}" != "${wide#*ink}" ] || fail "dark: $dark; light: $wide"
if [ "${TEST_PICTURES-}" ]; then
    browser 1280 --screenshot="$TEST_PICTURES/wide.png" "file://$PWD/page.html"
    browser 1280 --blink-settings=preferredColorScheme=0 --screenshot="$TEST_PICTURES/dark.png" "file://$PWD/page.html"
    browser 500 --screenshot="$TEST_PICTURES/narrow.png" "file://$PWD/narrow.html"
fi
exit 0
