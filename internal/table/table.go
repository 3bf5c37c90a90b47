// Package table reads text files of data as spreadsheets and editors write them: with a byte-order mark, in UTF-16,
// with other separators than commas. What it cannot read for sure it refuses.
package table

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrText is the class of errors of Text and Separator.
var ErrText = errors.New("this cannot be read as text")

// Error is where a file is no text that can be read. It matches ErrText.
type Error struct {
	Line int    // from 1
	Text string // what is wrong, in one sentence
}

// Error is what is wrong, without the line.
func (e *Error) Error() string { return e.Text }

// Is reports whether the target is ErrText.
func (e *Error) Is(target error) bool { return target == ErrText }

// Text is the content of a file in UTF-8, without a byte-order mark. UTF-16 is read when it begins with one, as
// Windows programs write it. All else that is not UTF-8 is refused with an *Error: a guess would send other
// characters than were meant.
func Text(b []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		b = b[3:]
	case bytes.HasPrefix(b, []byte("\xff\xfe")):
		return fromUTF16(b[2:], binary.LittleEndian)
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		return fromUTF16(b[2:], binary.BigEndian)
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return nil, &Error{lineOf(b, i), "it holds a NUL byte; save the file as UTF-8 (UTF-16 is read when it begins with a byte-order mark)"}
	}
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return nil, &Error{lineOf(b, i), fmt.Sprintf("the byte 0x%02X is not UTF-8, as in Latin-1 or Windows-1252; save the file as UTF-8", b[i])}
		}
		i += size
	}
	return b, nil
}

func lineOf(b []byte, i int) int { return 1 + bytes.Count(b[:i], []byte("\n")) }

func fromUTF16(b []byte, order binary.ByteOrder) ([]byte, error) {
	out := make([]byte, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		r := rune(order.Uint16(b[i:]))
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if i+3 < len(b) {
				low = rune(order.Uint16(b[i+2:]))
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, &Error{lineOf(out, len(out)), "half of a character of UTF-16 is missing; save the file as UTF-8"}
			}
			i += 2
		}
		if r == 0 {
			return nil, &Error{lineOf(out, len(out)), "it holds a NUL character; save the file as UTF-8"}
		}
		out = utf8.AppendRune(out, r)
	}
	if len(b)%2 != 0 {
		return nil, &Error{lineOf(out, len(out)), "it ends in half a character of UTF-16; save the file as UTF-8"}
	}
	return out, nil
}

// separators are what stands between the fields of a line.
const separators = ",;\t|"

// Separator finds out what separates the fields of a file by its first line, which names them, and returns the text to
// read: a line such as sep=; that tells so is taken away. It is a comma when nothing separates anything, and an
// *Error when more than one thing could.
func Separator(text []byte) (separator rune, rest []byte, err error) {
	first, after, _ := bytes.Cut(text, []byte("\n"))
	if told, ok := strings.CutPrefix(strings.Trim(string(bytes.TrimRight(first, "\r")), `"`), "sep="); ok && utf8.RuneCountInString(told) == 1 {
		separator, _ = utf8.DecodeRuneInString(told)
		if !strings.ContainsRune(separators, separator) {
			return 0, nil, &Error{1, fmt.Sprintf("%q separates nothing here; use a comma, a semicolon, a tab or |", separator)}
		}
		return separator, append([]byte("\n"), after...), nil // an empty line, which is passed over and counted
	}
	var found []string
	for _, s := range separators {
		if n := len(Fields(text, s)); n > 1 {
			separator = s
			found = append(found, map[rune]string{',': "commas", ';': "semicolons", '\t': "tabs", '|': "|"}[s])
		}
	}
	switch len(found) {
	case 0:
		return ',', text, nil
	case 1:
		return separator, text, nil
	default:
		return 0, nil, &Error{1, fmt.Sprintf("its names could be separated by %s; put names that hold such signs in quotes", strings.Join(found, " or by "))}
	}
}

// Fields are those of the first line that is not empty; nil when it cannot be read with that separator.
func Fields(text []byte, separator rune) []string {
	fields, err := Reader(text, separator).Read()
	if err != nil {
		return nil
	}
	return slices.Clone(fields)
}

// Reader reads records. Space before a field is no part of it.
func Reader(text []byte, separator rune) *csv.Reader {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma = separator
	r.TrimLeadingSpace = separator != '\t' // which is space itself
	return r
}
