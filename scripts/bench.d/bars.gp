# SPDX-License-Identifier: MIT
# bars.gp - a bar for each ratio, from 1 to its median, which is written beside it, with a whisker from min to max;
# headings above groups. what, about and data are given; the picture goes to standard output. Columns of data: position,
# name, median, min, max, what is written; a heading has NaN and nothing for the last four.
# There is no background: the colours can be read on a white page and on a black one.
grey = "#767676"
set datafile separator "\t"
stats data using 1 name "at" nooutput
stats data using 4 name "low" nooutput
stats data using 5 name "high" nooutput
set terminal svg size 800,(190 - 22 * at_min) font "sans-serif,14"
set title what."\n{/*0.85 ".about."}" textcolor rgb grey offset -12
set xlabel "times as good as glibc, logarithmic; the line is the range of the pairs" textcolor rgb grey offset -12
set logscale x
set xrange [(low_min < 0.5 ? low_min * 0.8 : 0.5):(high_max > 2 ? high_max * 2 : 4)]
set yrange [at_min - 0.7:0.7]
set xtics (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) textcolor rgb grey
set grid xtics linecolor rgb grey linewidth 0.8 dashtype (4,3)
set border 1 linecolor rgb grey
set tics nomirror out
set ytics scale 0 textcolor rgb grey
set arrow from 1, graph 0 to 1, graph 1 nohead linewidth 1.5 linecolor rgb grey front
set style fill solid noborder
unset key
colour(ratio) = ratio < 1 ? 0xd55e00 : 0x0072b2
plot data using 3:1:(1):3:($1 - 0.35):($1 + 0.35):(colour($3)) with boxxyerror linecolor rgb variable, \
     data using 3:1:4:5 with xerrorbars pointtype 7 pointsize 0.3 linewidth 1.2 linecolor rgb grey, \
     data using (($5 > 1 ? $5 : 1) * 1.06):1:6 with labels left font ",12" textcolor rgb grey, \
     data using (1):1:ytic(2) with dots linecolor rgb grey
