package scenario

import (
	"fmt"
	"slices"

	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/payload/rows"
	"github.com/twinfleet/twinfleet/internal/language"
	"github.com/twinfleet/twinfleet/internal/language/document"
	"github.com/twinfleet/twinfleet/internal/language/form"
	"github.com/twinfleet/twinfleet/internal/language/value"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// Bounds of what a message holds, in bytes. Subscribers of a run take packets of 4 MiB when nothing else is said.
const (
	LargestMessage    = 2 << 20     // to a broker
	LargestHubMessage = rows.MaxRow // to a hub
)

// Content is what messages hold, of which one kind is given at most.
type Content struct {
	Payload *payload.Template // an object, a list or a text; nil, without the others, sends {}
	Rows    *rows.Rows        // rows of a file, in turn
	Bytes   payload.Source    // the bytes of a file, or of a generator
	Size    int               // that messages are filled to, in bytes; 0 leaves them as they are
	Data    *rows.Rows        // what templates of Payload take from; nil for none

	draft *document.Draft // of Payload
	bytes bytesKeys       // of Bytes
}

// bytesKeys are where the bytes of a payload come from.
type bytesKeys struct {
	given        bool
	file         string
	random, zero int
}

// Source is what renders the messages; nil for {}.
func (c *Content) Source() payload.Source {
	var s payload.Source
	switch {
	case c.Payload != nil:
		s = c.Payload
	case c.Rows != nil:
		s = c.Rows
	case c.Bytes != nil:
		s = c.Bytes
	}
	if c.Size > 0 {
		return payload.Fill(s, c.Size)
	}
	return s
}

// key is the key that says what messages hold.
func (c *Content) key() string {
	switch {
	case c.Rows != nil:
		return "payload_file"
	case c.bytes.given:
		return "payload_bytes"
	}
	return "payload"
}

// payloadKeys are the keys that say what messages hold.
func payloadKeys(c *Content) []language.Key {
	bytes := []language.Key{
		key("file", value.Text(&c.bytes.file), none, "A file that is sent as it is; its path is relative to the scenario."),
		key("random", value.Size(&c.bytes.random, 1, LargestMessage), none, "So many bytes by chance: others for each message, the same in each run."),
		key("zero", value.Size(&c.bytes.zero, 1, LargestMessage), none, "So many bytes of 0."),
	}
	return []language.Key{
		key("payload", document.Content(&c.draft), means("{}"),
			"The message, with templates such as {{ normal 21 3 }}, {{ seq }}, {{ now }}, {{ device }}, {{ pick \"a\" \"b\" }}. An object or a list "+
				"is sent as JSON, in the order of the file; a text, a number, true or false is sent as it is written, without quotes."),
		key("payload_file", document.Rows(&c.Rows), means("none"),
			"File with a message a row, instead of payload; its path is relative to the scenario. The first line of a .csv or .tsv "+
				"names the members, separated by commas, semicolons, tabs or |; of a .jsonl each line is sent as it is. In UTF-8, or "+
				"UTF-16 with a byte-order mark. Message n of a device, counted from 0, is row (index of the device in the fleet + n) "+
				"modulo rows."),
		key("payload_bytes", value.Present(&c.bytes.given, bytes), means("none"), "Bytes, instead of payload: one of file, random and zero."),
		key("payload_size", value.Size(&c.Size, 1, LargestMessage), means("as long as it is"),
			"How many bytes a message has: an object gets a last member _filler, a list or a text gets spaces, bytes of a file get zeros. One "+
				"that is longer by itself is sent as it is. A hub takes 256KiB."),
		key("data", document.Rows(&c.Data), means("none"),
			"File of objects, as payload_file has them, for templates of payload: {{ data \"site\" }} is the column or member site of the row that "+
				"payload_file would send."),
	}
}

// finishContent compiles and reads what messages hold, whose keys stand at a path.
func (r *reader) finishContent(path string, c *Content) {
	if c.Data != nil && !c.Data.Objects() {
		r.FailAt(path+".data", problem.Place{}, "some rows are no JSON objects, whose members would be the columns")
		return
	}
	if c.draft != nil && (c.Data != nil || !r.Given(path+".data")) { // or nothing is known of its columns
		c.Payload = c.draft.Compile(r.Reader, path+".payload", c.Data)
	}
	switch x := &c.bytes; {
	case x.file != "":
		b, err := r.readFile(x.file)
		if err != nil {
			r.FailAt(path+".payload_bytes.file", problem.Place{}, "the file cannot be read: %v", err)
			return
		}
		if len(b) > LargestMessage {
			r.FailAt(path+".payload_bytes.file", problem.Place{}, "%s has %d bytes; a message may have %s", x.file, len(b), form.FormatSize(LargestMessage))
			return
		}
		c.Bytes = payload.Bytes(b)
	case x.random > 0:
		c.Bytes = payload.Random(x.random)
	case x.zero > 0:
		c.Bytes = payload.Zeros(x.zero)
	}
}

// validateContent holds what messages to a broker or to a hub hold to what there can be. The keys stand at a path.
func (r *reader) validateContent(path string, c *Content, broker bool, at problem.Place) {
	fail := func(key, format string, a ...any) { r.FailAt(path+"."+key, at, format, a...) }
	text, file, bytes := c.draft != nil, c.Rows != nil, c.bytes.given
	switch {
	case bytes && (text || file):
		fail("payload_bytes", "give one of payload, payload_file and payload_bytes")
		return
	case text && file:
		fail("payload_file", "give either payload or payload_file")
		return
	}
	if n := c.bytes.count(); bytes && n != 1 {
		fail("payload_bytes", "give one of file, random and zero, as in {random: 1KiB}; found %d", n)
		return
	}
	switch {
	case c.Data == nil:
	case !text:
		fail("data", `only templates of payload take from it; write payload: {%[1]s: '{{ data "%[1]s" }}'}, or remove it`, column(c.Data))
	case c.Payload != nil && !c.Payload.Asks():
		fail("data", `nothing in payload takes from it; write {{ data "%s" }}, or remove it`, column(c.Data))
	}
	r.validateSize(path, c, at)
	most, takes := LargestHubMessage, "a hub takes messages of "+form.FormatSize(LargestHubMessage)+" at most"
	if broker {
		most, takes = LargestMessage, "a message may have "+form.FormatSize(LargestMessage)
	}
	if c.Size > most {
		fail("payload_size", "%s", takes)
	}
	if b, ok := c.Bytes.(interface{ Mean() int }); ok && b.Mean() > most {
		fail("payload_bytes", "%s are too many: %s", form.FormatSize(b.Mean()), takes)
	}
	if c.Payload != nil && c.Payload.Least() > most {
		fail("payload", "it has %d bytes at least; %s", c.Payload.Least(), takes)
	}
}

// column is a column of rows of objects, for an example.
func column(data *rows.Rows) string {
	if all := data.Columns(); len(all) > 0 {
		return all[0]
	}
	return "site"
}

// count is how many of the keys are given.
func (x *bytesKeys) count() (n int) {
	for _, given := range []bool{x.file != "", x.random > 0, x.zero > 0} {
		if given {
			n++
		}
	}
	return n
}

// validateSize holds messages that are filled to those that can be.
func (r *reader) validateSize(path string, c *Content, at problem.Place) {
	if c.Size == 0 {
		return
	}
	least, whose := 0, ""
	switch b, _ := c.Bytes.(payload.Bytes); {
	case c.bytes.random > 0 || c.bytes.zero > 0:
		r.FailAt(path+".payload_size", at, "a generator makes as many bytes as it is told; remove payload_size")
		return
	case c.Payload != nil:
		least, whose = c.Payload.Least(), "payload has %d bytes at least"
	case c.Rows != nil:
		least, whose = c.Rows.Longest(), "the longest row has %d bytes"
	case b != nil:
		least, whose = len(b), "the file has %d bytes"
	}
	if least > c.Size {
		r.FailAt(path+".payload_size", at, whose+"; a filler makes messages no smaller than they are", least)
	}
	if c.draft != nil && c.draft.Has(payload.Filler) || c.Rows != nil && slices.Contains(c.Rows.Columns(), payload.Filler) {
		r.FailAt(fmt.Sprintf("%s.%s", path, c.key()), at, "the member %s is the one that payload_size adds; give yours another name", payload.Filler)
	}
}
