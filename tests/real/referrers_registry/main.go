// Command referrers-registry serves a registry that has the referrers API, for the tests.
//
// Blobs, manifests and tags are go-containerregistry's. This adds what the specification demands
// and that leaves out: the OCI-Subject header, an empty index for a subject nobody refers to,
// referrers in the order in which they came, each with its manifest's own artifactType, and the
// filter by it. It listens on loopback only and prints its address on standard output. Blobs lie
// in the directory under sha256/, where a test can damage them; manifests are kept in memory.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	indexType   = "application/vnd.oci.image.index.v1+json"
	maxManifest = 4 << 20
)

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// manifest is what a manifest or an index says of itself and of its subject.
type manifest struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Config       struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
	Subject *struct {
		Digest string `json:"digest"`
	} `json:"subject"`
}

// conforming answers as the distribution specification says where the inner registry does not.
type conforming struct {
	inner     http.Handler
	lock      sync.Mutex
	referrers map[string][]descriptor // by repository + "@" + subject's digest
}

func main() {
	dir := flag.String("dir", "", "where blobs are kept")
	port := flag.Int("port", 0, "the port on 127.0.0.1 (0: any)")
	flag.Parse()
	if err := os.MkdirAll(filepath.Join(*dir, "sha256"), 0o755); err != nil || *dir == "" {
		log.Fatalf("-dir %q: %v", *dir, err)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	blobs := registry.WithBlobHandler(disk{*dir})
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, &conforming{inner: registry.New(blobs), referrers: map[string][]descriptor{}}))
}

func (c *conforming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	if len(parts) < 3 {
		c.inner.ServeHTTP(w, r)
		return
	}
	repository := strings.Join(parts[:len(parts)-2], "/")
	kind, reference := parts[len(parts)-2], parts[len(parts)-1]
	switch {
	case kind == "manifests" && r.Method == http.MethodPut:
		c.putManifest(w, r, repository, reference)
	case kind == "manifests" && r.Method == http.MethodDelete:
		c.forget(repository, reference)
		c.inner.ServeHTTP(w, r)
	case kind == "referrers" && r.Method == http.MethodGet:
		c.getReferrers(w, r, repository, reference)
	default:
		c.inner.ServeHTTP(w, r)
	}
}

// putManifest refuses what is too large or damaged on its way, and names the subject it has taken in.
func (c *conforming) putManifest(w http.ResponseWriter, r *http.Request, repository, reference string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID")
		return
	}
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if strings.HasPrefix(reference, "sha256:") && reference != digest {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID")
		return
	}
	var document manifest
	if err := json.Unmarshal(body, &document); err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID")
		return
	}
	answer := &recorded{ResponseWriter: w}
	if document.Subject != nil {
		w.Header().Set("OCI-Subject", document.Subject.Digest)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.inner.ServeHTTP(answer, r)
	if answer.status != http.StatusCreated || document.Subject == nil {
		return
	}
	artifactType := document.ArtifactType
	if artifactType == "" {
		artifactType = document.Config.MediaType
	}
	c.remember(repository, document.Subject.Digest, descriptor{
		MediaType:    r.Header.Get("Content-Type"),
		Digest:       digest,
		Size:         len(body),
		ArtifactType: artifactType,
		Annotations:  document.Annotations,
	})
}

func (c *conforming) remember(repository, subject string, referrer descriptor) {
	c.lock.Lock()
	defer c.lock.Unlock()
	key := repository + "@" + subject
	known := func(d descriptor) bool { return d.Digest == referrer.Digest }
	if !slices.ContainsFunc(c.referrers[key], known) {
		c.referrers[key] = append(c.referrers[key], referrer)
	}
}

func (c *conforming) forget(repository, digest string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for key, referrers := range c.referrers {
		if strings.HasPrefix(key, repository+"@") {
			gone := func(d descriptor) bool { return d.Digest == digest }
			c.referrers[key] = slices.DeleteFunc(referrers, gone)
		}
	}
}

// getReferrers answers 200 with an index, empty or not, filtered as asked.
func (c *conforming) getReferrers(w http.ResponseWriter, r *http.Request, repository, subject string) {
	c.lock.Lock()
	found := slices.Clone(c.referrers[repository+"@"+subject])
	c.lock.Unlock()
	if wanted := r.URL.Query().Get("artifactType"); wanted != "" {
		found = slices.DeleteFunc(found, func(d descriptor) bool { return d.ArtifactType != wanted })
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if found == nil {
		found = []descriptor{}
	}
	w.Header().Set("Content-Type", indexType)
	_ = json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": found})
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"refused"}]}`, code)
}

// recorded remembers the status that the inner registry gave.
type recorded struct {
	http.ResponseWriter
	status int
}

func (a *recorded) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// disk keeps each blob in a file and serves what the file holds now: no digest is checked again.
type disk struct{ dir string }

func (d disk) path(h v1.Hash) string { return filepath.Join(d.dir, h.Algorithm, h.Hex) }

func (d disk) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	info, err := os.Stat(d.path(h))
	if errors.Is(err, os.ErrNotExist) {
		return 0, registry.ErrNotFound
	} else if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d disk) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	file, err := os.Open(d.path(h))
	if errors.Is(err, os.ErrNotExist) {
		return nil, registry.ErrNotFound
	}
	return file, err
}

// Put takes a blob in whole or not at all. The reader fails where the digest does not match.
func (d disk) Put(_ context.Context, _ string, h v1.Hash, blob io.ReadCloser) error {
	file, err := os.CreateTemp(d.dir, "upload-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, blob)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), d.path(h))
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

func (d disk) Delete(_ context.Context, _ string, h v1.Hash) error { return os.Remove(d.path(h)) }
