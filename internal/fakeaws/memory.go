package fakeaws

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// InMemory carries a client's requests to a handler, whatever their host, without a network in between.
type InMemory struct{ Handler http.Handler }

// RoundTrip implements [http.RoundTripper].
func (m InMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	received := r.Clone(r.Context())
	if received.Host == "" {
		received.Host = r.URL.Host // a client leaves it out where it is the URL's
	}
	if received.Body == nil {
		received.Body = http.NoBody
	}
	rec := recording{header: http.Header{}, status: http.StatusOK}
	m.Handler.ServeHTTP(&rec, received)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: strconv.Itoa(rec.status) + " " + http.StatusText(rec.status), StatusCode: rec.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.header, Body: io.NopCloser(&rec.body), ContentLength: int64(rec.body.Len()), Request: r,
	}, nil
}

// recording is a [http.ResponseWriter] that keeps what it is given.
type recording struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recording) Header() http.Header         { return r.header }
func (r *recording) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recording) WriteHeader(status int)      { r.status = status }
