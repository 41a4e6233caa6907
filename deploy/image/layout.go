package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The media types of the OCI image specification, version 1.
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// platform is what a program was built for, in Go's names.
type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// descriptor refers to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// index lists the manifests of the platforms.
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// manifest lists the parts of one platform's image.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

// image is the configuration of one platform's image.
type image struct {
	Created string `json:"created"`
	platform
	Config  containerConfig `json:"config"`
	RootFS  rootFS          `json:"rootfs"`
	History []step          `json:"history"`
}

// containerConfig is how containers of the image run.
type containerConfig struct {
	User         string              `json:"User"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts"`
	Entrypoint   []string            `json:"Entrypoint"`
	Cmd          []string            `json:"Cmd"`
	WorkingDir   string              `json:"WorkingDir"`
	Labels       map[string]string   `json:"Labels"`
}

// rootFS has the digests of the layers before their compression.
type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// step describes a layer to people.
type step struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// release is what the images of all platforms have in common.
type release struct {
	version, revision string
	created           time.Time
}

// containerConfig returns the configuration, which is the Dockerfile's and labels.
func (r release) containerConfig() containerConfig {
	return containerConfig{
		User:         "65532:65532",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}, "9090/tcp": {}},
		Entrypoint:   []string{"/s3redirect"},
		Cmd:          []string{"serve", "--config", "/etc/s3redirect/config.yaml"},
		WorkingDir:   "/",
		Labels:       r.labels(),
	}
}

// labels returns the labels, which are also the manifests' annotations.
func (r release) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       "s3redirect",
		prefix + "description": "A caching redirect proxy for Amazon S3 and compatible stores",
		prefix + "licenses":    "Apache-2.0",
		prefix + "version":     r.version,
		prefix + "revision":    r.revision,
		prefix + "created":     r.created.Format(time.RFC3339),
	}
}

// layout returns the tar file of an image layout with the images of the programs.
func (r release) layout(programs []program) ([]byte, error) {
	blobs := blobs{}
	list := index{SchemaVersion: 2, MediaType: indexType}
	for _, p := range programs {
		d, err := r.add(blobs, p)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", p.platform.OS, p.platform.Architecture, err)
		}
		list.Manifests = append(list.Manifests, d)
	}
	top, err := blobs.addJSON(indexType, list)
	if err != nil {
		return nil, err
	}
	top.Annotations = map[string]string{"org.opencontainers.image.ref.name": r.version}
	indexJSON, err := json.Marshal(index{2, indexType, []descriptor{top}})
	if err != nil {
		return nil, err
	}
	files := []file{
		{name: "oci-layout", mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", mode: 0o644, data: indexJSON},
		{name: "blobs/", mode: 0o755},
		{name: "blobs/sha256/", mode: 0o755},
	}
	for _, digest := range slices.Sorted(maps.Keys(blobs)) {
		name := "blobs/" + strings.Replace(digest, ":", "/", 1)
		files = append(files, file{name: name, mode: 0o644, data: blobs[digest]})
	}
	return r.tar(files)
}

// add adds the blobs of a platform's image, and returns the descriptor of its manifest.
func (r release) add(blobs blobs, p program) (descriptor, error) {
	created := r.created.Format(time.RFC3339)
	config := image{
		Created: created, platform: p.platform, Config: r.containerConfig(),
		RootFS: rootFS{Type: "layers"},
	}
	m := manifest{SchemaVersion: 2, MediaType: manifestType, Annotations: r.labels()}
	for _, layer := range []struct {
		description string
		files       []file
	}{
		{"users, certificate authorities and the folder of the configuration", baseFiles()},
		{"the program", []file{{name: "s3redirect", mode: 0o755, data: p.data}}},
	} {
		plain, err := r.tar(layer.files)
		if err != nil {
			return descriptor{}, err
		}
		zipped, err := compress(plain)
		if err != nil {
			return descriptor{}, err
		}
		m.Layers = append(m.Layers, blobs.add(layerType, zipped))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest(plain))
		config.History = append(config.History, step{created, layer.description})
	}
	var err error
	if m.Config, err = blobs.addJSON(configType, config); err != nil {
		return descriptor{}, err
	}
	d, err := blobs.addJSON(manifestType, m)
	d.Platform = &p.platform
	return d, err
}

// blobs are the blobs of a layout by their digests.
type blobs map[string][]byte

// add adds a blob and returns its descriptor.
func (b blobs) add(mediaType string, data []byte) descriptor {
	d := descriptor{MediaType: mediaType, Digest: digest(data), Size: int64(len(data))}
	b[d.Digest] = data
	return d
}

// addJSON adds v as JSON and returns its descriptor.
func (b blobs) addJSON(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return b.add(mediaType, data), nil
}

// digest returns the digest of data as descriptors have it.
func digest(data []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

// compress compresses a layer. The gzip header has no name and no time.
func compress(plain []byte) ([]byte, error) {
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return zipped.Bytes(), nil
}
