#!/bin/sh
# generate.sh computes day.mp4 and day/, the demo's videos: for six seconds a sun crosses the sky above two ranges
# of hills. They are committed, so ffmpeg (with libx264) is needed only to change it.
set -eu
cd "$(dirname "$0")"

# Expressions of ffmpeg's geq filter: h is the height of the sun (from 0 to 1 and back), d the squared
# distance from it; far and near are the hills.
h='sin(PI*(0.5+T)/7)'
d='((X-30-70*T)*(X-30-70*T)+(Y-235+190*'$h')*(Y-235+190*'$h'))'
far='(Y-196-15*sin(X/70)-6*sin(X/31+1))'
near='(Y-226-12*sin(X/48+2)-4*sin(X/19))'
sun='exp(-pow('$d'/420,4))'
glow='exp(-'$d'/9000)'

# channel prints the expression of a colour channel. Its arguments are two values, by night and what
# the day adds, for the top of the sky and the horizon; the sun's glow and disc; and two values each
# for the near and far hills.
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

# The same film as HLS: a playlist and its segments of two seconds. It is not encoded again.
mkdir -p day
ffmpeg -hide_banner -loglevel error -y -i day.mp4 -c copy -map_metadata -1 -fflags +bitexact \
	-f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags independent_segments \
	-hls_fmp4_init_filename init.mp4 -hls_segment_filename 'day/%d.m4s' day/day.m3u8
