// Package clean makes texts fit to be shown, whoever wrote them: without what moves a terminal's cursor, and without secrets.
package clean

import (
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hidden stands for what looks like a secret.
const hidden = "[hidden]"

// secrets are what keys and tokens look like; the first group, where there is one, names the secret and stays.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
	regexp.MustCompile(`(?i)(SharedAccessKey=)[A-Za-z0-9+/=%_-]+`),
	regexp.MustCompile(`(?i)(\bsig=)[^;&\s"'\[]+`),
	regexp.MustCompile(`(?i)(\bbearer )[A-Za-z0-9._~+/=-]{8,}`),
	regexp.MustCompile(`(://[^/@:\s]*:)[^/@\s\[]+@`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`), // a JSON web token
	regexp.MustCompile(`(?i)[a-z0-9+/]{86}(?:==|%3d%3d)|[a-z0-9+/]{43}(?:=|%3d)`), // 64 or 32 bytes, as keys of a hub
}

// unpadded is what may be such a key without its last character, as what stands before a "=" is taken for a name.
var unpadded = regexp.MustCompile(`[A-Za-z0-9+/]{43,}`)

// random reports whether a text is as long as a key without its padding, and has what chance gives all of them but one in a thousand.
func random(s string) bool {
	return (len(s) == 43 || len(s) == 86) && strings.ContainsFunc(s, unicode.IsUpper) && strings.ContainsFunc(s, unicode.IsLower) && strings.ContainsFunc(s, unicode.IsDigit)
}

// Redact hides what looks like a key or a token in a text, whoever wrote it there.
func Redact(s string) string {
	if suspicious(s) {
		s = redactNamed(s)
	}
	if len(s) < 43 {
		return s
	}
	return unpadded.ReplaceAllStringFunc(s, func(found string) string {
		if random(found) {
			return hidden
		}
		return found
	})
}

// redactNamed hides what looks like one of the secrets.
func redactNamed(s string) string {
	for _, secret := range secrets {
		s = secret.ReplaceAllStringFunc(s, func(found string) string {
			named := ""
			if m := secret.FindStringSubmatch(found); len(m) > 1 {
				named = m[1]
			}
			if strings.HasSuffix(found, "@") {
				return named + hidden + "@"
			}
			return named + hidden
		})
	}
	return s
}

// suspicious reports quickly whether there may be a secret: all of them have one of these.
func suspicious(s string) bool {
	return strings.ContainsAny(s, "=@%") || strings.Contains(s, "-----BEGIN") || strings.Contains(s, "eyJ") || strings.Contains(strings.ToLower(s), "bearer ")
}

// Text is a text as it may be shown: on one line, with control characters, and others that nobody sees, shown and not
// sent, and without what looks like a secret. Some of what reports hold are a target's words.
// Of a text of more than 8 KiB the beginning is shown.
func Text(s string) string {
	if len(s) > 2*maxText { // what is cut off here is cut off below, too: no secret is cut in two and shown
		s = cut(s, 2*maxText)
	}
	s = Redact(s)
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			s = strings.Map(shown, s)
			break
		}
	}
	if len(s) > maxText {
		s = cut(s, maxText-len(ellipsis)) + ellipsis
	}
	return s
}

// maxText bounds a text, in bytes: nobody reads more of it, and some come from afar.
const (
	maxText  = 8 << 10
	ellipsis = "…"
)

// cut is the first bytes of a text, without half a character.
func cut(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// shown is a character that stands for one that does something to a terminal, or hides.
func shown(r rune) rune {
	switch {
	case unicode.IsPrint(r):
		return r
	case r == '\n', r == '\t', unicode.Is(unicode.Zs, r):
		return ' '
	case r < ' ':
		return '\u2400' + r // its picture
	case r == 0x7f:
		return '\u2421'
	default:
		return unicode.ReplacementChar
	}
}

// All cleans every text that a value holds: of a run, an event, a history.
func All[T any](p *T) {
	cleaner{}.clean(reflect.ValueOf(p).Elem())
}

// cleaner knows which types hold text: histograms, of which there are many, hold none.
type cleaner map[reflect.Type]bool

func (c cleaner) clean(v reflect.Value) {
	if !c.texts(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.String:
		if was := v.String(); v.CanSet() {
			if is := Text(was); is != was {
				v.SetString(is)
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			c.clean(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				c.clean(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			c.clean(v.Index(i))
		}
	case reflect.Map:
		c.cleanMap(v)
	}
}

func (c cleaner) cleanMap(v reflect.Value) {
	for _, key := range v.MapKeys() {
		newKey, value := reflect.New(key.Type()).Elem(), reflect.New(v.Type().Elem()).Elem()
		newKey.Set(key)
		value.Set(v.MapIndex(key))
		c.clean(newKey)
		c.clean(value)
		v.SetMapIndex(key, reflect.Value{})
		v.SetMapIndex(newKey, value)
	}
}

// texts reports whether values of a type can hold text in what they export.
func (c cleaner) texts(t reflect.Type) bool {
	known, ok := c[t]
	if ok {
		return known
	}
	c[t] = false // of a type that holds itself: what else it holds decides
	found := false
	switch t.Kind() {
	case reflect.String:
		found = true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		found = c.texts(t.Elem())
	case reflect.Map:
		found = c.texts(t.Key()) || c.texts(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && c.texts(f.Type) {
				found = true
			}
		}
	}
	c[t] = found
	return found
}
