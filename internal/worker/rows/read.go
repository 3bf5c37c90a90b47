package rows

import (
	"bytes"
	"encoding/json"
)

// Read is what a row tells: the device, and the $version of its reported properties, 0 when the row does not tell it. Of devices
// that are not watched it is no more than their ids where decoding can be avoided: a result may have thousands.
func (m *Meaning) Read(item json.RawMessage, watched func(id string) bool) (id string, version int64) {
	if m.Whole {
		if id, ok := leadingID(item); ok && !watched(id) {
			return id, 0
		}
		var row struct {
			DeviceID   string `json:"deviceId"`
			Properties struct {
				Reported struct {
					Version int64 `json:"$version"`
				} `json:"reported"`
			} `json:"properties"`
		}
		if json.Unmarshal(item, &row) != nil {
			return "", 0
		}
		return row.DeviceID, row.Properties.Reported.Version
	}
	var row map[string]json.RawMessage
	if json.Unmarshal(item, &row) != nil || json.Unmarshal(row[m.Device], &id) != nil {
		return "", 0
	}
	if raw, ok := row[m.Version]; ok && m.Version != "" && json.Unmarshal(raw, &version) != nil {
		return id, 0
	}
	return id, version
}

// leadingID is the device id of a twin that begins with it, as the service's do.
func leadingID(item []byte) (string, bool) {
	rest, ok := bytes.CutPrefix(item, []byte(`{"deviceId":"`))
	if !ok {
		return "", false
	}
	end := bytes.IndexAny(rest, `"\`)
	if end < 0 || rest[end] != '"' {
		return "", false
	}
	return string(rest[:end]), true
}
