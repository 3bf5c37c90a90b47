package table

import (
	"encoding/binary"
	"errors"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// inUTF16 is a text in UTF-16 with a byte-order mark.
func inUTF16(s string, order binary.AppendByteOrder) []byte {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

func TestText(t *testing.T) {
	const text = "größe;😀\r\n1;2\n"
	for name, b := range map[string][]byte{
		"plain": []byte(text), "with a mark": []byte("\ufeff" + text),
		"UTF-16, little": inUTF16(text, binary.LittleEndian), "UTF-16, big": inUTF16(text, binary.BigEndian),
	} {
		if got, err := Text(b); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v; want %q", name, got, err, text)
		}
	}
	little := inUTF16("a\nb", binary.LittleEndian)
	for name, tt := range map[string]struct {
		b    []byte
		line int
	}{
		"Latin-1":                 {[]byte("a,b\n1,2\ngr\xf6\xdfe,3\n"), 3},
		"a cut character":         {[]byte("a\n\xe2\x82"), 2},
		"UTF-16 without a mark":   {little[2:], 1},
		"NUL":                     {[]byte("a\nb\nc\x00"), 3},
		"half of UTF-16":          {little[:len(little)-1], 2},
		"NUL in UTF-16":           {inUTF16("a\n\x00", binary.LittleEndian), 2},
		"a low surrogate":         {[]byte("\xff\xfea\x00\n\x00\x00\xdc"), 2},
		"a high surrogate, alone": {[]byte("\xff\xfea\x00\x00\xd8"), 1},
	} {
		_, err := Text(tt.b)
		var at *Error
		if !errors.Is(err, ErrText) || !errors.As(err, &at) || at.Line != tt.line {
			t.Errorf("%s: %v (%+v); want line %d", name, err, at, tt.line)
		}
	}
}

func TestSeparator(t *testing.T) {
	for text, want := range map[string]rune{
		"a,b\n": ',', "a;b\n": ';', "a\tb\n": '\t', "a|b\n": '|', "a\n1;2\n": ',', "": ',',
		"\"a,b\";c\n": ';', "\"a;b\",c": ',', "sep=;\na\n": ';', "\"sep=\t\"\r\na,b\n": '\t', "a;b,c\n": 0, "a\tb;c\n": 0, "sep=x\na": 0,
	} {
		got, rest, err := Separator([]byte(text))
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
		if err == nil && len(text) > 0 && rest == nil {
			t.Errorf("%q: nothing is left to read", text)
		}
	}
}

// Whatever is read as text is UTF-8 without NUL.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\ufeffa", "\xff\xfea\x00", "\xfe\xff\x00a", "gr\xf6\xdfe", "\xff\xfe\x00\xd8\x00\xdc"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Text(b)
		if err != nil {
			return
		}
		if !utf8.Valid(got) {
			t.Errorf("%q became %q", b, got)
		}
		_, _, _ = Separator(got)
	})
}
