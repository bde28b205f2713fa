# ab.gp - both distributions of completion latency; data is given (ab-plot.jq), the picture goes to
# standard output. The background is white so that it can be read on a dark page, too.
set terminal svg size 720,400 font "sans-serif,14" background "#ffffff"
set datafile separator "\t"
set title "From aio_read() or aio_write() to its completion" noenhanced
set xlabel "µs"
set ylabel "% of the requests"
set logscale x
set yrange [0:*]
set format x "%.0s%c"
set grid ytics linecolor "#dddddd"
set border 3
set tics nomirror out
set key outside top center horizontal Left reverse noenhanced
set style fill solid 0.35
plot data index 0 using 1:3 with fillsteps linecolor "#d55e00" notitle, \
     data index 1 using 1:3 with fillsteps linecolor "#0072b2" notitle, \
     data index 0 using 1:3 with steps linewidth 2 linecolor "#d55e00" title columnheader(1), \
     data index 1 using 1:3 with steps linewidth 2 linecolor "#0072b2" title columnheader(1)
