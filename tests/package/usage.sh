#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# alone: it builds and measures, and takes a minute
# The commands of docs/usage.md, as documents.sh runs those of the other pages: together they take too long for one test.
DOCUMENT=docs/usage.md exec bash "$TESTS_TOP/tests/package/documents.sh"
