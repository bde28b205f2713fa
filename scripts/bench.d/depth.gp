# depth.gp - IOPS over the queue depth; name, data and svg are given. Columns of data: depth, glibc,
# shim, libaio, io_uring. The background is white so that it can be read on a dark page, too.
set terminal svg size 720,440 font "sans-serif,14" background "#ffffff"
set output svg
set datafile separator "\t"
set title name.", 4 KiB, one file" noenhanced
set xlabel "requests outstanding (queue depth)"
set ylabel "thousand requests per second"
set logscale x 2
set xrange [0.9:290]
set yrange [0:*]
set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256)
set grid ytics linecolor "#dddddd"
set border 3
set tics nomirror out
set key outside top center horizontal Left reverse noenhanced
set style data linespoints
plot data using 1:($3 / 1000) title "libkaio" linewidth 3 pointtype 7 linecolor "#0072b2", \
     data using 1:($4 / 1000) title "libaio" linewidth 1.5 pointtype 4 linecolor "#009e73", \
     data using 1:($5 / 1000) title "io_uring" linewidth 1.5 pointtype 8 linecolor "#b8860b", \
     data using 1:($2 / 1000) title "glibc" linewidth 3 pointtype 5 linecolor "#d55e00"
