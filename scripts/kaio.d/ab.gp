# SPDX-License-Identifier: MIT
# ab.gp - both distributions of completion latency; data (ab-plot.jq) and, in $WHAT, the command are given; the picture
# goes to standard output. There is no background: the colours can be read on a white page and on a black one.
grey = "#767676"
set terminal svg size 720,420 font "sans-serif,14"
set datafile separator "\t"
set title "From aio_read() or aio_write() to its completion\n " noenhanced textcolor rgb grey
set label system("printf %s \"$WHAT\"") at graph 0.5,1.06 center font ",11" noenhanced textcolor rgb grey
set xlabel "µs" textcolor rgb grey
set ylabel "% of the requests" textcolor rgb grey
set logscale x
set yrange [0:*]
set format x "%.0s%c"
set xtics textcolor rgb grey
set ytics textcolor rgb grey
set grid xtics ytics linecolor rgb grey linewidth 0.8 dashtype (4,3)
set border 3 linecolor rgb grey
set tics nomirror out
set key outside top center horizontal Left reverse noenhanced textcolor rgb grey
set style fill solid 0.35
plot data index 0 using 1:3 with fillsteps linecolor "#d55e00" notitle, \
     data index 1 using 1:3 with fillsteps linecolor "#0072b2" notitle, \
     data index 0 using 1:3 with steps linewidth 2 linecolor "#d55e00" title columnheader(1), \
     data index 1 using 1:3 with steps linewidth 2 linecolor "#0072b2" title columnheader(1)
