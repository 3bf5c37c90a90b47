package blobs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Path is where the storage stands on the hub's port: a blob is Path/container/blob.
const Path = "/storage/"

// Uploads is the container of the files that devices upload. It stands at the root of the hub's port too: device SDKs put the URI of
// a blob together of host, container and name, and know no Path.
const Uploads = "uploads"

// MaxName is the longest name of a blob, in bytes; Azure storage counts characters (rest/api/storageservices: naming-and-referencing-containers--blobs--and-metadata).
const MaxName = 1024

// ErrName is returned for names that no container or blob can have.
var ErrName = errors.New("no name of a container and a blob")

// containerName is what names of containers are in Azure storage.
var containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

// IsContainer reports whether a name can be a container's.
func IsContainer(name string) bool { return containerName.MatchString(name) }

// CheckName refuses what no blob can be called, with ErrName: a name has at most MaxName bytes of text without control characters, and
// no empty part between its slashes or one that leads elsewhere.
func CheckName(name string) error {
	parts := strings.Split(name, "/")
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) ||
		slices.Contains(parts, "") || slices.Contains(parts, ".") || slices.Contains(parts, "..") {
		return fmt.Errorf("%w: %.200q", ErrName, name)
	}
	return nil
}

func check(container, name string) error {
	if !IsContainer(container) {
		return fmt.Errorf("%w: %.200q, %.200q", ErrName, container, name)
	}
	return CheckName(name)
}

// maxFile is the longest name of a file that is a blob's name as it is written. What is longer goes by its hash: file systems take 255.
const maxFile = 200

// fileName is the file of a blob in its container's directory: the name, percent-encoded where a file cannot have it. All of a
// container's files stand side by side, so that a and a/b can both be blobs.
func fileName(name string) string {
	file := url.PathEscape(name)
	if strings.HasPrefix(file, ".") {
		file = "%2E" + file[1:]
	}
	if len(file) > maxFile {
		sum := sha256.Sum256([]byte(name))
		file = file[:maxFile/2] + "%%" + hex.EncodeToString(sum[:]) // no name has two percent signs side by side
	}
	return file
}
