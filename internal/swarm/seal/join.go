package seal

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// ErrProof is returned when somebody does not prove to know the token, or answers to something else than was said.
var ErrProof = errors.New("it does not prove to know this session's token")

// Random32 is bytes by chance that are used once, or the proof that somebody knows a token. In JSON it is base64.
type Random32 [32]byte

// MarshalText is the bytes in base64.
func (r Random32) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, r[:]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (r *Random32) UnmarshalText(text []byte) error { return unmarshal(r[:], text, "it") }

// Hello is what an agent says first: who it is, and that it knows the token.
type Hello struct {
	Session string    `json:"session"` // the run's or the session's id
	Agent   string    `json:"agent"`   // its name
	Key     PublicKey `json:"key"`     // to which its secrets are to be sealed
	Nonce   Random32  `json:"nonce"`
	Proof   Random32  `json:"proof"`
}

// Welcome is the coordinator's answer: that it knows the token as well.
type Welcome struct {
	Nonce Random32 `json:"nonce"`
	Proof Random32 `json:"proof"`
}

// Confirmation is the agent's answer to that: its Hello is not one that somebody overheard.
type Confirmation struct {
	Proof Random32 `json:"proof"`
}

// Hello is what an agent says of itself.
func (t Token) Hello(session, agent string, key PublicKey) (Hello, error) {
	if err := t.usable(); err != nil {
		return Hello{}, err
	}
	h := Hello{Session: session, Agent: agent, Key: key, Nonce: nonce()}
	h.Proof = t.helloProof(h)
	return h, nil
}

// Welcome is the coordinator's answer to a Hello for its session, or ErrProof.
func (t Token) Welcome(session string, h Hello) (Welcome, error) {
	if err := t.usable(); err != nil {
		return Welcome{}, err
	}
	if h.Session != session || !equal(h.Proof, t.helloProof(h)) {
		return Welcome{}, fmt.Errorf("agent %q: %w", h.Agent, ErrProof)
	}
	w := Welcome{Nonce: nonce()}
	w.Proof = t.proof("coordinator welcomes", h, w.Nonce)
	return w, nil
}

// Confirm is the agent's answer to the Welcome for its Hello, or ErrProof: then whoever answers is a stranger, whose work it does not do.
func (t Token) Confirm(h Hello, w Welcome) (Confirmation, error) {
	if err := t.usable(); err != nil {
		return Confirmation{}, err
	}
	if !equal(w.Proof, t.proof("coordinator welcomes", h, w.Nonce)) {
		return Confirmation{}, fmt.Errorf("the coordinator: %w", ErrProof)
	}
	return Confirmation{t.proof("agent confirms", h, w.Nonce)}, nil
}

// Admit is nil when a Confirmation answers the Welcome that was given to a Hello, or ErrProof.
func (t Token) Admit(h Hello, w Welcome, c Confirmation) error {
	if err := t.usable(); err != nil {
		return err
	}
	if !equal(c.Proof, t.proof("agent confirms", h, w.Nonce)) {
		return fmt.Errorf("agent %q: %w", h.Agent, ErrProof)
	}
	return nil
}

func nonce() (n Random32) {
	_, _ = rand.Read(n[:]) // never fails (crypto/rand)
	return n
}

func (t Token) helloProof(h Hello) Random32 { return t.proof("agent joins", h, Random32{}) }

// proof proves knowledge of the token to the other side, for one step of joining.
func (t Token) proof(step string, h Hello, answer Random32) Random32 {
	return Random32(authenticate(t.key("join"), []byte(step), []byte(h.Session), []byte(h.Agent), h.Key[:], h.Nonce[:], answer[:]))
}

func equal(a, b Random32) bool { return hmac.Equal(a[:], b[:]) }
