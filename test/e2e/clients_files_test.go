package e2e

import (
	"fmt"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// documentFiles returns a document and the files that it refers to, by name.
type documentFiles func(*testing.T) map[string][]byte

// filesFrom returns the files that commands write into a new folder. It runs them once.
func filesFrom(commands ...[]string) documentFiles {
	once := sync.OnceValues(func() (map[string][]byte, error) {
		dir, err := os.MkdirTemp(workDir, "files-")
		if err != nil {
			return nil, err
		}
		for _, args := range commands {
			c := exec.Command(args[0], args[1:]...)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%v: %w: %s", args, err, out)
			}
		}
		files := map[string][]byte{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
		return files, nil
	})
	return func(t *testing.T) map[string][]byte {
		t.Helper()
		files, err := once()
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
}

// encode returns an ffmpeg command that encodes three seconds of video, in segments of one second
// if the format has segments.
func encode(output ...string) []string {
	return append([]string{
		"ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=3:s=128x96:r=10",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10",
	}, output...)
}

var (
	hlsFiles = filesFrom(encode(
		"-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "film.m3u8"))
	filmFiles = filesFrom(encode("-movflags", "+faststart", "film.mp4"))
	dashFiles = filesFrom(encode("-f", "dash", "-seg_duration", "1", "film.mpd"))

	// A GeoTIFF, and a virtual raster that refers to it.
	rasterFiles = filesFrom(
		[]string{"gdal_create", "-q", "-of", "GTiff", "-outsize", "64", "64", "-bands", "1",
			"-burn", "7", "-a_ullr", "0", "1", "1", "0", "-a_srs", "EPSG:4326", "map.tif"},
		[]string{"gdalbuildvrt", "-q", "map.vrt", "map.tif"})

	// A shapefile, which is several files of one name.
	shapeFiles = filesFrom(
		[]string{"sh", "-c", "printf 'x,y,name\\n1,2,here\\n' >places.csv"},
		[]string{"ogr2ogr", "-oo", "X_POSSIBLE_NAMES=x", "-oo", "Y_POSSIBLE_NAMES=y",
			"places.shp", "places.csv"},
		[]string{"rm", "places.csv"})
)

// photo returns an image.
func photo(t *testing.T) map[string][]byte {
	t.Helper()
	return map[string][]byte{"photo.png": coloured(t, 30, 20, color.White)}
}

// deepZoom returns an image of 300 by 200 pixels in tiles of 256.
func deepZoom(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"photo.dzi": []byte(`<?xml version="1.0" encoding="UTF-8"?>
<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" TileSize="256" Overlap="0" Format="png">
<Size Width="300" Height="200"/></Image>`)}
	for level := range 10 { // 2**9 is the first power of two that is not below 300
		scale := 1 << (9 - level)
		width, height := (300+scale-1)/scale, (200+scale-1)/scale
		for x := 0; x < width; x += 256 {
			name := fmt.Sprintf("photo_files/%d/%d_0.png", level, x/256)
			files[name] = coloured(t, min(256, width-x), height, color.White)
		}
	}
	return files
}

// largePDF returns a PDF of one red page, with its cross-reference table at the end of 300 kB.
func largePDF(*testing.T) map[string][]byte {
	objects := []string{
		"<</Type/Catalog/Pages 2 0 R>>",
		"<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R>>",
		"<</Length 28>> stream\n1 0 0 rg 0 0 300 300 re f   \nendstream",
	}
	var b, table strings.Builder
	b.WriteString("%PDF-1.4\n" + strings.Repeat("%"+strings.Repeat("x", 98)+"\n", 3000))
	table.WriteString("xref\n0 5\n0000000000 65535 f \n")
	for i, o := range objects {
		fmt.Fprintf(&table, "%010d 00000 n \n", b.Len())
		fmt.Fprintf(&b, "%d 0 obj %s endobj\n", i+1, o)
	}
	at := b.Len()
	fmt.Fprintf(&b, "%strailer <</Root 1 0 R/Size 5>>\nstartxref\n%d\n%%%%EOF\n", table.String(), at)
	return map[string][]byte{"page.pdf": []byte(b.String())}
}

// triangle is the buffer of a glTF model with one triangle: three points of three numbers.
func triangle() []byte {
	const zero, one = "\x00\x00\x00\x00", "\x00\x00\x80\x3f"
	return []byte(zero + zero + zero + one + zero + zero + zero + one + zero)
}

// gltf returns the JSON of a model with one triangle, which is in another file.
func gltf(buffer string) []byte {
	return []byte(`{"asset":{"version":"2.0"},"scene":0,"scenes":[{"nodes":[0]}],"nodes":[{"mesh":0}],
"meshes":[{"primitives":[{"attributes":{"POSITION":0}}]}],
"accessors":[{"bufferView":0,"componentType":5126,"count":3,"type":"VEC3",
"min":[0,0,0],"max":[1,1,0]}],
"bufferViews":[{"buffer":0,"byteLength":36}],"buffers":[{"byteLength":36,"uri":"` + buffer + `"}]}`)
}

// model returns a glTF model.
func model(*testing.T) map[string][]byte {
	return map[string][]byte{"model.gltf": gltf("model.bin"), "model.bin": triangle()}
}

// tileset returns 3D Tiles: a tileset.json and a model that refers to its buffer.
func tileset(*testing.T) map[string][]byte {
	return map[string][]byte{
		"tileset.json": []byte(`{"asset":{"version":"1.1"},"geometricError":10,"root":{
"boundingVolume":{"sphere":[6378137,0,0,2]},"geometricError":0,"refine":"ADD",
"transform":[1,0,0,0,0,1,0,0,0,0,1,0,6378137,0,0,1],
"content":{"uri":"tiles/0.gltf"}}}`),
		"tiles/0.gltf": gltf("0.bin"),
		"tiles/0.bin":  triangle(),
	}
}

// zarr returns a Zarr array of version 3 with one chunk.
func zarr(*testing.T) map[string][]byte {
	return map[string][]byte{
		"cells.zarr/zarr.json": []byte(`{"zarr_format":3,"node_type":"array","shape":[4],
"data_type":"uint8","chunk_grid":{"name":"regular","configuration":{"chunk_shape":[4]}},
"chunk_key_encoding":{"name":"default","configuration":{"separator":"/"}},"fill_value":0,
"codecs":[{"name":"bytes"}],"attributes":{}}`),
		"cells.zarr/c/0": {1, 2, 3, 4},
	}
}
