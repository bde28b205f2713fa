#!/usr/bin/env bash
# Lower rooms of shim/ never name upper ones, no lane another lane, and there is no circle.
exec "$TESTS_TOP/scripts/structure"
