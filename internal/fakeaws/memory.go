package fakeaws

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// InMemory is an [http.RoundTripper] that passes requests for all hosts to Handler, without a
// network.
type InMemory struct{ Handler http.Handler }

// RoundTrip implements [http.RoundTripper].
func (m InMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	received := r.Clone(r.Context())
	if received.Host == "" {
		received.Host = r.URL.Host // as net/http does for a client request without Host
	}
	if received.Body == nil {
		received.Body = http.NoBody
	}
	rec := recorder{header: http.Header{}, status: http.StatusOK}
	m.Handler.ServeHTTP(&rec, received)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status:        strconv.Itoa(rec.status) + " " + http.StatusText(rec.status),
		StatusCode:    rec.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        rec.header,
		Body:          io.NopCloser(&rec.body),
		ContentLength: int64(rec.body.Len()),
		Request:       r,
	}, nil
}

// recorder is an [http.ResponseWriter] that records a response.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(status int)      { r.status = status }
