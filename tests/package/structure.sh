#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lower rooms of shim/ never name upper ones, no lane another lane, there is no circle, and no name is two functions'.
exec "$TESTS_TOP/scripts/structure"
