#!/bin/sh
# Makes day.mp4, the demo's video: six seconds in which a sun crosses the sky above two ranges of hills. Everything in it is
# computed here. It is committed, so that only somebody who wants another one needs ffmpeg (with libx264).
set -eu
cd "$(dirname "$0")"

# h is the height of the sun (0 to 1 to 0), d the squared distance from it, far and near the hills, each as geq writes them.
h='sin(PI*(0.5+T)/7)'
d='((X-30-70*T)*(X-30-70*T)+(Y-235+190*'$h')*(Y-235+190*'$h'))'
far='(Y-196-15*sin(X/70)-6*sin(X/31+1))'
near='(Y-226-12*sin(X/48+2)-4*sin(X/19))'
sun='exp(-pow('$d'/420,4))'
glow='exp(-'$d'/9000)'

# A channel: sky from the top (night, more by day) to the horizon (the same), the sun's glow and disc; then the hills before it.
channel() {
	sky="(1-Y/270)*($1+$2*$h)+(Y/270)*($3+$4*$h)+$5*$glow"
	lit="($sky)*(1-$sun)+$6*$sun"
	echo "min(255,if(gt($near,0),$7+$8*$h,if(gt($far,0),$9+${10}*$h,$lit)))"
}
r=$(channel 14 70 236 -40 70 255 18 26 44 50)
g=$(channel 20 120 116 104 40 246 26 54 52 74)
b=$(channel 56 160 92 150 0 214 38 22 76 62)

ffmpeg -hide_banner -loglevel error -y \
	-f lavfi -i "color=c=black:s=480x270:r=25:d=6,format=gbrp,geq=r='$r':g='$g':b='$b'" \
	-an -c:v libx264 -profile:v main -pix_fmt yuv420p -preset veryslow -crf 25 -g 50 -threads 1 \
	-colorspace bt709 -color_primaries bt709 -color_trc bt709 \
	-map_metadata -1 -fflags +bitexact -flags:v +bitexact -movflags +faststart \
	day.mp4
