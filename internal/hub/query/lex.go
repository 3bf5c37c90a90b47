package query

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError is a mistake in a query, with its place.
type SyntaxError struct {
	Line, Column int    // from 1; columns count characters
	Offset       int    // bytes from the start of the query
	Message      string // what is wrong, and what would be right
}

// Error says the place and the mistake.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

func errorAt(sql string, offset int, format string, a ...any) *SyntaxError {
	before := sql[:min(offset, len(sql))]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return &SyntaxError{line, column, offset, fmt.Sprintf(format, a...)}
}

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
	kind    tokenKind
	offset  int
	text    string   // as written; of a string, its content
	path    []string // of a name
	escaped bool     // a part of the name was written in [[ ]], so that it is no keyword
}

// describe is the token as error messages name it.
func (t token) describe() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the query"
	case tokenString:
		return fmt.Sprintf("the string '%s'", t.text)
	default:
		return fmt.Sprintf("%q", t.text)
	}
}

type lexer struct {
	sql string
	pos int
}

func nameStart(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) }
func namePart(r rune) bool  { return nameStart(r) || unicode.IsDigit(r) }

func (l *lexer) next() (token, error) {
	for l.pos < len(l.sql) && strings.IndexByte(" \t\r\n", l.sql[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	if start == len(l.sql) {
		return token{kind: tokenEnd, offset: start}, nil
	}
	r, _ := utf8.DecodeRuneInString(l.sql[start:])
	switch {
	case nameStart(r), strings.HasPrefix(l.sql[start:], "[["):
		return l.name()
	case r >= '0' && r <= '9', r == '.' && start+1 < len(l.sql) && l.sql[start+1] >= '0' && l.sql[start+1] <= '9':
		return l.number(), nil
	case r == '\'' || r == '"':
		return l.string(byte(r))
	}
	for _, sign := range []string{"!=", "<>", "<=", ">=", "==", "<", ">", "=", "(", ")", "[", "]", ",", "+", "-", "*", "/", "%"} {
		if strings.HasPrefix(l.sql[start:], sign) {
			l.pos += len(sign)
			return token{kind: tokenSign, offset: start, text: sign}, nil
		}
	}
	return token{}, errorAt(l.sql, start, "unexpected character %q", r)
}

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
			for l.pos < len(l.sql) {
				r, n := utf8.DecodeRuneInString(l.sql[l.pos:])
				if !namePart(r) {
					break
				}
				l.pos += n
			}
			t.path = append(t.path, l.sql[start:l.pos])
		}
		after := l.pos + 1
		if l.pos >= len(l.sql) || l.sql[l.pos] != '.' || after >= len(l.sql) {
			break
		}
		r, _ := utf8.DecodeRuneInString(l.sql[after:])
		if !namePart(r) && !strings.HasPrefix(l.sql[after:], "[[") {
			break
		}
		l.pos = after
	}
	if l.pos < len(l.sql) && l.sql[l.pos] == '.' {
		return t, errorAt(l.sql, l.pos, "a name is missing after the dot; names with other characters are written in [[ ]]")
	}
	t.text = l.sql[t.offset:l.pos]
	return t, nil
}

func (l *lexer) number() token {
	start := l.pos
	digits := func(set string) {
		for l.pos < len(l.sql) && strings.IndexByte(set, l.sql[l.pos]) >= 0 {
			l.pos++
		}
	}
	if rest := l.sql[start:]; strings.HasPrefix(rest, "0x") || strings.HasPrefix(rest, "0X") {
		l.pos += 2
		digits("0123456789abcdefABCDEF")
	} else {
		digits("0123456789")
		if l.pos < len(l.sql) && l.sql[l.pos] == '.' {
			l.pos++
			digits("0123456789")
		}
		if l.pos < len(l.sql) && (l.sql[l.pos] == 'e' || l.sql[l.pos] == 'E') {
			l.pos++
			if l.pos < len(l.sql) && (l.sql[l.pos] == '+' || l.sql[l.pos] == '-') {
				l.pos++
			}
			digits("0123456789")
		}
	}
	// Letters that follow belong to the number, so that 12ab is one mistake and not two words.
	for l.pos < len(l.sql) {
		r, n := utf8.DecodeRuneInString(l.sql[l.pos:])
		if !namePart(r) {
			break
		}
		l.pos += n
	}
	return token{kind: tokenNumber, offset: start, text: l.sql[start:l.pos]}
}

func (l *lexer) string(quote byte) (token, error) {
	start := l.pos
	var b strings.Builder
	for l.pos++; l.pos < len(l.sql); l.pos++ {
		c := l.sql[l.pos]
		switch {
		case c == quote:
			l.pos++
			return token{kind: tokenString, offset: start, text: b.String()}, nil
		case c != '\\':
			b.WriteByte(c)
		case !l.escape(&b):
			return token{}, errorAt(l.sql, l.pos, `unknown escape in a string; there are \\ \' \" \n \r \t and \uXXXX`)
		}
	}
	return token{}, errorAt(l.sql, start, "the string has no end; close it with %c", quote)
}

// escape reads what follows a backslash and leaves the position on its last character.
func (l *lexer) escape(b *strings.Builder) bool {
	if l.pos+1 >= len(l.sql) {
		return false
	}
	l.pos++
	switch c := l.sql[l.pos]; c {
	case '\\', '\'', '"', '/':
		b.WriteByte(c)
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'u':
		var r rune
		if l.pos+4 >= len(l.sql) {
			return false
		}
		for _, h := range l.sql[l.pos+1 : l.pos+5] {
			digit := strings.IndexRune("0123456789abcdef", unicode.ToLower(h))
			if digit < 0 {
				return false
			}
			r = r<<4 | rune(digit)
		}
		l.pos += 4
		b.WriteRune(r)
	default:
		return false
	}
	return true
}
