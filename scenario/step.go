package scenario

import (
	"encoding/json"
	"time"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/timing"
	"github.com/twinfleet/twinfleet/internal/language/value"
)

// Step is one thing that the service side does once, in order, at the start of a stage. Exactly one
// of its parts is set.
type Step struct {
	Statistics *StatisticsStep // read counts of the registry
	Tag        *TagStep        // set tags
	Query      *QueryStep      // query until the result is as expected
	Desired    *DesiredStep    // write desired properties
	Await      *AwaitStep      // wait for devices
}

// StatisticsStep reads the registry's statistics.
type StatisticsStep struct {
	Expect int // identities; below 0 expects nothing
}

// TagStep sets tags on a group's devices.
type TagStep struct {
	Group string          // whose devices
	Tags  json.RawMessage // a JSON object
}

// QueryStep runs a query until its result has the expected size.
type QueryStep struct {
	Name   string        // of one of the service's queries; this or SQL
	SQL    string        // a query of its own; this or Name
	Expect int           // below 0 expects nothing
	Within time.Duration // how long to repeat it until the result is as expected
}

// DesiredStep writes desired properties and waits for the devices' answers.
type DesiredStep struct {
	Group      string          // whose devices
	Properties json.RawMessage // a JSON object
	Within     time.Duration   // 0 does not wait
}

// AwaitStep waits for the devices.
type AwaitStep struct {
	Connected int           // below 0 for any number
	Reported  int           // devices with an acknowledged report; below 0 for any number
	Within    time.Duration // how long to wait; then the step failed
}

func (r *reader) stepKeys(s *Step) []language.Key {
	statistics := func(x *StatisticsStep) []language.Key {
		return []language.Key{key("expect", r.expected(&x.Expect), means("any"), "Identities that there must be.")}
	}
	tag := func(x *TagStep) []language.Key {
		return []language.Key{
			key("group", value.Name(&x.Group).Required(), none, "Whose devices."),
			key("tags", document.Constant(&x.Tags).Required(), none, "The tags."),
		}
	}
	query := func(x *QueryStep) []language.Key {
		return []language.Key{
			key("name", value.Name(&x.Name), none, "One of service.queries; or"),
			key("sql", value.Text(&x.SQL), none, "a query of its own."),
			key("expect", r.expected(&x.Expect), means("any"), "Items that the result must have."),
			key("within", timing.Duration(&x.Within, 0), is("5s"), "How long to ask again until it has."),
		}
	}
	desired := func(x *DesiredStep) []language.Key {
		return []language.Key{
			key("group", value.Name(&x.Group).Required(), none, "Whose devices."),
			key("properties", document.Constant(&x.Properties).Required(), none, "The desired properties."),
			key("within", timing.Duration(&x.Within, 0), means("does not wait"),
				"How long to wait until every connected device of the group has been told."),
		}
	}
	await := func(x *AwaitStep) []language.Key {
		return []language.Key{
			key("connected", r.devices(&x.Connected), means("any"), "Devices that must be connected."),
			key("reported", r.devices(&x.Reported), means("any"), "Devices that must have an acknowledged report."),
			key("within", timing.Duration(&x.Within, 0), is("30s"), "How long to wait."),
		}
	}
	return []language.Key{
		key("statistics", value.Optional(&s.Statistics, func() StatisticsStep { return StatisticsStep{anything} }, statistics), none,
			"Read the registry's statistics."),
		key("tag", value.Optional(&s.Tag, value.Empty, tag), none, "Set tags on a group's devices."),
		key("query", value.Optional(&s.Query, func() QueryStep { return QueryStep{Expect: anything} }, query), none, "Run a query."),
		key("desired", value.Optional(&s.Desired, value.Empty, desired), none, "Write desired properties."),
		key("await", value.Optional(&s.Await, func() AwaitStep { return AwaitStep{Connected: anything, Reported: anything} }, await), none,
			"Wait for the devices."),
	}
}
