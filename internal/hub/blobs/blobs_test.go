package blobs

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func writes(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

func id(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%05d", n)) }

// both runs a test on a storage in memory and on one in a directory; left tells the files that are there.
func both(t *testing.T, o Options, test func(t *testing.T, s *Storage, left func() []string)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, New(o), func() []string { return nil }) })
	t.Run("disk", func(t *testing.T) {
		o.Dir = t.TempDir()
		test(t, New(o), func() []string {
			files, err := filepath.Glob(filepath.Join(o.Dir, "*", "*"))
			if err != nil {
				t.Fatal(err)
			}
			return files
		})
	})
}

func text(t *testing.T, s *Storage, container, name string) string {
	t.Helper()
	b, err := s.Open(container, name)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	content, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func TestNamesThatAreFilesAndNamesThatAreNot(t *testing.T) {
	names := []string{"a", "a/b", "a%2Fb", ".new-x", "..x", "A b+c", "ü/ü", "d'1$*/x?y", strings.Repeat("x", MaxName), strings.Repeat("x", MaxName-1) + "y", "%%"}
	both(t, Options{}, func(t *testing.T, s *Storage, left func() []string) {
		for _, name := range names {
			is(t, name, s.Write("box", name, nil, writes("of "+name)), nil)
		}
		for _, name := range names {
			if got := text(t, s, "box", name); got != "of "+name {
				t.Errorf("%q holds %q", name, got)
			}
		}
		if n := len(left()); s.opts.Dir != "" && n != len(names) {
			t.Errorf("%d files for %d blobs", n, len(names))
		}
		for _, name := range []string{"", "/", "a/", "/a", "a//b", "..", "a/../b", ".", "a\nb", "a\x00", "\xff", strings.Repeat("x", MaxName+1)} {
			is(t, name, s.Write("box", name, nil, writes("x")), ErrName)
			is(t, name, s.PutBlock("box", name, id(1), writes("x")), ErrName)
			is(t, name, s.Commit("box", name, nil, nil), ErrName)
		}
		is(t, "container", s.Write("B", "a", nil, writes("x")), ErrName)
	})
}

func TestBlocksBecomeABlob(t *testing.T) {
	both(t, Options{}, func(t *testing.T, s *Storage, left func() []string) {
		for i, content := range []string{"zero", "one", "two", "unused"} {
			is(t, content, s.PutBlock("box", "a/b", id(i), writes(content)), nil)
		}
		is(t, "again", s.PutBlock("box", "a/b", id(2), writes("TWO")), nil)
		is(t, "not there yet", func() error { _, err := s.Open("box", "a/b"); return err }(), ErrNoBlob)
		is(t, "a block that did not come", s.Commit("box", "a/b", []string{id(0), id(9)}, nil), ErrBlock)
		refuse := errors.New("no")
		is(t, "a condition", s.Commit("box", "a/b", []string{id(0)}, func(*Blob) error { return refuse }), refuse)
		is(t, "commit", s.Commit("box", "a/b", []string{id(2), id(0), id(1), id(2)}, nil), nil)
		if got := text(t, s, "box", "a/b"); got != "TWOzerooneTWO" {
			t.Errorf("the blob holds %q", got)
		}
		is(t, "all blocks are gone", s.Commit("box", "a/b", []string{id(3)}, nil), ErrBlock)
		is(t, "an id of another length", s.PutBlock("box", "c", id(1), writes("x")), nil)
		is(t, "an id of another length", s.PutBlock("box", "c", id(1000000), writes("x")), ErrBlocks)
		for _, bad := range []string{"", "!", base64.StdEncoding.EncodeToString(make([]byte, 65))} {
			is(t, bad, s.PutBlock("box", "c", bad, writes("x")), ErrBlockID)
		}
		is(t, "put", s.Write("box", "c", nil, writes("whole")), nil)
		is(t, "a put gives blocks up", s.Commit("box", "c", []string{id(1)}, nil), ErrBlock)
		is(t, "an empty list", s.Commit("box", "empty", nil, nil), nil)
		if got := text(t, s, "box", "empty"); got != "" {
			t.Errorf("the empty blob holds %q", got)
		}
		is(t, "delete", s.Delete("box", "a/b", nil), nil)
		is(t, "delete", s.Delete("box", "c", nil), nil)
		is(t, "delete", s.Delete("box", "empty", nil), nil)
		if files := left(); len(files) != 0 || s.used != 0 {
			t.Errorf("left: %v; %d bytes in use", files, s.used)
		}
	})
}

func TestTheRoomIsBounded(t *testing.T) {
	both(t, Options{Room: 3 * leastCost}, func(t *testing.T, s *Storage, left func() []string) {
		large := strings.Repeat("x", 2*leastCost)
		is(t, "large", s.Write("box", "a", nil, writes(large)), nil)
		is(t, "beside it", s.Write("box", "b", nil, writes(large)), ErrFull)
		is(t, "small", s.PutBlock("box", "b", id(1), writes("")), nil)
		is(t, "one more", s.PutBlock("box", "b", id(2), writes("")), ErrFull)
		is(t, "the list needs room too", s.Commit("box", "b", []string{id(1)}, nil), ErrFull)
		is(t, "delete", s.Delete("box", "a", nil), nil)
		is(t, "the blocks waited", s.Commit("box", "b", []string{id(1)}, nil), nil)
		is(t, "in its place", s.Write("box", "b", nil, writes(large)), nil)
		failed := errors.New("the client is gone")
		is(t, "a write that breaks off", s.Write("box", "c", nil, func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return failed }), failed)
		if s.used != int64(len(large)) {
			t.Errorf("%d bytes in use; want %d", s.used, len(large))
		}
		if files := left(); len(files) > 1 {
			t.Errorf("left: %v", files)
		}
		if s.opts.Dir != "" {
			if again := New(s.opts); again.used != s.used {
				t.Errorf("the next storage counts %d bytes; want %d", again.used, s.used)
			}
		}
	})
}

func TestABlobIsBounded(t *testing.T) {
	s := New(Options{})
	b := bounded{w: io.Discard, storage: s, size: MaxBlob - 3}
	if _, err := b.Write([]byte("four")); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := b.Write([]byte("two")); err != nil {
		t.Error(err)
	}
}

func TestBlocksDoNotLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Dir: t.TempDir()})
		is(t, "block", s.PutBlock("box", "a", id(1), writes("x")), nil)
		time.Sleep(59 * time.Minute)
		is(t, "another's", s.PutBlock("box", "b", id(1), writes("x")), nil)
		time.Sleep(2 * time.Minute)
		is(t, "and again", s.PutBlock("box", "b", id(2), writes("x")), nil)
		is(t, "an hour later", s.Commit("box", "a", []string{id(1)}, nil), ErrBlock)
		is(t, "two minutes later", s.Commit("box", "b", []string{id(1), id(2)}, nil), nil)
		files, err := os.ReadDir(filepath.Join(s.opts.Dir, "box"))
		if err != nil || len(files) != 1 || s.used != leastCost {
			t.Errorf("left: %v, %v; %d bytes in use", files, err, s.used)
		}
	})
}

func TestAccess(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := NewSigner([]byte("secret"))
	good := s.Sign(Uploads, "dev-1/a.txt", now.Add(time.Hour))
	if !strings.HasPrefix(good, "?sv=2018-03-28&sr=b&sig=") || !strings.HasSuffix(good, "&se=2026-01-02T04%3A04%3A05Z&sp=rw") {
		t.Errorf("%s is not what the service tells", good)
	}
	for name, c := range map[string]struct {
		signer          Signer
		container, blob string
		query           string
		at              time.Time
		ok              bool
	}{
		"good":              {s, Uploads, "dev-1/a.txt", good, now, true},
		"at its last":       {s, Uploads, "dev-1/a.txt", good, now.Add(time.Hour - time.Second), true},
		"expired":           {s, Uploads, "dev-1/a.txt", good, now.Add(time.Hour), false},
		"another blob":      {s, Uploads, "dev-1/a.txt2", good, now, false},
		"another container": {s, "box", "dev-1/a.txt", good, now, false},
		"another key":       {NewSigner([]byte("other")), Uploads, "dev-1/a.txt", good, now, false},
		"no key":            {Signer{}, Uploads, "dev-1/a.txt", Signer{}.Sign(Uploads, "dev-1/a.txt", now.Add(time.Hour)), now, false},
		"a longer life":     {s, Uploads, "dev-1/a.txt", strings.Replace(good, "2026", "2027", 1), now, false},
		"more rights":       {s, Uploads, "dev-1/a.txt", strings.Replace(good, "sp=rw", "sp=rwd", 1), now, false},
		"another resource":  {s, Uploads, "dev-1/a.txt", strings.Replace(good, "sr=b", "sr=c", 1), now, false},
		"no signature":      {s, Uploads, "dev-1/a.txt", "?sv=2018-03-28&sr=b&se=2026-01-02T04:04:05Z&sp=rw", now, false},
		"nothing":           {s, Uploads, "dev-1/a.txt", "?", now, false},
	} {
		query, err := url.ParseQuery(c.query[1:])
		if err != nil {
			t.Fatal(err)
		}
		if err := c.signer.Check(query, c.container, c.blob, c.at); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
