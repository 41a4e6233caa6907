package demo

import (
	"bytes"
	"embed"
	"image"
	"image/jpeg"
	"image/png"
	"sync"
	"time"

	"s3redirect/internal/fakeaws"
	"s3redirect/internal/locator"
)

// Sample is an object that the gallery shows.
type Sample struct {
	Locator     locator.Locator
	ContentType string
	Data        []byte
	Title       string
	Alt         string // text alternative, for screen readers
	// Parts are the objects that the sample refers to by relative references.
	Parts []Sample
}

// The buckets of the samples.
const (
	MediaBucket = "demo-media"
	NotesBucket = "team-notes"
)

//go:generate media/generate.sh

//go:embed media/day.mp4
var dayMP4 []byte

//go:embed media/orbits.svg
var orbitsSVG []byte

// film is day.mp4 as HLS: a playlist that refers to its segments.
//
//go:embed media/day
var film embed.FS

const note = `The key of this note contains a space, an umlaut, a plus and a percent sign. ` +
	`Each is encoded in one way in the page and in another in the presigned URL.

If you can read this, the browser, the proxy and the store agree on all of them.
`

// Samples returns the samples. It computes the pictures, which takes a fraction of a second.
func Samples() []Sample {
	media := func(key, contentType, title, alt string) Sample {
		return Sample{
			Locator:     locator.Locator{Bucket: MediaBucket, Key: key},
			ContentType: contentType,
			Title:       title,
			Alt:         alt,
		}
	}
	samples := []Sample{
		media("images/sunset.jpg", "image/jpeg", "Sunset",
			"An orange sun above its reflection on a calm sea"),
		media("images/mandelbrot.png", "image/png", "Seahorse valley",
			"Spirals at the edge of the Mandelbrot set, gold on deep blue"),
		media("images/aurora.jpg", "image/jpeg", "Aurora",
			"Green and violet curtains of light in a starry sky"),
		media("images/ripples.jpg", "image/jpeg", "Ripples",
			"Rings on water from three drops, crossing each other"),
		media("images/stained glass.png", "image/png", "Stained glass",
			"Irregular panes in warm and cold colours, leaded"),
	}
	paint := []func() image.Image{sunset, mandelbrot, aurora, ripples, glass}
	var painting sync.WaitGroup
	for i := range samples {
		painting.Go(func() { samples[i].Data = encode(paint[i](), samples[i].ContentType) })
	}
	painting.Wait()

	orbits := media("drawings/orbits.svg", "image/svg+xml", "Orbits",
		"Three planets on tilted orbits around a small sun")
	orbits.Data = orbitsSVG
	day := media("video/day.mp4", "video/mp4", "A day in six seconds",
		"The sun rises and sets above two ranges of hills")
	day.Data = dayMP4
	text := Sample{
		Locator:     locator.Locator{Bucket: NotesBucket, Key: "notes/Grüße + 100%.txt"},
		ContentType: "text/plain; charset=utf-8",
		Data:        []byte(note),
		Title:       "A note with special characters in its key",
		Alt:         "A text file",
	}
	playlist := media(filmFolder+"day.m3u8", "application/vnd.apple.mpegurl", "The same day, as HLS",
		"The sun rises and sets above two ranges of hills, in a playlist and its segments")
	playlist.Data = filmPart("day.m3u8")
	for _, name := range []string{"init.mp4", "0.m4s", "1.m4s", "2.m4s"} {
		part := media(filmFolder+name, "video/mp4", "", "")
		part.Data = filmPart(name)
		playlist.Parts = append(playlist.Parts, part)
	}
	return append(samples, orbits, day, text, playlist)
}

// filmFolder is the folder of the keys of the playlist and its segments.
const filmFolder = "video/day/"

// filmPart returns the playlist, or one of the files that it refers to.
func filmPart(name string) []byte {
	data, err := film.ReadFile("media/day/" + name)
	if err != nil {
		panic(err) // the files are embedded
	}
	return data
}

// AddSamples creates the samples' buckets in region and stores the samples there, last modified a
// month before now.
func AddSamples(c *fakeaws.Cloud, samples []Sample, region string, now time.Time) {
	// Browsers cache an object without Cache-Control for about a tenth of its age (RFC 9111,
	// 4.2.2), so a new object would not be cached.
	modified := now.AddDate(0, -1, 0)
	for _, s := range samples {
		AddSamples(c, s.Parts, region, now)
		c.CreateBucket(s.Locator.Bucket, region)
		c.Put(s.Locator, fakeaws.Object{
			ContentType: s.ContentType,
			Data:        s.Data,
			Modified:    modified,
		})
	}
}

func encode(m image.Image, contentType string) []byte {
	var b bytes.Buffer
	var err error
	if contentType == "image/png" {
		err = (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, m)
	} else {
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 88})
	}
	if err != nil {
		panic(err) // neither encoder fails for an image of this size in memory
	}
	return b.Bytes()
}
