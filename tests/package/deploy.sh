#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# alone: it builds and measures, and takes a minute
# The commands of docs/deploy.md, as documents.sh runs those of the other pages: together they take too long for one test.
DOCUMENT=docs/deploy.md exec bash "$TESTS_TOP/tests/package/documents.sh"
