# SPDX-License-Identifier: MIT
# depth.gp - requests a second over the queue depth, a plot for each kind of access. names, about, what and
# data (a block for each name) are given; the picture goes to standard output. Columns of data: depth, glibc, shim,
# libaio, io_uring. There is no background: the colours can be read on a white page and on a black one.
grey = "#767676"
many = words(names)
columns = many > 1 ? 2 : 1
rows = (many + 1) / 2
wide = columns * 420.0
high = rows * 270.0 + 130
set terminal svg size wide,high font "sans-serif,13"
set datafile separator "\t"
set multiplot layout rows,columns margins 85 / wide,1 - 15 / wide,75 / high,1 - 95 / high spacing 65 / wide,85 / high \
    title what."\n{/*0.85 ".about."}" textcolor rgb grey
set logscale x 2
set xrange [0.9:290]
set yrange [0:*]
set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256) textcolor rgb grey
set ytics textcolor rgb grey
set grid xtics ytics linecolor rgb grey linewidth 0.8 dashtype (4,3)
set border 3 linecolor rgb grey
set tics nomirror out scale 0.5
set key top left Left reverse noenhanced textcolor rgb grey
set style data linespoints
do for [i = 1:many] {
    set title word(names, i) textcolor rgb grey
    below = i + columns > many ? "requests outstanding" : ""
    beside = i % columns == 1 % columns ? "thousand requests a second" : ""
    set xlabel below textcolor rgb grey
    set ylabel beside textcolor rgb grey
    if (i > 1) { unset key }
    plot data index i - 1 using 1:($3 / 1000) title "libkaio" linewidth 3 pointtype 7 pointsize 0.6 linecolor rgb "#0072b2", \
         data index i - 1 using 1:($4 / 1000) title "libaio" linewidth 1.5 pointtype 4 linecolor rgb "#009e73", \
         data index i - 1 using 1:($5 / 1000) title "io_uring" linewidth 1.5 pointtype 8 linecolor rgb "#b8860b", \
         data index i - 1 using 1:($2 / 1000) title "glibc" linewidth 3 pointtype 5 pointsize 0.6 linecolor rgb "#d55e00"
}
unset multiplot
