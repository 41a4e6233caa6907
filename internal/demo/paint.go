package demo

import (
	"image"
	"image/color"
	"math"
)

// The pictures are computed. Each is a function from a point to a colour, in a frame 3 wide and 2
// high whose y axis points up.

const (
	paintWidth  = 480
	paintHeight = 320
)

// rgb is a colour with channels from 0 to 1.
type rgb struct{ r, g, b float64 }

func (c rgb) scale(f float64) rgb      { return rgb{c.r * f, c.g * f, c.b * f} }
func (c rgb) add(d rgb) rgb            { return rgb{c.r + d.r, c.g + d.g, c.b + d.b} }
func (c rgb) mix(d rgb, f float64) rgb { return c.scale(1 - f).add(d.scale(f)) }
func (c rgb) color() color.RGBA        { return color.RGBA{to8(c.r), to8(c.g), to8(c.b), 255} }
func to8(f float64) uint8              { return uint8(255*min(1, max(0, f)) + 0.5) }
func smooth(from, to, x float64) float64 {
	x = min(1, max(0, (x-from)/(to-from)))
	return x * x * (3 - 2*x)
}
func wave(x float64) float64 { return 0.5 + 0.5*math.Sin(x) }
func bell(x float64) float64 { return math.Exp(-x * x) }
func hash(x, y int) float64 {
	h := uint32(x)*374761393 + uint32(y)*668265263
	h = (h ^ h>>13) * 1274126177
	return float64(h^h>>16) / math.MaxUint32
}

// paint computes a picture from the colour of each point.
func paint(at func(x, y float64) rgb) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, paintWidth, paintHeight))
	for py := range paintHeight {
		for px := range paintWidth {
			x, y := float64(px)/paintHeight*2, 2-float64(py)/paintHeight*2
			m.SetRGBA(px, py, at(x, y).color())
		}
	}
	return m
}

// sunset paints a sun near the horizon and its reflection in the waves of a sea.
func sunset() image.Image {
	const horizon, sunX, sunY = 0.8, 1.9, 1.02
	zenith, glow, sun := rgb{0.16, 0.15, 0.38}, rgb{0.98, 0.52, 0.27}, rgb{1, 0.93, 0.72}
	sky := func(x, y float64) rgb {
		c := glow.mix(zenith, smooth(0, 1.25, y-horizon))
		cloud := bell((y-horizon-0.35+0.04*math.Sin(3*x))/0.09) * wave(5*x+2*math.Sin(2*x))
		c = c.add(rgb{0.5, 0.16, 0.1}.scale(0.35 * cloud))
		d := math.Hypot(x-sunX, y-sunY)
		return c.add(rgb{0.45, 0.26, 0.08}.scale(bell(d/0.5))).mix(sun, 1-smooth(0.155, 0.165, d))
	}
	return paint(func(x, y float64) rgb {
		if y >= horizon {
			return sky(x, y)
		}
		depth := horizon - y
		ripple := math.Sin(14/(depth+0.06)+3*math.Sin(4*x)) * (0.02 + 0.12*depth)
		c := sky(x+ripple, horizon+0.75*depth+0.3*ripple)
		c = rgb{0.78 * c.r, 0.6 * c.g, 0.42 * c.b}.add(rgb{0.02, 0.01, 0.08})
		glitter := bell((x-sunX+3*ripple)/(0.12+0.25*depth)) * wave(60/(depth+0.25)+5*x)
		return c.add(rgb{0.55, 0.35, 0.16}.scale(glitter * (1 - 0.6*depth)))
	})
}

// mandelbrot paints a part of the Mandelbrot set, coloured by escape time.
func mandelbrot() image.Image {
	const centreX, centreY, zoom, limit = -0.74368, 0.13164, 0.0012, 280
	return paint(func(x, y float64) rgb {
		cx, cy := centreX+(x-1.5)*zoom, centreY+(y-1)*zoom
		zx, zy, n := cx, cy, 0
		for ; n < limit && zx*zx+zy*zy < 64; n++ {
			zx, zy = zx*zx-zy*zy+cx, 2*zx*zy+cy
		}
		if n == limit {
			return rgb{0.02, 0.03, 0.09}
		}
		t := math.Sqrt(float64(n) + 1 - math.Log2(math.Log(math.Hypot(zx, zy))))
		return rgb{0.05, 0.09, 0.28}.
			mix(rgb{0.98, 0.78, 0.36}, math.Pow(wave(1.5*t-2.6), 3)).
			mix(rgb{0.93, 0.97, 1}, 0.8*math.Pow(wave(1.5*t-4.2), 9))
	})
}

// aurora paints three curtains of light and stars above a dark ridge.
func aurora() image.Image {
	green, violet := rgb{0.2, 0.95, 0.55}, rgb{0.55, 0.25, 0.85}
	return paint(func(x, y float64) rgb {
		c := rgb{0.06, 0.12, 0.2}.mix(rgb{0.015, 0.02, 0.08}, y/2)
		if s := hash(int(x*160), int(y*160)); s > 0.9985 {
			c = c.add(rgb{0.8, 0.85, 1}.scale((s - 0.9985) / 0.0015))
		}
		for i := range 3 {
			f := float64(i)
			foot := 0.62 + 0.22*f + 0.16*math.Sin(1.7*x+2.1*f) + 0.06*math.Sin(4.3*x-f)
			h := y - foot
			if h < -0.05 {
				continue
			}
			light := smooth(-0.05, 0.04, h) * math.Exp(-2.4*h)
			light *= (0.55 + 0.45*wave(23*x+5*math.Sin(3*x+f))) * wave(1.3*x+1.9*f+0.6)
			c = c.add(green.mix(violet, smooth(0.1, 0.8, h)).scale(0.85 * light))
		}
		ridge := 0.26 + 0.1*math.Sin(1.9*x+0.4) + 0.05*math.Sin(5.1*x) + 0.012*math.Sin(31*x)
		return c.mix(rgb{0.01, 0.02, 0.035}, 1-smooth(-0.006, 0.006, y-ridge))
	})
}

// ripples paints the light on water where the rings of three drops cross.
func ripples() image.Image {
	drops := [][3]float64{{0.75, 1.35, 34}, {2.15, 1.5, 30}, {1.7, 0.45, 38}} // x, y, frequency
	return paint(func(x, y float64) rgb {
		height, slope := 0.0, 0.0
		for _, d := range drops {
			dx, dy := x-d[0], y-d[1]
			r := math.Hypot(dx, dy) + 1e-9
			fade := math.Exp(-1.1*r) * smooth(0, 0.05, r)
			sin, cos := math.Sincos(d[2] * r)
			height += fade * sin
			slope += fade * cos * (0.8*dx + 0.6*dy) / r
		}
		c := rgb{0.03, 0.2, 0.3}.mix(rgb{0.2, 0.62, 0.66}, 0.5+0.35*height+0.12*(y-1))
		return c.add(rgb{0.9, 0.95, 0.85}.scale(0.7 * math.Pow(max(0, slope), 3)))
	})
}

// glass paints a leaded window. Each cell of a grid has the centre of a pane, and each point
// belongs to the pane with the nearest centre.
func glass() image.Image {
	palette := []rgb{
		{0.80, 0.25, 0.22}, {0.93, 0.62, 0.22}, {0.96, 0.85, 0.52}, {0.20, 0.48, 0.55},
		{0.15, 0.27, 0.52}, {0.47, 0.30, 0.55}, {0.36, 0.60, 0.42},
	}
	const cells = 4.5 // per unit of length
	return paint(func(x, y float64) rgb {
		x, y = x*cells, y*cells
		nearest, second, paneX, paneY := 9.0, 9.0, 0, 0
		for cy := int(y) - 1; cy <= int(y)+1; cy++ {
			for cx := int(x) - 1; cx <= int(x)+1; cx++ {
				centreX := float64(cx) + 0.12 + 0.76*hash(cx, cy)
				centreY := float64(cy) + 0.12 + 0.76*hash(cy, cx+57)
				d := math.Hypot(centreX-x, centreY-y)
				if d < nearest {
					nearest, second, paneX, paneY = d, nearest, cx, cy
				} else {
					second = min(second, d)
				}
			}
		}
		pane := palette[int(hash(paneX+7, paneY+3)*float64(len(palette)))%len(palette)]
		light := 1.12 - 0.45*nearest + 0.06*math.Sin(3*x+2*y)
		return rgb{0.09, 0.08, 0.09}.mix(pane.scale(light), smooth(0.04, 0.09, second-nearest))
	})
}
