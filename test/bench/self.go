package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// serve runs this program as a server: bare or bare-tls for the bare handler, raw for the raw
// socket, presigner for the SDK's presigner.
func serve(kind, address string) error {
	location, err := os.ReadFile(locationFile)
	if err != nil {
		return err
	}
	var h http.Handler
	switch kind {
	case "bare", "bare-tls":
		h = bareHandler(string(location))
	case "raw":
		return serveRaw(address, string(location))
	case "presigner":
		h = presigner()
	default:
		return fmt.Errorf("unknown kind of server %q", kind)
	}
	s := &http.Server{Addr: address, Handler: h}
	if kind == "bare-tls" {
		return s.ListenAndServeTLS("cert.pem", "key.pem")
	}
	return s.ListenAndServe()
}

// bareHandler returns a handler that writes a constant redirect at the lowest cost that net/http
// allows.
func bareHandler(location string) http.Handler {
	locations := []string{location}
	cacheControl := []string{"private, max-age=1234"}
	referrerPolicy := []string{"no-referrer"}
	vary := []string{"Origin, Sec-Fetch-Mode, Sec-Fetch-Dest"}
	contentLength := []string{"0"}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Location"] = locations
		h["Cache-Control"] = cacheControl
		h["Referrer-Policy"] = referrerPolicy
		h["Vary"] = vary
		h["Content-Length"] = contentLength
		w.WriteHeader(http.StatusFound)
	})
}

// serveRaw answers everything that ends with an empty line with a constant redirect: the least that
// a Go program with a goroutine per connection can do.
func serveRaw(address, location string) error {
	response := []byte("HTTP/1.1 302 Found\r\nCache-Control: private, max-age=1234\r\n" +
		"Content-Length: 0\r\nLocation: " + location + "\r\nReferrer-Policy: no-referrer\r\n" +
		"Vary: Origin, Sec-Fetch-Mode, Sec-Fetch-Dest\r\nDate: Thu, 26 Nov 2026 08:00:00 GMT" +
		"\r\n\r\n")
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			buffer := make([]byte, 4096)
			for {
				n, err := c.Read(buffer)
				if err != nil {
					return
				}
				if !bytes.HasSuffix(buffer[:n], []byte("\r\n\r\n")) {
					continue
				}
				if _, err := c.Write(response); err != nil {
					return
				}
			}
		}()
	}
}

// presigner returns a handler that calls the SDK's presigner for each request.
func presigner() http.Handler {
	client := s3.NewPresignClient(s3.New(s3.Options{
		Region:      "eu-central-1",
		Credentials: credentials.NewStaticCredentialsProvider("ASIAEXAMPLEEXAMPLE00", "secret", token),
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/s3/"), "/")
		req, err := client.PresignGetObject(context.WithoutCancel(r.Context()),
			&s3.GetObjectInput{Bucket: &bucket, Key: &key}, s3.WithPresignExpires(45*time.Minute))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "private, max-age=1234")
		h.Set("Location", req.URL)
		w.WriteHeader(http.StatusFound)
	})
}
