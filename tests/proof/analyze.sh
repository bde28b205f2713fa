#!/usr/bin/env bash
# make analyze: gcc -fanalyzer and cppcheck find nothing, nor, with TEST_LONG, does clang-tidy, which takes 40 s
# of CPU time.
set -eu
cd "$TESTS_TOP"
if [ -n "${TEST_LONG-}" ]; then exec make -s -j2 analyze; fi
exec make -s -j2 analyze-gcc analyze-cppcheck
