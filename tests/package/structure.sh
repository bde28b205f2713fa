#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lower rooms of shim/ never name upper ones, no lane another lane, and there is no circle.
exec "$TESTS_TOP/scripts/structure"
