package rest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/bearer"
	"github.com/twinfleet/twinfleet/internal/hub/policy"
	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/hub/transfer"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

// Transfers carries out imports and exports of identities. Errors are *iothub.Error.
type Transfers interface {
	Create(job transfer.Job, access func(container, query string) error) (transfer.Job, error)
	Job(id string) (transfer.Job, error)
	List() []transfer.Job
	Cancel(id string) error
}

// registryRights are needed for what reads and writes keys of devices.
const registryRights = policy.RegistryRead | policy.RegistryWrite

// transferRoutes are the endpoints of imports and exports, and the storage that they use.
func (s *Server) transferRoutes(route func(pattern string, right policy.Rights, h handler)) {
	route("POST /jobs/create", registryRights, s.createTransfer)
	route("GET /jobs", policy.RegistryRead, s.listTransfers)
	route("GET /jobs/{id}", policy.RegistryRead, s.getTransfer)
	route("DELETE /jobs/{id}", registryRights, s.cancelTransfer)
	s.mux.HandleFunc(transfer.Path+"{container}/{blob}", s.blob)
}

func (s *Server) createTransfer(w http.ResponseWriter, r *http.Request) error {
	var in transfer.Job
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	job, err := s.opts.Transfers.Create(in, func(container, query string) error {
		if query == "" { // the caller's own right is enough, as that of an identity of the service is
			return nil
		}
		if err := s.opts.Policies.Authorize("SharedAccessSignature "+query, transfer.Path+container, registryRights); err != nil {
			return iothub.ErrBlobContainer.With("%s", iothub.AsError(err).Message)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return reply.JSON(w, job)
}

func (s *Server) listTransfers(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	return reply.JSON(w, s.opts.Transfers.List())
}

func (s *Server) getTransfer(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	job, err := s.opts.Transfers.Job(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply.JSON(w, job)
}

func (s *Server) cancelTransfer(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	if err := s.opts.Transfers.Cancel(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// blobError is an error as clients of Azure storage read it (rest/api/storageservices: status-and-error-codes2).
type blobError struct {
	XMLName struct{} `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
}

// blob reads, writes and deletes a block blob of the hub's own storage, as far as clients of Azure storage do it in one
// call. The access is a token of the hub, in the header or, without its first word, as the query: so a container's URI with
// it is what a shared access signature of Azure storage is.
func (s *Server) blob(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code, message string) {
		w.Header().Set("x-ms-error-code", code)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			body, _ := xml.Marshal(blobError{Code: code, Message: message}) // two texts
			_, _ = w.Write(body)                                            // a client that is gone is nobody to tell
		}
	}
	var request [16]byte
	rand.Read(request[:]) // never fails, by its own documentation
	w.Header().Set("x-ms-request-id", hex.EncodeToString(request[:]))
	if v := r.Header.Get("x-ms-version"); v != "" {
		w.Header().Set("x-ms-version", v)
	}
	token := r.Header.Get("Authorization")
	if token == "" {
		token = "SharedAccessSignature " + r.URL.RawQuery
	}
	if err := s.mayAccess(token, r.URL.Path); err != nil {
		fail(http.StatusForbidden, "AuthenticationFailed", iothub.AsError(err).Message)
		return
	}
	err := s.serveBlob(w, r, r.PathValue("container"), r.PathValue("blob"))
	var large *http.MaxBytesError
	switch {
	case err == nil:
	case errors.Is(err, transfer.ErrNoBlob):
		fail(http.StatusNotFound, "BlobNotFound", err.Error())
	case errors.Is(err, transfer.ErrName):
		fail(http.StatusBadRequest, "InvalidResourceName", err.Error())
	case errors.Is(err, transfer.ErrTooLarge), errors.As(err, &large):
		fail(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", fmt.Sprintf("a blob has at most %d bytes", transfer.MaxBlob))
	case errors.Is(err, errBody):
		w.Header().Set("Connection", "close") // where the next request begins is not known
		fail(http.StatusBadRequest, "InvalidInput", errBody.Error())
	case errors.Is(err, errBlobExists):
		fail(http.StatusConflict, "BlobAlreadyExists", err.Error())
	case errors.Is(err, errBlobChanged):
		fail(http.StatusPreconditionFailed, "ConditionNotMet", err.Error())
	case errors.Is(err, errBlobOperation):
		fail(http.StatusBadRequest, "UnsupportedHttpVerb", err.Error())
	default:
		s.opts.Logger.Error("serving a blob failed", "error", err)
		fail(http.StatusInternalServerError, "InternalError", "the hub failed")
	}
}

// mayAccess checks the access to a blob: a shared access signature, or a bearer token where those are accepted.
func (s *Server) mayAccess(header, path string) error {
	if token, is := bearer.Token(header); is {
		if err := s.opts.Bearer.Check(token, time.Now()); err != nil {
			return iothub.ErrUnauthorizedAccess.With("Unauthorized: %v", err)
		}
		return nil
	}
	return s.opts.Policies.Authorize(header, path, registryRights)
}

// The conditions of a request that is not to replace what there is, and of one that is to replace nothing else.
var (
	errBlobExists  = fmt.Errorf("%w: the blob exists already", transfer.ErrCondition)
	errBlobChanged = fmt.Errorf("%w: the blob is another one", transfer.ErrCondition)
)

// condition is that of a write: If-None-Match with a star, and If-Match. Clients say the former whenever a blob that is there is not to
// be overwritten (rest/api/storageservices: specifying-conditional-headers-for-blob-service-operations).
func condition(r *http.Request) transfer.Condition {
	none, match := strings.TrimSpace(r.Header.Get("If-None-Match")), strings.TrimSpace(r.Header.Get("If-Match"))
	if none == "" && match == "" {
		return nil
	}
	return func(b *transfer.Blob) error {
		etag := ""
		if b != nil {
			etag = blobETag(b.At.UnixNano(), b.Size)
		}
		switch {
		case b != nil && none == "*":
			return errBlobExists
		case b != nil && none == etag, b == nil && match != "", match != "" && match != "*" && match != etag:
			return errBlobChanged
		}
		return nil
	}
}

// errBody is why a blob is not written whose content does not come.
var errBody = errors.New("the body is broken, or did not come in time")

// fromClient tells the failures of reading a request's body from those of the storage.
type fromClient struct{ io.Reader }

// Read reads the body.
func (f fromClient) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBody, err)
	}
	return n, err
}

var errBlobOperation = errors.New("this hub reads, writes and deletes block blobs, each in one call, and no more")

func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request, container, name string) error {
	query := r.URL.Query()
	if query.Get("comp") != "" || query.Get("restype") != "" {
		return errBlobOperation
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		b, err := s.opts.Storage.Open(container, name)
		if err != nil {
			return err
		}
		defer b.Close()
		if ranged := r.Header.Get("x-ms-range"); ranged != "" {
			r.Header.Set("Range", ranged)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("x-ms-blob-type", "BlockBlob")
		w.Header().Set("ETag", blobETag(b.At.UnixNano(), b.Size))
		http.ServeContent(w, r, "", b.At, b)
		return nil
	case http.MethodPut:
		if kind := r.Header.Get("x-ms-blob-type"); kind != "" && kind != "BlockBlob" {
			return errBlobOperation
		}
		body := http.MaxBytesReader(w, r.Body, transfer.MaxBlob)
		err := s.opts.Storage.Write(container, name, condition(r), func(into io.Writer) error {
			_, err := io.Copy(into, fromClient{body})
			return err
		})
		if err != nil {
			return err
		}
		b, err := s.opts.Storage.Open(container, name)
		if err != nil {
			return err
		}
		defer b.Close()
		w.Header().Set("ETag", blobETag(b.At.UnixNano(), b.Size))
		w.Header().Set("Last-Modified", b.At.UTC().Format(http.TimeFormat))
		w.Header().Set("x-ms-request-server-encrypted", "false")
		w.WriteHeader(http.StatusCreated)
		return nil
	case http.MethodDelete:
		if err := s.opts.Storage.Delete(container, name, condition(r)); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	default:
		return errBlobOperation
	}
}

// blobETag tells the contents of a blob apart.
func blobETag(at, size int64) string {
	return `"0x` + strconv.FormatInt(at, 16) + strconv.FormatInt(size, 16) + `"`
}
