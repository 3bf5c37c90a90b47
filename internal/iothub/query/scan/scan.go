// Package scan cuts the text of a query into its words, with their places for mistakes.
package scan

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind says what a token is.
type Kind uint8

// The kinds of tokens.
const (
	End    Kind = iota // The end of the query.
	Name               // A word of the language or an attribute.
	Number             // A number, without its sign.
	String             // A string, in either kind of quotes.
	Sign               // An operator, a bracket or a comma.
)

// Token is one word of a query. A name holds a whole path: a.b.c is one Token.
type Token struct {
	Kind     Kind
	Offset   int      // Bytes before it in the query.
	Text     string   // As written; of a string, its content.
	Path     []string // Of a name.
	Escaped  bool     // A part of the name was written in [[ ]], so that it is no keyword.
	Reserved string   // The first part of a longer name that is a keyword and was not escaped.
}

// shown bounds what a message repeats of a token.
const shown = 40

// describe is the token as error messages name it.
func (t Token) Describe() string {
	text := t.Text
	if r := []rune(text); len(r) > shown {
		text = string(r[:shown]) + "…"
	}
	switch t.Kind {
	case End:
		return "the end of the query"
	case String:
		return fmt.Sprintf("the string '%s'", text)
	default:
		return fmt.Sprintf("%q", text)
	}
}

// word reports whether the token is a word of the language, in any case.
func (t Token) Word(w string) bool {
	return t.Kind == Name && !t.Escaped && len(t.Path) == 1 && strings.EqualFold(t.Text, w)
}

// Lexer reads a query word by word. A copy of it reads on by itself.
type Lexer struct {
	SQL string // The query.
	pos int
}

func nameStart(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) }
func namePart(r rune) bool  { return nameStart(r) || unicode.IsDigit(r) }

// signs returns the signs of the language, the longer before those they begin with. == is none, but
// is read as one so that the parser can say what is right.
func signs() [18]string {
	return [...]string{"!=", "<>", "<=", ">=", "==", "<", ">", "=", "(", ")", "[", "]", ",", "+", "-", "*", "/", "%"}
}

// Next reads the next token; End at the end of the query.
func (l *Lexer) Next() (Token, error) {
	for l.pos < len(l.SQL) && strings.IndexByte(" \t\r\n", l.SQL[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	if start == len(l.SQL) {
		return Token{Kind: End, Offset: start}, nil
	}
	rest := l.SQL[start:]
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
			return Token{Kind: Sign, Offset: start, Text: sign}, nil
		}
	}
	return Token{}, l.strange(start, r)
}

// strange is the error for a character that no word of the language begins with.
func (l *Lexer) strange(at int, r rune) error {
	err := ErrorAt(l.SQL, at, "unexpected character %q", r)
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

func (l *Lexer) name() (Token, error) {
	t := Token{Kind: Name, Offset: l.pos}
	for {
		if strings.HasPrefix(l.SQL[l.pos:], "[[") {
			end := strings.Index(l.SQL[l.pos:], "]]")
			if end <= 2 {
				return t, ErrorAt(l.SQL, l.pos, "a name in [[ needs an end ]], as in tags.[[group]].x")
			}
			t.Path = append(t.Path, l.SQL[l.pos+2:l.pos+end])
			t.Escaped = true
			l.pos += end + 2
		} else {
			start := l.pos
			l.pos += len(l.SQL[start:]) - len(strings.TrimLeftFunc(l.SQL[start:], namePart))
			part := l.SQL[start:l.pos]
			if len(t.Path) > 0 && t.Reserved == "" && Keyword(part) {
				t.Reserved = part
			}
			t.Path = append(t.Path, part)
		}
		if l.pos >= len(l.SQL) || l.SQL[l.pos] != '.' {
			break
		}
		rest := l.SQL[l.pos+1:]
		if r, _ := utf8.DecodeRuneInString(rest); !namePart(r) && !strings.HasPrefix(rest, "[[") {
			return t, ErrorAt(l.SQL, l.pos, "a name is missing after the dot").WithHint("names with other characters are written in [[ ]], as in tags.[[my-key]]")
		}
		l.pos++
	}
	t.Text = l.SQL[t.Offset:l.pos]
	return t, nil
}

// number reads 12, 1.5, .5, 1e6 or 0x1F. What follows without a gap belongs to it, so that 12ab is
// one mistake and not two words.
func (l *Lexer) number() (Token, error) {
	start := l.pos
	skip := func(set string) { l.pos += len(l.SQL[l.pos:]) - len(strings.TrimLeft(l.SQL[l.pos:], set)) }
	const decimal = "0123456789"
	if rest := l.SQL[start:]; strings.HasPrefix(rest, "0x") || strings.HasPrefix(rest, "0X") {
		l.pos += 2
		skip(decimal + "abcdefABCDEF")
	} else {
		skip(decimal)
		if strings.HasPrefix(l.SQL[l.pos:], ".") {
			l.pos++
			skip(decimal)
		}
		if after := strings.TrimLeft(l.SQL[l.pos:], "eE"); len(after) == len(l.SQL[l.pos:])-1 {
			l.pos++
			if strings.HasPrefix(after, "+") || strings.HasPrefix(after, "-") {
				l.pos++
			}
			skip(decimal)
		}
	}
	end := l.pos
	l.pos += len(l.SQL[end:]) - len(strings.TrimLeftFunc(l.SQL[end:], func(r rune) bool { return namePart(r) || r == '.' }))
	t := Token{Kind: Number, Offset: start, Text: l.SQL[start:l.pos]}
	if l.pos > end {
		return t, ErrorAt(l.SQL, start, "%s is not a number", t.Describe())
	}
	return t, nil
}

func (l *Lexer) string(quote byte) (Token, error) {
	start := l.pos
	var b strings.Builder
	for l.pos++; l.pos < len(l.SQL); l.pos++ {
		c := l.SQL[l.pos]
		switch c {
		case quote:
			l.pos++
			if l.pos < len(l.SQL) && l.SQL[l.pos] == quote { // a quote that is doubled is one of the string's
				b.WriteByte(quote)
				continue
			}
			return Token{Kind: String, Offset: start, Text: b.String()}, nil
		case '\\':
			if err := l.escape(&b); err != nil {
				return Token{}, err
			}
		default:
			b.WriteByte(c)
		}
	}
	return Token{}, ErrorAt(l.SQL, start, "the string has no end").WithHint("close it with %c", quote)
}

// escape reads a backslash and what follows, and leaves the position on its last character.
func (l *Lexer) escape(b *strings.Builder) error {
	at := l.pos
	if l.pos++; l.pos < len(l.SQL) {
		switch c := l.SQL[l.pos]; c {
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
	return ErrorAt(l.SQL, at, `unknown escape in a string; there are \\ \' \" \n \r \t \b \f and \uXXXX`)
}

// unicode reads \uXXXX, of which two make one character beyond the first 65,536.
func (l *Lexer) unicode(b *strings.Builder, at int) error {
	first, ok := l.hex4(at)
	if !ok {
		return ErrorAt(l.SQL, at, `\u needs four hexadecimal digits`)
	}
	l.pos = at + 5
	if !utf16.IsSurrogate(first) {
		b.WriteRune(first)
		return nil
	}
	second, _ := l.hex4(at + 6)
	r := utf16.DecodeRune(first, second)
	if r == unicode.ReplacementChar {
		return ErrorAt(l.SQL, at, "the escape is one half of a surrogate pair").WithHint(`write both halves, as in \uD83D\uDE00`)
	}
	l.pos = at + 11
	b.WriteRune(r)
	return nil
}

// hex4 is the value of \uXXXX at a place.
func (l *Lexer) hex4(at int) (rune, bool) {
	if at+6 > len(l.SQL) || l.SQL[at:at+2] != `\u` {
		return 0, false
	}
	n, err := strconv.ParseUint(l.SQL[at+2:at+6], 16, 32)
	return rune(n), err == nil
}

// Keyword reports whether a word is one of the language, in any case.
func Keyword(s string) bool {
	switch strings.ToUpper(s) {
	case "SELECT", "TOP", "FROM", "WHERE", "GROUP", "BY", "AS", "AND", "OR", "NOT", "IN", "NIN", "NULL", "TRUE", "FALSE", "UNDEFINED":
		return true
	}
	return false
}

// PlainName reports whether a part of a path needs no [[ ]]. A keyword needs them wherever it stands,
// as the language's reference has it.
func PlainName(s string, first bool) bool {
	for at, r := range s {
		if !namePart(r) || (at == 0 && first && !nameStart(r)) {
			return false
		}
	}
	return s != "" && !Keyword(s)
}
