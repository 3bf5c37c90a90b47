package paging

// The types of items that a result may have (iot-hub-devguide-query-language).
const (
	ItemTwin = "Twin"      // whole twins
	ItemRaw  = "Raw"       // rows of a select list
	ItemJob  = "DeviceJob" // devices of jobs
)

// Page is one page of a result. Items are JSON objects.
type Page struct {
	Items        [][]byte // in the order of the result; empty, not nil, for none
	ItemType     string   // ItemTwin, ItemRaw or ItemJob
	Continuation string   // for the next page; empty on the last
}
