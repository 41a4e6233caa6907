package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// movie is a film that ffmpeg has made: its files in a folder, and the name of its document.
type movie struct {
	dir, document string
	files         map[string][]byte
}

// ladder is ffmpeg's output in two renditions, with segments in a folder.
var ladder = []string{
	"-map", "0:v", "-map", "0:v", "-s:v:0", "160x90", "-b:v:0", "100k", "-b:v:1", "400k",
}

// The movies. hlsMovie and dashMovie have two renditions, captions, and segments of two seconds.
// rangesMovie has its segments in one file, which players read with Range. longMovie has one
// segment for each second.
var (
	hlsMovie = makeMovie(6, 50, withHLSCaptions, append(ladder, "-f", "hls", "-hls_time", "2",
		"-hls_playlist_type", "vod", "-var_stream_map", "v:0 v:1",
		"-master_pl_name", "film.m3u8", "-hls_base_url", "segments/",
		"-hls_segment_filename", "segments/%v-%d.ts", "film-%v.m3u8")...)
	dashMovie = makeMovie(6, 50, withDASHCaptions, append(ladder, "-f", "dash", "-seg_duration", "2",
		"-adaptation_sets", "id=0,streams=v", "-init_seg_name", "segments/$RepresentationID$.mp4",
		"-media_seg_name", "segments/$RepresentationID$-$Number$.m4s", "film.mpd")...)
	rangesMovie = makeMovie(6, 50, nil, "-f", "hls", "-hls_time", "2",
		"-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-hls_flags", "single_file",
		"-hls_segment_filename", "film.mp4", "film.m3u8")
	longMovie = makeMovie(12, 25, nil, "-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod",
		"-hls_base_url", "segments/", "-hls_segment_filename", "segments/%d.ts", "film.m3u8")
)

// makeMovie returns a function that makes a film of some seconds with a key frame every so many
// frames, of 25 a second. Its document is the first file with the suffix of the last argument.
func makeMovie(
	seconds, keyFrame int, edit func(*movie) error, output ...string,
) func() (*movie, error) {
	return sync.OnceValues(func() (*movie, error) {
		dir, err := os.MkdirTemp(workDir, "movie-")
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, "segments"), 0o755)
		}
		if err != nil {
			return nil, err
		}
		args := append([]string{
			"ffmpeg", "-v", "error", "-f", "lavfi",
			"-i", fmt.Sprintf("testsrc2=size=320x180:rate=25:duration=%d", seconds),
			"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
			"-g", fmt.Sprint(keyFrame), "-sc_threshold", "0",
		}, output...)
		if _, err := run(dir, args...); err != nil {
			return nil, err
		}
		m := &movie{
			dir:      dir,
			document: "film" + filepath.Ext(output[len(output)-1]),
			files:    map[string][]byte{},
		}
		err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			m.files[name], err = os.ReadFile(filepath.Join(dir, name))
			return err
		})
		if err == nil && edit != nil {
			err = edit(m)
		}
		return m, err
	})
}

const filmCaptions = "WEBVTT\n\n00:00.500 --> 00:02.000\nOne\n\n00:03.000 --> 00:05.000\nTwo\n"

// write adds or replaces a file.
func (m *movie) write(name, text string) error {
	m.files[name] = []byte(text)
	return os.WriteFile(filepath.Join(m.dir, name), m.files[name], 0o600)
}

// withHLSCaptions adds captions to a playlist with renditions.
func withHLSCaptions(m *movie) error {
	list := strings.ReplaceAll(string(m.files[m.document]), ",CODECS=", `,SUBTITLES="text",CODECS=`)
	return errors.Join(
		m.write("captions.vtt", filmCaptions),
		m.write("captions.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n"+
			"#EXTINF:6,\ncaptions.vtt\n#EXT-X-ENDLIST\n"),
		m.write(m.document, list+`#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="English",`+
			`LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,URI="captions.m3u8"`+"\n"))
}

// withDASHCaptions adds captions to a manifest.
func withDASHCaptions(m *movie) error {
	const set = `<AdaptationSet contentType="text" mimeType="text/vtt" lang="en">` +
		`<Role schemeIdUri="urn:mpeg:dash:role:2011" value="caption"/>` +
		`<Representation id="text" bandwidth="100"><BaseURL>captions.vtt</BaseURL>` +
		`</Representation></AdaptationSet>`
	text := strings.Replace(string(m.files[m.document]), "</Period>", set+"</Period>", 1)
	return errors.Join(m.write("captions.vtt", filmCaptions), m.write(m.document, text))
}

// putFiles stores files with their types below a prefix.
func (s *store) putFiles(t *testing.T, bucket, prefix string, files map[string][]byte) {
	t.Helper()
	for name, body := range files {
		key, mediaType := prefix+name, documentTypes[filepath.Ext(name)]
		_, err := s.client(s.owner).PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ContentType: &mediaType,
		})
		if err != nil {
			t.Fatalf("PutObject(%q): %v", key, err)
		}
	}
}
