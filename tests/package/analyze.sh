#!/usr/bin/env bash
# make analyze: gcc -fanalyzer, cppcheck and clang-tidy find nothing.
set -eu
exec make -s -j2 -C "$TESTS_TOP" analyze
