package query

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenString
	tokenSign
)

// token is one word of a query. A name holds a whole path: a.b.c is one token.
type token struct {
	kind     tokenKind
	offset   int
	text     string   // As written; of a string, its content.
	path     []string // Of a name.
	escaped  bool     // A part of the name was written in [[ ]], so that it is no keyword.
	reserved string   // The first part of a longer name that is a keyword and was not escaped.
}

// shown bounds what a message repeats of a token.
const shown = 40

// describe is the token as error messages name it.
func (t token) describe() string {
	text := t.text
	if r := []rune(text); len(r) > shown {
		text = string(r[:shown]) + "…"
	}
	switch t.kind {
	case tokenEnd:
		return "the end of the query"
	case tokenString:
		return fmt.Sprintf("the string '%s'", text)
	default:
		return fmt.Sprintf("%q", text)
	}
}

// word reports whether the token is a word of the language, in any case.
func (t token) word(w string) bool {
	return t.kind == tokenName && !t.escaped && len(t.path) == 1 && strings.EqualFold(t.text, w)
}

type lexer struct {
	sql string
	pos int
}

func nameStart(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) }
func namePart(r rune) bool  { return nameStart(r) || unicode.IsDigit(r) }

// signs returns the signs of the language, the longer before those they begin with. == is none, but
// is read as one so that the parser can say what is right.
func signs() [18]string {
	return [...]string{"!=", "<>", "<=", ">=", "==", "<", ">", "=", "(", ")", "[", "]", ",", "+", "-", "*", "/", "%"}
}

func (l *lexer) next() (token, error) {
	for l.pos < len(l.sql) && strings.IndexByte(" \t\r\n", l.sql[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	if start == len(l.sql) {
		return token{kind: tokenEnd, offset: start}, nil
	}
	rest := l.sql[start:]
	r, _ := utf8.DecodeRuneInString(rest)
	switch {
	case nameStart(r), strings.HasPrefix(rest, "[["):
		return l.name()
	case digit(rest, 0), r == '.' && digit(rest, 1):
		return l.number()
	case r == '\'' || r == '"':
		return l.string(byte(r))
	}
	for _, sign := range signs() {
		if strings.HasPrefix(rest, sign) {
			l.pos += len(sign)
			return token{kind: tokenSign, offset: start, text: sign}, nil
		}
	}
	return token{}, l.strange(start, r)
}

// strange is the error for a character that no word of the language begins with.
func (l *lexer) strange(at int, r rune) error {
	err := errorAt(l.sql, at, "unexpected character %q", r)
	switch r {
	case ';':
		err.Hint = "a query ends without a semicolon"
	case '&':
		err.Hint = "write AND"
	case '|':
		err.Hint = "write OR"
	case '!':
		err.Hint = "write NOT, or != for not equal"
	case '`', '#', '@', '{', '~', '^', ':', '?':
		err.Hint = "names with other characters are written in [[ ]], as in tags.[[my-key]]"
	case '‘', '’', '“', '”':
		err.Hint = `strings stand in ' or "`
	}
	return err
}

func digit(s string, i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }

func (l *lexer) name() (token, error) {
	t := token{kind: tokenName, offset: l.pos}
	for {
		if strings.HasPrefix(l.sql[l.pos:], "[[") {
			end := strings.Index(l.sql[l.pos:], "]]")
			if end <= 2 {
				return t, errorAt(l.sql, l.pos, "a name in [[ needs an end ]], as in tags.[[group]].x")
			}
			t.path = append(t.path, l.sql[l.pos+2:l.pos+end])
			t.escaped = true
			l.pos += end + 2
		} else {
			start := l.pos
			l.pos += len(l.sql[start:]) - len(strings.TrimLeftFunc(l.sql[start:], namePart))
			part := l.sql[start:l.pos]
			if len(t.path) > 0 && t.reserved == "" && keyword(part) {
				t.reserved = part
			}
			t.path = append(t.path, part)
		}
		if l.pos >= len(l.sql) || l.sql[l.pos] != '.' {
			break
		}
		rest := l.sql[l.pos+1:]
		if r, _ := utf8.DecodeRuneInString(rest); !namePart(r) && !strings.HasPrefix(rest, "[[") {
			return t, errorAt(l.sql, l.pos, "a name is missing after the dot").hint("names with other characters are written in [[ ]], as in tags.[[my-key]]")
		}
		l.pos++
	}
	t.text = l.sql[t.offset:l.pos]
	return t, nil
}

// number reads 12, 1.5, .5, 1e6 or 0x1F. What follows without a gap belongs to it, so that 12ab is
// one mistake and not two words.
func (l *lexer) number() (token, error) {
	start := l.pos
	skip := func(set string) { l.pos += len(l.sql[l.pos:]) - len(strings.TrimLeft(l.sql[l.pos:], set)) }
	const decimal = "0123456789"
	if rest := l.sql[start:]; strings.HasPrefix(rest, "0x") || strings.HasPrefix(rest, "0X") {
		l.pos += 2
		skip(decimal + "abcdefABCDEF")
	} else {
		skip(decimal)
		if strings.HasPrefix(l.sql[l.pos:], ".") {
			l.pos++
			skip(decimal)
		}
		if after := strings.TrimLeft(l.sql[l.pos:], "eE"); len(after) == len(l.sql[l.pos:])-1 {
			l.pos++
			if strings.HasPrefix(after, "+") || strings.HasPrefix(after, "-") {
				l.pos++
			}
			skip(decimal)
		}
	}
	end := l.pos
	l.pos += len(l.sql[end:]) - len(strings.TrimLeftFunc(l.sql[end:], func(r rune) bool { return namePart(r) || r == '.' }))
	t := token{kind: tokenNumber, offset: start, text: l.sql[start:l.pos]}
	if l.pos > end {
		return t, errorAt(l.sql, start, "%s is not a number", t.describe())
	}
	return t, nil
}

func (l *lexer) string(quote byte) (token, error) {
	start := l.pos
	var b strings.Builder
	for l.pos++; l.pos < len(l.sql); l.pos++ {
		c := l.sql[l.pos]
		switch c {
		case quote:
			l.pos++
			return token{kind: tokenString, offset: start, text: b.String()}, nil
		case '\\':
			if err := l.escape(&b); err != nil {
				return token{}, err
			}
		default:
			b.WriteByte(c)
		}
	}
	return token{}, errorAt(l.sql, start, "the string has no end").hint("close it with %c", quote)
}

// escape reads a backslash and what follows, and leaves the position on its last character.
func (l *lexer) escape(b *strings.Builder) error {
	at := l.pos
	if l.pos++; l.pos < len(l.sql) {
		switch c := l.sql[l.pos]; c {
		case '\\', '\'', '"', '/':
			b.WriteByte(c)
			return nil
		case 'n', 'r', 't', 'b', 'f':
			b.WriteByte("\n\r\t\b\f"[strings.IndexByte("nrtbf", c)])
			return nil
		case 'u':
			return l.unicode(b, at)
		}
	}
	return errorAt(l.sql, at, `unknown escape in a string; there are \\ \' \" \n \r \t \b \f and \uXXXX`)
}

// unicode reads \uXXXX, of which two make one character beyond the first 65,536.
func (l *lexer) unicode(b *strings.Builder, at int) error {
	first, ok := l.hex4(at)
	if !ok {
		return errorAt(l.sql, at, `\u needs four hexadecimal digits`)
	}
	l.pos = at + 5
	if !utf16.IsSurrogate(first) {
		b.WriteRune(first)
		return nil
	}
	second, _ := l.hex4(at + 6)
	r := utf16.DecodeRune(first, second)
	if r == unicode.ReplacementChar {
		return errorAt(l.sql, at, "the escape is one half of a surrogate pair").hint(`write both halves, as in \uD83D\uDE00`)
	}
	l.pos = at + 11
	b.WriteRune(r)
	return nil
}

// hex4 is the value of \uXXXX at a place.
func (l *lexer) hex4(at int) (rune, bool) {
	if at+6 > len(l.sql) || l.sql[at:at+2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(l.sql[at+2:at+6], 16, 32)
	return rune(n), err == nil
}
