// Package paging is how the result of a query goes over the wire: page by page
// (iot-hub-devguide-query-language).
package paging

// Request is the body of a query.
type Request struct {
	Query string `json:"query"` // in the query language
}

// The headers of a query.
const (
	HeaderMaxItemCount = "x-ms-max-item-count" // of a request: the most items of a page
	HeaderContinuation = "x-ms-continuation"   // of an answer: where the next page begins; of a request: this page
	HeaderItemType     = "x-ms-item-type"      // of an answer: what the items are
)
