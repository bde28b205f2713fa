# bars.gp - a bar for each ratio, from 1 to its median, with a whisker from min to max; kind, data
# and svg are given. Columns of data: position, name, median, min, max.
set datafile separator "\t"
stats data using 4 name "low" nooutput
stats data using 5 name "high" nooutput
rows = high_records
set terminal svg size 800,(130 + 24 * rows) font "sans-serif,14" background "#ffffff"
set output svg
set title kind eq "cells" ? "fio: IOPS with libkaio / IOPS with glibc" : \
    "Microbenchmarks: libkaio against glibc"
set xlabel "ratio (log scale); right of 1: libkaio is better"
set logscale x
set xrange [(low_min < 0.5 ? low_min * 0.8 : 0.5):(high_max > 2 ? high_max * 1.25 : 2)]
set yrange [-rows + 0.3:0.7]
set xtics (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
set grid xtics linecolor "#dddddd"
set border 1
set tics nomirror out
set ytics scale 0 noenhanced
set arrow from 1, graph 0 to 1, graph 1 nohead linewidth 2 linecolor "#000000" front
set style fill solid noborder
unset key
colour(ratio) = ratio < 1 ? 0xd55e00 : 0x56b4e9
plot data using 3:1:(1):3:($1 - 0.35):($1 + 0.35):(colour($3)):ytic(2) \
         with boxxyerror linecolor rgb variable, \
     data using 3:1:4:5 with xerrorbars pointtype 7 pointsize 0.3 linewidth 1.2 linecolor "#333333"
