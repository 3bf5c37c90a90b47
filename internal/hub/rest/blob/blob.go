// Package blob answers requests for the blobs of the hub's own storage as Azure storage does, as far as clients of block blobs
// need it: put, get and delete, and put in blocks (rest/api/storageservices).
package blob

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/blobs"
	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Options of a Server. Required are Storage and Access.
type Options struct {
	Storage *blobs.Storage
	// Access checks what the header Authorization holds, or the query behind the first word that it would have there, against the path
	// of a blob below blobs.Path. Errors are *iothub.Error.
	Access func(authorization, path string) error
	Signer blobs.Signer // whose access to single blobs is accepted; the zero value accepts none
	Logger *slog.Logger // nil logs nothing
}

// Server answers requests for blobs.
type Server struct{ opts Options }

// New makes a Server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{o}
}

// Routes gives the server the paths of its blobs.
func (s *Server) Routes(mux *http.ServeMux) {
	mux.HandleFunc(blobs.Path+"{container}/{blob...}", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, r.PathValue("container")) })
	mux.HandleFunc("/"+blobs.Uploads+"/{blob...}", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, blobs.Uploads) })
}

// problem is an error as clients of Azure storage read it (rest/api/storageservices: status-and-error-codes2).
type problem struct {
	XMLName struct{} `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
}

// What can be wrong with a request beside what is wrong with a blob.
var (
	errExists    = fmt.Errorf("%w: the blob exists already", blobs.ErrCondition)
	errChanged   = fmt.Errorf("%w: the blob is another one", blobs.ErrCondition)
	errBody      = errors.New("the body is broken, or did not come in time")
	errOperation = errors.New("this hub reads, writes and deletes block blobs, whole or in blocks, and no more")
	errList      = errors.New("the body is no list of blocks")
	errMD5       = errors.New("the body is not what Content-MD5 says")
)

// kinds are the answers to what can be wrong, the first that fits.
var kinds = []struct {
	err    error
	status int
	code   string
}{
	{blobs.ErrNoBlob, http.StatusNotFound, "BlobNotFound"},
	{blobs.ErrName, http.StatusBadRequest, "InvalidResourceName"},
	{blobs.ErrTooLarge, http.StatusRequestEntityTooLarge, "RequestBodyTooLarge"},
	{blobs.ErrFull, http.StatusInsufficientStorage, "InsufficientStorage"},
	{blobs.ErrBlock, http.StatusBadRequest, "InvalidBlockList"},
	{blobs.ErrBlockID, http.StatusBadRequest, "InvalidQueryParameterValue"},
	{blobs.ErrBlocks, http.StatusBadRequest, "InvalidBlobOrBlock"},
	{errBody, http.StatusBadRequest, "InvalidInput"},
	{errList, http.StatusBadRequest, "InvalidXmlDocument"},
	{errMD5, http.StatusBadRequest, "Md5Mismatch"},
	{errExists, http.StatusConflict, "BlobAlreadyExists"},
	{errChanged, http.StatusPreconditionFailed, "ConditionNotMet"},
	{errOperation, http.StatusBadRequest, "UnsupportedHttpVerb"},
}

// serve answers a request for a blob. The access is a token of the hub, in the header or, without its first word, as the query: so a
// container's URI with it is what a shared access signature of Azure storage is. Or it is that of a Signer, to this blob alone.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, container string) {
	var request [16]byte
	rand.Read(request[:]) // never fails, by its own documentation
	w.Header().Set("x-ms-request-id", hex.EncodeToString(request[:]))
	if v := r.Header.Get("x-ms-version"); v != "" {
		w.Header().Set("x-ms-version", v)
	}
	name := r.PathValue("blob")
	if err := s.mayAccess(r, container, name); err != nil {
		fail(w, r, http.StatusForbidden, "AuthenticationFailed", err.Error())
		return
	}
	err := s.do(w, r, container, name)
	if err == nil {
		return
	}
	if errors.Is(err, errBody) {
		w.Header().Set("Connection", "close") // where the next request begins is not known
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			fail(w, r, k.status, k.code, k.err.Error())
			return
		}
	}
	s.opts.Logger.Error("serving a blob failed", "error", err)
	fail(w, r, http.StatusInternalServerError, "InternalError", "the hub failed")
}

func fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		body, _ := xml.Marshal(problem{Code: code, Message: message}) // two texts
		_, _ = w.Write(body)                                          // a client that is gone is nobody to tell
	}
}

func (s *Server) mayAccess(r *http.Request, container, name string) error {
	token := r.Header.Get("Authorization")
	if query := r.URL.Query(); token == "" && blobs.IsAccess(query) {
		if r.Method == http.MethodDelete {
			return blobs.ErrAccess // it is to read and to write
		}
		return s.opts.Signer.Check(query, container, name, time.Now())
	}
	if token == "" {
		token = "SharedAccessSignature " + r.URL.RawQuery
	}
	if err := s.opts.Access(token, blobs.Path+container+"/"+name); err != nil {
		return errors.New(iothub.AsError(err).Message)
	}
	return nil
}

// condition is that of a write: If-None-Match with a star, and If-Match. Clients say the former whenever a blob that is there is not to
// be overwritten (rest/api/storageservices: specifying-conditional-headers-for-blob-service-operations).
func condition(r *http.Request) blobs.Condition {
	none, match := strings.TrimSpace(r.Header.Get("If-None-Match")), strings.TrimSpace(r.Header.Get("If-Match"))
	if none == "" && match == "" {
		return nil
	}
	return func(b *blobs.Blob) error {
		tag := ""
		if b != nil {
			tag = etag(b)
		}
		switch {
		case b != nil && none == "*":
			return errExists
		case b != nil && none == tag, b == nil && match != "", match != "" && match != "*" && match != tag:
			return errChanged
		}
		return nil
	}
}

// fromClient tells the failures of reading a request's body from those of the storage.
type fromClient struct{ io.Reader }

// Read reads the body.
func (f fromClient) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		err = blobs.ErrTooLarge
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %w", errBody, err)
	}
	return n, err
}

// content writes the body of a request, and checks the hash that its sender may have made of it.
func content(w http.ResponseWriter, r *http.Request, into io.Writer, most int64) error {
	body := io.Reader(fromClient{http.MaxBytesReader(w, r.Body, most)})
	sent := r.Header.Get("Content-MD5")
	if sent == "" {
		_, err := io.Copy(into, body)
		return err
	}
	sum := md5.New()
	if _, err := io.Copy(into, io.TeeReader(body, sum)); err != nil {
		return err
	}
	if base64.StdEncoding.EncodeToString(sum.Sum(nil)) != sent {
		return errMD5
	}
	return nil
}

func (s *Server) do(w http.ResponseWriter, r *http.Request, container, name string) error {
	query := r.URL.Query()
	if query.Get("restype") != "" {
		return errOperation
	}
	if r.ContentLength > blobs.MaxBlob {
		w.Header().Set("Connection", "close") // nobody is to send the rest
		return blobs.ErrTooLarge
	}
	switch [2]string{r.Method, strings.ToLower(query.Get("comp"))} {
	case [2]string{http.MethodGet}, [2]string{http.MethodHead}:
		return s.get(w, r, container, name)
	case [2]string{http.MethodPut}:
		if kind := r.Header.Get("x-ms-blob-type"); kind != "" && kind != "BlockBlob" {
			return errOperation
		}
		err := s.opts.Storage.Write(container, name, condition(r), func(into io.Writer) error { return content(w, r, into, blobs.MaxBlob) })
		if err != nil {
			return err
		}
		return s.created(w, container, name)
	case [2]string{http.MethodPut, "block"}:
		err := s.opts.Storage.PutBlock(container, name, query.Get("blockid"), func(into io.Writer) error { return content(w, r, into, blobs.MaxBlob) })
		if err != nil {
			return err
		}
		w.Header().Set("x-ms-request-server-encrypted", "false")
		w.WriteHeader(http.StatusCreated)
		return nil
	case [2]string{http.MethodPut, "blocklist"}:
		ids, err := list(w, r)
		if err != nil {
			return err
		}
		if err := s.opts.Storage.Commit(container, name, ids, condition(r)); err != nil {
			return err
		}
		return s.created(w, container, name)
	case [2]string{http.MethodDelete}:
		if err := s.opts.Storage.Delete(container, name, condition(r)); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	default:
		return errOperation
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, container, name string) error {
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
	w.Header().Set("ETag", etag(b))
	http.ServeContent(w, r, "", b.At, b)
	return nil
}

// created answers to who has written a blob.
func (s *Server) created(w http.ResponseWriter, container, name string) error {
	b, err := s.opts.Storage.Open(container, name)
	if err != nil {
		return err
	}
	defer b.Close()
	w.Header().Set("ETag", etag(b))
	w.Header().Set("Last-Modified", b.At.UTC().Format(http.TimeFormat))
	w.Header().Set("x-ms-request-server-encrypted", "false")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// etag tells the contents of a blob apart.
func etag(b *blobs.Blob) string {
	return `"0x` + strconv.FormatInt(b.At.UnixNano(), 16) + strconv.FormatInt(b.Size, 16) + `"`
}

// maxList is the largest list of blocks, in bytes: 50000 ids of 88 characters, each between its tags, are below it.
const maxList = 8 << 20

// list reads the ids of a list of blocks (rest/api/storageservices: put-block-list). Blocks that are to be found in the blob that is
// there count as any other: the storage knows those that have come.
func list(w http.ResponseWriter, r *http.Request) ([]string, error) {
	var text bytes.Buffer
	if err := content(w, r, &text, maxList); err != nil {
		return nil, err
	}
	var in struct {
		XMLName xml.Name `xml:"BlockList"`
		Blocks  []struct {
			XMLName xml.Name
			ID      string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal(text.Bytes(), &in); err != nil {
		return nil, errList
	}
	ids := make([]string, len(in.Blocks))
	for i, b := range in.Blocks {
		switch b.XMLName.Local {
		case "Latest", "Uncommitted", "Committed":
			ids[i] = strings.TrimSpace(b.ID)
		default:
			return nil, errList
		}
	}
	return ids, nil
}
