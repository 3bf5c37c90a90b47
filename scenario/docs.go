package scenario

import (
	"strings"

	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/schema"
)

// Reference is the reference of the language as Markdown, made from the same table as the decoder.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Scenario reference

Made from the decoder's own table by ` + "`go test ./scenario -update`" + `; every key here is a key that runs.

A scenario is a YAML file. Keys are strict: an unknown or repeated one is a mistake, and all mistakes are reported at
once, each with its place. Values from the environment are written ` + "`${NAME}`" + `, with a default ` + "`${NAME:-text}`" + `; a name that
is not set is the text of the file that ` + "`NAME_FILE`" + ` names, as containers are given secrets; without one it is a mistake. ` + "`--set fleet.groups.robots.count=10`" + ` overrides any key.

| form | looks like |
|---|---|
| time | ` + "`500ms`, `30s`, `5m`, `1h`" + `; 10,000h at most |
| random time | a time; ` + "`1m..5m`" + ` evenly between; ` + "`exp(20m)` or `~20m`; `normal(20m, 5m)`" + ` |
| time, or random gaps | ` + "`15s`; `10s..20s`; `~15s`" + ` |
| rate | ` + "`100/s`, `600/m`; `0/s..100/s`" + ` changes linearly over the stage |
| rate, or a shape | a rate; ` + "`{points: [[0s, 10/s], [30s, 100/s]]}`, `{sine: {mean: 100/s, amplitude: 50/s, period: 1m}}`" + ` |
| share | ` + "`80%`" + ` |
| number of devices | ` + "`100`; `80%`" + ` of the whole fleet, to the nearest, and one device at least unless it is ` + "`0%`" + ` |
| bandwidth | ` + "`64KB/s`, `1.5MB/s`, `32KiB/s`, `250kbit/s`" + ` |
| size | ` + "`512B`, `64KB`, `1KiB`, `1.5MiB`" + `: so many bytes, a K of 1,000 or a Ki of 1,024 |
| weights | ` + "`{cellular: 60, wifi: 40}`" + `, or one name |
| name | small letters, digits and hyphens, 60 at most |
| any object | a YAML object that is sent as JSON |
`)
	language.Sections(&b, "", new(reader).scenarioKeys(&Scenario{}))
	return b.String()
}

// Schema is the JSON Schema (draft-07) of the language, for editors.
func Schema() ([]byte, error) {
	return schema.Of("twinfleet scenario", new(reader).scenarioKeys(&Scenario{}))
}
