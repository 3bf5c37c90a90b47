// Package cursor walks through the words of a query, and says what stands where something else should.
package cursor

import (
	"strconv"

	"github.com/twinfleet/twinfleet/internal/iothub/query/scan"
)

// Cursor stands at one token of a query.
type Cursor struct {
	scan.Lexer            // reads on from the token
	Now        scan.Token // the token
}

// New stands at the first token of a query.
func New(sql string) (Cursor, error) {
	c := Cursor{Lexer: scan.Lexer{SQL: sql}}
	return c, c.Advance()
}

// advance moves to the next token.
func (p *Cursor) Advance() (err error) {
	p.Now, err = p.Next()
	return err
}

// fail is a mistake at the current token.
func (p *Cursor) Fail(format string, a ...any) *scan.SyntaxError {
	return scan.ErrorAt(p.SQL, p.Now.Offset, format, a...)
}

// unexpected is the error for a token that stands where something else should.
func (p *Cursor) Unexpected(want string) *scan.SyntaxError {
	err := p.Fail("expected %s, found %s", want, p.Now.Describe())
	switch {
	case p.Now.Kind == scan.Name && len(p.Now.Path) == 1 && !p.Now.Escaped:
		err.Hint = WordHint(p.Now.Text)
	case p.Sign("=="):
		err.Hint = "compare with a single ="
	case p.Sign("["):
		err.Hint = "elements of arrays cannot be reached; a name with other characters is written as in tags.[[my-key]]"
	}
	return err
}

// sign reports whether the current token is a sign.
func (p *Cursor) Sign(s string) bool { return p.Now.Kind == scan.Sign && p.Now.Text == s }

// accept moves past a keyword if it is the current token.
func (p *Cursor) Accept(w string) (bool, error) {
	if !p.Now.Word(w) {
		return false, nil
	}
	return true, p.Advance()
}

// expectWord moves past a keyword, which must be the current token.
func (p *Cursor) ExpectWord(w string) error {
	if ok, err := p.Accept(w); ok || err != nil {
		return err
	}
	return p.Unexpected(w)
}

// expectSign moves past a sign, which must be the current token.
func (p *Cursor) ExpectSign(s string) error {
	if !p.Sign(s) {
		return p.Unexpected(strconv.Quote(s))
	}
	return p.Advance()
}

// followedBy reports whether a sign comes after the current token.
func (p *Cursor) FollowedBy(sign string) bool {
	ahead := p.Lexer
	t, err := ahead.Next()
	return err == nil && t.Kind == scan.Sign && t.Text == sign
}
