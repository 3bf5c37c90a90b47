// Package digitaltwins shows the twins of IoT Plug and Play devices as digital twins, and takes JSON patches of them: the
// conventions of properties, components and commands over a device twin (iot-pnp: concepts-digital-twin,
// concepts-convention, howto-manage-digital-twin). Models are not looked up: what a member is follows from the twin.
package digitaltwins

import (
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// The names of the convention.
const (
	componentMarker = "__t" // in a twin, of the value componentType
	componentType   = "c"
	keyID           = "$dtId"
	keyMetadata     = "$metadata"
	keyModel        = "$model"
	keyLastUpdated  = "$lastUpdated"
	keyVersion      = "$lastUpdatedVersion"
)

// View is the digital twin of a device: its properties as reported, components among them, and $metadata with what is
// desired and acknowledged of each.
func View(t *twin.Twin) jsonvalue.Value {
	members := []jsonvalue.Member{{Key: keyID, Value: jsonvalue.StringValue(t.DeviceID)}}
	reported, desired := t.Reported.Value(), t.Desired.Value()
	at, wanted := t.Reported.Metadata(), t.Desired.Metadata()
	about := []jsonvalue.Member{{Key: keyModel, Value: jsonvalue.StringValue(t.ModelID)}}
	for _, name := range names(reported, desired) {
		r, d := reported.Get(name), desired.Get(name)
		if !isComponent(r) && !isComponent(d) {
			value, m := property(r, d, at.Get(name), wanted.Get(name))
			members, about = add(members, about, name, value, m)
			continue
		}
		var inner, innerAbout []jsonvalue.Member
		for _, sub := range names(r, d) {
			if sub == componentMarker {
				continue
			}
			value, m := property(r.Get(sub), d.Get(sub), at.Path(name, sub), wanted.Path(name, sub))
			inner, innerAbout = add(inner, innerAbout, sub, value, m)
		}
		inner = append(inner, jsonvalue.Member{Key: keyMetadata, Value: jsonvalue.ObjectValue(innerAbout...)})
		members = append(members, jsonvalue.Member{Key: name, Value: jsonvalue.ObjectValue(inner...)})
	}
	return jsonvalue.ObjectValue(append(members, jsonvalue.Member{Key: keyMetadata, Value: jsonvalue.ObjectValue(about...)})...)
}

// names are those of the members of two objects, each once.
func names(a, b jsonvalue.Value) (all []string) {
	for name := range a.Members() {
		all = append(all, name)
	}
	for name := range b.Members() {
		if !a.Get(name).IsDefined() {
			all = append(all, name)
		}
	}
	return all
}

func isComponent(v jsonvalue.Value) bool { return v.Get(componentMarker).Str() == componentType }

// add adds a property that has a value, and what is known of it.
func add(members, about []jsonvalue.Member, name string, value, m jsonvalue.Value) (with, known []jsonvalue.Member) {
	if value.IsDefined() {
		members = append(members, jsonvalue.Member{Key: name, Value: value})
	}
	return members, append(about, jsonvalue.Member{Key: name, Value: m})
}

// property is the value of a property, Undefined for one that was never reported, and what $metadata says of it. A
// device acknowledges a writable property by value, ac, av and ad.
func property(reported, desired, at, wanted jsonvalue.Value) (value, about jsonvalue.Value) {
	var m []jsonvalue.Member
	note := func(key string, v jsonvalue.Value) {
		if v.IsDefined() {
			m = append(m, jsonvalue.Member{Key: key, Value: v})
		}
	}
	note("desiredValue", desired)
	note("desiredVersion", wanted.Get(keyVersion))
	value = reported
	if ac, av := reported.Get("ac"), reported.Get("av"); ac.Kind() == jsonvalue.Number && av.Kind() == jsonvalue.Number {
		value = reported.Get("value")
		note("ackVersion", av)
		note("ackCode", ac)
		note("ackDescription", reported.Get("ad"))
	}
	when := at.Get(keyLastUpdated)
	if !when.IsDefined() {
		when = wanted.Get(keyLastUpdated)
	}
	note("lastUpdateTime", when)
	return value, jsonvalue.ObjectValue(m...)
}
