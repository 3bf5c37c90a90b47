package device

import (
	"cmp"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// beginUpload gives a device access to a blob (iot-hub-devguide-file-upload).
func (s *Server) beginUpload(w http.ResponseWriter, r *http.Request, c *caller) error {
	if err := ofDevice(c); err != nil {
		return err
	}
	var in struct {
		Name string `json:"blobName"`
	}
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	if in.Name == "" {
		return iothub.ErrArgumentNull.With("blobName is missing")
	}
	if err := s.opts.Admit(r.Context(), tier.ClassFileUpload); err != nil {
		return err
	}
	upload, err := s.opts.Uploads.Begin(r.Context(), c.device, in.Name, host(r, s.opts.HostName))
	if err != nil {
		return err
	}
	return reply.JSON(w, upload)
}

// endUpload takes a device's word that an upload is over. The correlation id is in the path or, as in newer clients, in the body.
func (s *Server) endUpload(w http.ResponseWriter, r *http.Request, c *caller) error {
	if err := ofDevice(c); err != nil {
		return err
	}
	var in struct {
		ID      string          `json:"correlationId"`
		Success *bool           `json:"isSuccess"`
		Status  json.RawMessage `json:"statusCode"`        // what the storage answered; not looked at
		Text    json.RawMessage `json:"statusDescription"` // likewise
	}
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	id := cmp.Or(c.token, in.ID)
	switch {
	case id == "":
		return iothub.ErrUploadID.With("correlationId is missing, in the path and in the body")
	case in.Success == nil:
		return iothub.ErrUploadStatus.With("isSuccess is missing: true or false")
	}
	if err := s.opts.Uploads.End(r.Context(), c.device, id, *in.Success); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ofDevice refuses modules, which upload no files.
func ofDevice(c *caller) error {
	if c.client != c.device {
		return iothub.ErrInvalidOperation.With("files are uploaded by devices, not by modules")
	}
	return nil
}

// maxHost is the longest host name that is taken over from a request, in bytes, with a port: a name has 253 (RFC 1035).
const maxHost = 253 + 6

// host is where the client finds the hub: as it calls the hub itself. One on this machine that names no port came to a port all the same:
// it may have been told of it apart from the name, while who uploads the file knows the name alone.
func host(r *http.Request, name string) string {
	if len(r.Host) <= maxHost {
		name = cmp.Or(r.Host, name)
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, _, err := net.SplitHostPort(name); err == nil {
		return strings.TrimSuffix(name, ":443")
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return name
	}
	_, port, err := net.SplitHostPort(local.String())
	from, _, fromErr := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(from); err != nil || fromErr != nil || port == "443" || ip == nil || !ip.IsLoopback() {
		return name
	}
	return net.JoinHostPort(bare, port)
}
