package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Version is the $version of the desired properties in a twin, as the answer to a PATCH has it.
func Version(doc json.RawMessage) (int64, error) {
	var twin struct {
		Properties struct {
			Desired struct {
				Version int64 `json:"$version"`
			} `json:"desired"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(doc, &twin); err != nil {
		return 0, fmt.Errorf("reading the patched twin: %w", err)
	}
	if twin.Properties.Desired.Version == 0 {
		return 0, errors.New("reading the patched twin: it has no $version of the desired properties")
	}
	return twin.Properties.Desired.Version, nil
}
