# SPDX-License-Identifier: MIT
# growth.gp - CPU time of a request over the size of something; name, data and svg are given.
# Columns of data: size, glibc, shim.
set terminal svg size 720,440 font "sans-serif,14" background "#ffffff"
set output svg
set datafile separator "\t"
set title "CPU time of a request, over the number of ".name noenhanced
set xlabel name noenhanced
set ylabel "microseconds"
set logscale xy 10
set grid ytics linecolor "#dddddd"
set border 3
set tics nomirror out
set key outside top center horizontal Left reverse noenhanced
set style data linespoints
plot data using 1:($3 / 1000) title "libkaio" linewidth 3 pointtype 7 linecolor "#0072b2", \
     data using 1:($2 / 1000) title "glibc" linewidth 3 pointtype 5 linecolor "#d55e00"
