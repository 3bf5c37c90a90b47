package transfer

import (
	"net/url"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Container finds the container that a URI names: one of the hub's own storage, by whatever name the hub is called.
// The query, which holds the access, is returned beside it. The error is iothub.ErrBlobContainer.
func Container(uri string) (container, query string, err error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", "", iothub.ErrBlobContainer.With("the container must be a URI such as https://localhost:8443%sdevices", blobs.Path)
	}
	name, own := strings.CutPrefix(strings.TrimSuffix(u.Path, "/"), blobs.Path)
	if !own || !blobs.IsContainer(name) {
		return "", "", iothub.ErrBlobContainer.With("this hub reads and writes containers of its own only: %s and a name of 3 to 63 letters, digits and hyphens", blobs.Path)
	}
	return name, u.RawQuery, nil
}
