package twin

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// Configuration is what a twin says of a configuration that targets it (iot-hub-automatic-device-management).
type Configuration struct {
	ID     string
	Status string // Targeted or Applied
}

// The states of a configuration in a twin.
const (
	Targeted = "Targeted" // it matches, and nothing of it was written: others with a higher priority write the same
	Applied  = "Applied"  // at least a part of its content was written
)

// Configure notes the configurations that target the twin and writes their content into desired properties; every
// leaf is stamped with the origin that by has for its path. Content that is Undefined or has no members writes
// nothing, and a new list alone moves neither ETag nor version. Delta and errors are those of [Twin.Patch]. The list
// is kept.
func (t *Twin) Configure(list []Configuration, content jsonvalue.Value, by func(path []string) *metadata.Origin, now time.Time) (next *Twin, delta jsonvalue.Value, err error) {
	next = t
	if content.Len() > 0 {
		desired, err := t.Desired.MergeBy(content, now, by)
		if err != nil {
			return nil, jsonvalue.Value{}, err
		}
		next = next.touched(t)
		next.Desired, next.Stamped, delta = desired, true, content
	}
	if slices.Equal(list, t.Configurations) {
		return next, delta, nil
	}
	if next == t {
		alone := *t
		next = &alone
	}
	next.Configurations = list
	return next, delta, nil
}

// configurations makes the member of that name.
func (t *Twin) configurations() jsonvalue.Value {
	members := make([]jsonvalue.Member, 0, len(t.Configurations))
	for _, c := range t.Configurations {
		members = append(members, jsonvalue.Member{Key: c.ID, Value: jsonvalue.ObjectValue(
			jsonvalue.Member{Key: "status", Value: jsonvalue.StringValue(c.Status)},
		)})
	}
	return jsonvalue.ObjectValue(members...)
}

// configuration finds a path below "configurations"; ids match in any case, and so do the members.
func (t *Twin) configuration(path []string) jsonvalue.Value {
	if len(t.Configurations) == 0 {
		return jsonvalue.Value{}
	}
	if len(path) == 2 { // what the system's metrics ask of every twin
		for _, c := range t.Configurations {
			if strings.EqualFold(c.ID, path[0]) && strings.EqualFold(path[1], "status") {
				return jsonvalue.StringValue(c.Status)
			}
		}
		return jsonvalue.Value{}
	}
	return foldPath(t.configurations(), path)
}

// flagConfigured marks a record that has configurations behind its sections.
const flagConfigured = 2

// configured reports whether configurations have left anything in the twin.
func (t *Twin) configured() bool { return len(t.Configurations) > 0 || t.Stamped }

// appendConfigurations appends the configurations and what they wrote.
func (t *Twin) appendConfigurations(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.Configurations)))
	for _, c := range t.Configurations {
		dst = codec.AppendText(codec.AppendText(dst, c.ID), c.Status)
	}
	return t.Desired.AppendOrigins(dst)
}

// decodeConfigurations reads what appendConfigurations wrote.
func (t *Twin) decodeConfigurations(d *codec.Reader, in *jsonparse.Interner) {
	for range d.Uvarint() {
		c := Configuration{ID: in.Text(d.Bytes()), Status: in.Text(d.Bytes())}
		if d.Err != nil {
			return
		}
		t.Configurations = append(t.Configurations, c)
	}
	t.Stamped = true
	t.Desired = t.Desired.DecodeOrigins(d, in)
}
