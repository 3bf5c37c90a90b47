package rest

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/apiversion"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

func (s *Server) query(w http.ResponseWriter, r *http.Request) error {
	var in paging.Request
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	q, err := query.Parse(in.Query)
	if err != nil {
		return iothub.ErrArgumentInvalid.With("The query is invalid: %v", err)
	}
	size := pageSize(r)
	continuation := r.Header.Get(paging.HeaderContinuation)
	if err := s.admit(r, tier.ClassQuery, 1); err != nil {
		return err
	}
	var page paging.Page
	switch q.From {
	case tree.Jobs:
		page, err = s.opts.Jobs.Query(r.Context(), q, size, continuation)
	case tree.Modules:
		page, err = q.Plan(s.opts.Modules).Run(r.Context(), size, continuation)
	default:
		page, err = q.Plan(s.opts.Source).Run(r.Context(), size, continuation)
	}
	if errors.Is(err, paging.ErrContinuation) {
		return iothub.ErrArgumentInvalid.With("%v", err)
	}
	if err != nil {
		return err
	}
	if version := apiversion.Of(r.URL.Query()); q.Items == nil {
		for i, row := range page.Items {
			page.Items[i] = asOf(version, row)
		}
	}
	body := array(page.Items)
	s.meter(reply.Size(body))
	w.Header().Set(paging.HeaderItemType, page.ItemType)
	if page.Continuation != "" {
		w.Header().Set(paging.HeaderContinuation, page.Continuation)
	}
	return reply.Bytes(w, http.StatusOK, body...)
}

// pageSize is how many items a page may have: as many as are asked for, up to 1000.
func pageSize(r *http.Request) int {
	size, err := strconv.Atoi(r.Header.Get(paging.HeaderMaxItemCount))
	if err != nil || size < 1 {
		size = defaultPage
	}
	return min(size, maxPage)
}

// array is the pieces of a JSON array.
func array(items [][]byte) [][]byte {
	open, comma, end := []byte("["), []byte(","), []byte("]")
	pieces := append(make([][]byte, 0, 2*len(items)+2), open)
	for i, it := range items {
		if i > 0 {
			pieces = append(pieces, comma)
		}
		pieces = append(pieces, it)
	}
	return append(pieces, end)
}
