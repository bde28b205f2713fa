# SPDX-License-Identifier: MIT
# ab-numbers.jq - a number with so many digits behind the point, as text; for ab.jq and ab-table.jq.
def fixed($digits):
    (. * pow(10; $digits) | round | tostring) as $n
    | if $digits == 0 then $n
      else ("0" * ($digits + 1 - ($n | length)) // "") + $n | .[:-$digits] + "." + .[-$digits:] end;
