package hub_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// document is an object as the naive model has it.
type document = map[string]any

// merge is the contract's section 2.4 in its simplest form: objects are merged, null removes, all else replaces.
func merge(into, patch document) document {
	out := document{}
	for k, v := range into {
		out[k] = v
	}
	for k, v := range patch {
		sub, isObject := v.(document)
		old, wasObject := out[k].(document)
		switch {
		case v == nil:
			delete(out, k)
		case isObject && wasObject:
			out[k] = merge(old, sub)
		case isObject:
			out[k] = merge(document{}, sub)
		default:
			out[k] = v
		}
	}
	return out
}

// replacing is the patch that makes one document of another: what is no longer there is null.
func replacing(old, now document) document {
	out := document{}
	for k, v := range now {
		out[k] = v
		before, wasObject := old[k].(document)
		if sub, isObject := v.(document); isObject && wasObject {
			out[k] = replacing(before, sub)
		}
	}
	for k := range old {
		if _, kept := now[k]; !kept {
			out[k] = nil
		}
	}
	return out
}

// model is a twin as the contract's table of versions has it (section 2.4).
type model struct {
	tags, desired, reported              document
	desiredN, reportedN, version, etagNo int64
}

func (m *model) service(tags, desired document, replace bool) (notify document) {
	touched := false
	if replace { // What the body does not hold is gone.
		tags, desired = merge(document{}, tags), merge(document{}, desired)
	}
	if tags != nil && (replace || len(tags) > 0) {
		touched = true
		if m.tags = merge(m.tags, tags); replace {
			m.tags = merge(document{}, tags)
		}
	}
	if desired != nil && (replace || len(desired) > 0) {
		touched = true
		m.desiredN++
		notify = desired
		if replace {
			notify = replacing(m.desired, desired)
			m.desired = merge(document{}, desired)
		} else {
			m.desired = merge(m.desired, desired)
		}
	}
	if touched {
		m.version++
		m.etagNo++
	}
	return notify
}

// patches draws objects over few names, so that patches meet.
func patches(nulls bool) *rapid.Generator[document] {
	var object func(depth int) *rapid.Generator[document]
	value := func(depth int) *rapid.Generator[any] {
		return rapid.Custom(func(t *rapid.T) any {
			kinds := 5
			if depth > 0 {
				kinds = 7
			}
			switch rapid.IntRange(0, kinds).Draw(t, "kind") {
			case 0:
				if nulls {
					return nil
				}
				return true
			case 1:
				return rapid.Bool().Draw(t, "bool")
			case 2:
				return float64(rapid.IntRange(-5, 1<<40).Draw(t, "number"))
			case 3:
				return rapid.SampledFrom([]string{"", "x", "é", "\"\\\n", "2026-01-02T03:04:05Z"}).Draw(t, "text")
			case 4:
				return []any{1.0, "a", document{"b": false}}
			case 5:
				return rapid.Float64Range(-1e6, 1e6).Draw(t, "float")
			default:
				return object(depth-1).Draw(t, "object")
			}
		})
	}
	object = func(depth int) *rapid.Generator[document] {
		return rapid.Custom(func(t *rapid.T) document {
			out := document{}
			for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "ключ"}), 0, 3, rapid.ID).Draw(t, "keys") {
				out[k] = value(depth).Draw(t, "value")
			}
			return out
		})
	}
	return object(3)
}

func text(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

// Random patches of the service over REST and of the device over MQTT give the twin, the versions and the
// notifications that a naive model gives.
func TestHubAgainstModel(t *testing.T) {
	h, c := open(t, hub.Options{})
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		id := fmt.Sprint("model-", n)
		d := newDevice(t, c, id)
		w := online(t, h, id, d.Authentication.SymmetricKey.Primary)
		w.Subscribe(0, topics.FilterTwinResponses, topics.FilterDesired)
		m := &model{tags: document{}, desired: document{}, reported: document{}, desiredN: 1, reportedN: 1, version: 2, etagNo: 1}
		for step := range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "operation") {
			case 0, 1:
				patch := patches(true).Draw(rt, "reported")
				w.Publish(0, topics.Report("r"), text(patch))
				m.reported = merge(m.reported, patch)
				m.reportedN++
				m.version++
				if f := w.Expect(mqtt.PUBLISH); f.Topic != fmt.Sprintf("$iothub/twin/res/204/?$rid=r&$version=%d", m.reportedN) {
					rt.Fatalf("step %d: report of %s: %s %s; want version %d", step, text(patch), f.Topic, f.Payload, m.reportedN)
				}
			default:
				replace := rapid.Bool().Draw(rt, "replace")
				body, tags, desired := document{}, document(nil), document(nil)
				if rapid.Bool().Draw(rt, "with tags") {
					tags = patches(!replace).Draw(rt, "tags")
					body["tags"] = tags
				}
				if rapid.Bool().Draw(rt, "with desired") {
					desired = patches(!replace).Draw(rt, "desired")
					body["properties"] = document{"desired": desired, "reported": document{"ignored": true}}
				}
				method := "PATCH"
				if replace {
					method = "PUT"
				}
				must(t, h, method, "/twins/"+id+"?api-version=2021-04-12", text(body))
				if notify := m.service(tags, desired, replace); notify != nil {
					f := w.Expect(mqtt.PUBLISH)
					told := document{"$version": float64(m.desiredN)}
					maps.Copy(told, notify)
					same(rt, "notification", f.Payload, told)
				}
			}
		}
		a := must(t, h, "GET", "/twins/"+id+"?api-version=2021-04-12", "")
		tags, _ := a.member("tags").(document) // absent while empty
		same(rt, "tags", text(merge(document{}, tags)), m.tags)
		for section, want := range map[string]document{"desired": m.desired, "reported": m.reported} {
			got, _ := a.member("properties", section).(document)
			delete(got, "$metadata")
			version := m.desiredN
			if section == "reported" {
				version = m.reportedN
			}
			same(rt, section, text(got), merge(want, document{"$version": float64(version)}))
		}
		if got := a.member("version"); got != float64(m.version) {
			rt.Fatalf("version %v; want %d", got, m.version)
		}
		if got, want := a.member("etag"), base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(m.etagNo))); got != want {
			rt.Fatalf("etag %v; want %s", got, want)
		}
		w.Conn.Close()
	})
}

func same(rt *rapid.T, what, got string, want document) {
	var v document
	if err := json.Unmarshal([]byte(got), &v); err != nil || !reflect.DeepEqual(v, want) {
		rt.Fatalf("%s: %s; want %s", what, got, text(want))
	}
}
