package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/twinfleet/twinfleet/report"
)

// maxChange is how many bytes a change of the load may have.
const maxChange = 4 << 10

// change changes the load as the body of a request says. An error comes with its status.
func (s *Server) change(w http.ResponseWriter, r *http.Request) (status int, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return http.StatusUnsupportedMediaType, errors.New("a change of the load is sent as application/json")
	}
	change, err := readChange(http.MaxBytesReader(w, r.Body, maxChange))
	if err != nil {
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			return http.StatusRequestEntityTooLarge, fmt.Errorf("a change of the load has at most %d bytes", maxChange)
		}
		return http.StatusBadRequest, fmt.Errorf("the change of the load cannot be read: %w", err)
	}
	s.mu.Lock()
	devices, over := s.run.Devices, s.run.Outcome != ""
	s.mu.Unlock()
	if over {
		return http.StatusConflict, errors.New("the run is over")
	}
	if err := change.Check(devices); err != nil {
		return http.StatusBadRequest, err
	}
	if err := s.opts.Controls.Change(change); err != nil {
		return http.StatusConflict, err
	}
	return 0, nil
}

// readChange reads exactly one change of the load, with no field that it does not know.
func readChange(r io.Reader) (c report.LoadChange, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something follows it")
		}
		return c, err
	}
	return c, nil
}
