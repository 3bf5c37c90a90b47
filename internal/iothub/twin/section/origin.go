package section

import (
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/codec"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// MergeBy is [Section.Merge] for what configurations write: every leaf that the patch names, which is anything but
// an object with members, is stamped with the origin that by has for its path. The path may not be kept.
func (s *Section) MergeBy(patch jsonvalue.Value, now time.Time, by func(path []string) *metadata.Origin) (*Section, error) {
	next, err := s.Merge(patch, now)
	if err != nil {
		return nil, err
	}
	// What Merge stamped it made anew, so that the nodes below may still be written.
	stamp(next.meta.Kids, next.root, patch.Map(), by, nil)
	return next, nil
}

// stamp gives the leaves of a patch their origins.
func stamp(kids []metadata.Node, root, patch jsonvalue.Map, by func(path []string) *metadata.Origin, path []string) {
	for _, m := range patch.Members() {
		at := root.Find(m.Key)
		if at < 0 {
			continue // a null: there is nothing left to stamp
		}
		below := append(path, m.Key)
		if m.Value.Kind() == jsonvalue.Object && m.Value.Len() > 0 {
			stamp(kids[at].Kids, root.Members()[at].Value.Map(), m.Value.Map(), by, below)
			continue
		}
		kids[at].By = by(below)
	}
}

// Origin is the configuration that wrote what is at a path; nil for none, and where there is nothing.
func (s *Section) Origin(path ...string) *metadata.Origin {
	node, o := &s.meta, s.root
	for _, name := range path {
		at := o.Find(name)
		if at < 0 || at >= len(node.Kids) {
			return nil
		}
		node, o = &node.Kids[at], o.Members()[at].Value.Map()
	}
	return node.By
}

// AppendOrigins appends which leaves configurations wrote; see [metadata.Node.AppendOrigins].
func (s *Section) AppendOrigins(dst []byte) []byte { return s.meta.AppendOrigins(dst) }

// DecodeOrigins returns the section, just decoded, with what AppendOrigins wrote.
func (s *Section) DecodeOrigins(d *codec.Reader, in *jsonparse.Interner) *Section {
	next := *s // a section of a new twin is shared
	next.meta.Kids = slices.Clone(s.meta.Kids)
	next.meta.DecodeOrigins(d, in.Text)
	return &next
}
