package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/box"
	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/internal/swarm/seal"
)

// parties are an agent's keys, and the token.
func parties(t testing.TB) (seal.KeyPair, seal.Token) {
	t.Helper()
	keys, err := seal.NewKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	return keys, seal.GenerateToken()
}

func binding() seal.Binding {
	return seal.Binding{Run: "run-1", Agent: "agent-1", Epoch: 3, Purpose: "identities"}
}

func mustSeal(t testing.TB, token seal.Token, to seal.PublicKey, b seal.Binding, secret string, size int) [][]byte {
	t.Helper()
	chunks, err := token.Seal(to, b, []byte(secret), size)
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

// What was sealed is opened as it was, whatever its length and that of the chunks, and shows nothing of itself.
func TestSeal(t *testing.T) {
	keys, token := parties(t)
	rapid.Check(t, func(rt *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "secret")
		size := rapid.IntRange(0, 100).Draw(rt, "size")
		chunks, err := token.Seal(keys.Public, binding(), secret, size)
		if err != nil {
			rt.Fatal(err)
		}
		for _, c := range chunks {
			if size > 0 && len(c) > size+seal.Overhead {
				rt.Fatalf("a chunk of %d has %d bytes", size, len(c))
			}
			if len(secret) > 16 && bytes.Contains(c, secret[:16]) {
				rt.Fatal("a chunk shows what it carries")
			}
		}
		got, err := token.Open(keys, binding(), chunks)
		if err != nil || !bytes.Equal(got, secret) {
			rt.Fatalf("%q, %v; want %q", got, err, secret)
		}
	})
}

// A large secret fits into messages of NATS, as JSON too.
func TestLarge(t *testing.T) {
	keys, token := parties(t)
	secret := strings.Repeat("a device and its key; ", 100_000)
	chunks := mustSeal(t, token, keys.Public, binding(), secret, 0)
	for _, c := range chunks {
		if text, _ := json.Marshal(c); len(text) > 1<<20-4096 {
			t.Errorf("a chunk has %d bytes of JSON", len(text))
		}
	}
	if got, err := token.Open(keys, binding(), chunks); err != nil || string(got) != secret || len(chunks) != 5 {
		t.Errorf("%d chunks, %d bytes: %v", len(chunks), len(got), err)
	}
}

// Nothing is opened that is not whole, in order, and meant for who opens it.
func TestTampering(t *testing.T) {
	keys, token := parties(t)
	others, stranger := parties(t)
	const secret = "0123456789abcdefghij"
	chunks := mustSeal(t, token, keys.Public, binding(), secret, 6)
	more := mustSeal(t, token, keys.Public, binding(), secret, 6)
	single := mustSeal(t, token, keys.Public, binding(), "", 0)
	with := func(change func(b *seal.Binding)) seal.Binding {
		b := binding()
		change(&b)
		return b
	}
	// forged is a chunk that the box takes, but that was made without the token.
	forged, err := box.SealAnonymous(nil, make([]byte, 100), (*[32]byte)(&keys.Public), nil)
	if err != nil {
		t.Fatal(err)
	}
	short, err := box.SealAnonymous(nil, nil, (*[32]byte)(&keys.Public), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name    string
		token   seal.Token
		keys    seal.KeyPair
		binding seal.Binding
		chunks  [][]byte
	}{
		{"nothing", token, keys, binding(), nil},
		{"an empty chunk", token, keys, binding(), [][]byte{{}}},
		{"without the first", token, keys, binding(), chunks[1:]},
		{"without the last", token, keys, binding(), chunks[:3]},
		{"without one between", token, keys, binding(), slices.Concat(chunks[:1], chunks[2:])},
		{"one twice", token, keys, binding(), slices.Concat(chunks[:2], chunks[1:])},
		{"one twice in place of another", token, keys, binding(), [][]byte{chunks[0], chunks[1], chunks[1], chunks[3]}},
		{"all twice", token, keys, binding(), slices.Concat(chunks, chunks)},
		{"another order", token, keys, binding(), [][]byte{chunks[1], chunks[0], chunks[2], chunks[3]}},
		{"one of another secret", token, keys, binding(), [][]byte{chunks[0], more[1], chunks[2], chunks[3]}},
		{"another run", token, keys, with(func(b *seal.Binding) { b.Run = "run-2" }), chunks},
		{"another agent by name", token, keys, with(func(b *seal.Binding) { b.Agent = "agent-2" }), chunks},
		{"another epoch", token, keys, with(func(b *seal.Binding) { b.Epoch++ }), chunks},
		{"another purpose", token, keys, with(func(b *seal.Binding) { b.Purpose = "scenario" }), chunks},
		{"names that only together are the same", token, keys, with(func(b *seal.Binding) { b.Run, b.Agent = "run-1a", "gent-1" }), chunks},
		{"another agent by key", token, others, binding(), chunks},
		{"made with another token", stranger, keys, binding(), chunks},
		{"made without one", token, keys, binding(), [][]byte{forged}},
		{"too short for anything", token, keys, binding(), [][]byte{short}},
		{"a second one in a row", token, keys, binding(), slices.Concat(single, single)},
		{"no token", seal.Token{}, keys, binding(), chunks},
		{"no keys", token, seal.KeyPair{}, binding(), chunks},
	} {
		if got, err := x.token.Open(x.keys, x.binding, x.chunks); !errors.Is(err, seal.ErrOpen) || err.Error() != seal.ErrOpen.Error() || got != nil {
			t.Errorf("%s: %q, %v", x.name, got, err)
		}
	}
	for i := range chunks {
		for at := range chunks[i] {
			for _, changed := range [][]byte{flip(chunks[i], at), chunks[i][:at]} {
				all := slices.Clone(chunks)
				all[i] = changed
				if got, err := token.Open(keys, binding(), all); !errors.Is(err, seal.ErrOpen) || got != nil {
					t.Fatalf("chunk %d, changed at %d: %q, %v", i, at, got, err)
				}
			}
		}
	}
	if got, err := token.Open(keys, binding(), chunks); err != nil || string(got) != secret {
		t.Errorf("untouched: %q, %v", got, err)
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// Agent and coordinator get to know each other by the token, and nobody else does.
func TestJoin(t *testing.T) {
	keys, token := parties(t)
	strangersKeys, strangers := parties(t)
	hello, err := token.Hello("run-1", "agent-1", keys.Public)
	if err != nil {
		t.Fatal(err)
	}
	welcome, err := token.Welcome("run-1", over(t, hello))
	if err != nil {
		t.Fatal(err)
	}
	confirmation, err := token.Confirm(hello, over(t, welcome))
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Admit(hello, welcome, over(t, confirmation)); err != nil {
		t.Fatal(err)
	}

	for name, change := range map[string]func(h *seal.Hello){
		"another session": func(h *seal.Hello) { h.Session = "run-2" },
		"another name":    func(h *seal.Hello) { h.Agent = "agent-2" },
		"another key":     func(h *seal.Hello) { h.Key = strangersKeys.Public },
		"another nonce":   func(h *seal.Hello) { h.Nonce[0]++ },
		"another proof":   func(h *seal.Hello) { h.Proof[31]++ },
		"another token":   func(h *seal.Hello) { *h, _ = strangers.Hello("run-1", "agent-1", strangersKeys.Public) },
	} {
		h := hello
		change(&h)
		if _, err := token.Welcome("run-1", h); !errors.Is(err, seal.ErrProof) {
			t.Errorf("a hello with %s is welcome: %v", name, err)
		}
	}
	if _, err := token.Welcome("run-2", hello); !errors.Is(err, seal.ErrProof) {
		t.Errorf("a hello for another session is welcome: %v", err)
	}

	forged, _ := strangers.Hello("run-1", "agent-1", keys.Public)
	byStranger, _ := strangers.Welcome("run-1", forged)
	second, _ := token.Hello("run-1", "agent-1", keys.Public)
	toSecond, _ := token.Welcome("run-1", second)
	for name, w := range map[string]seal.Welcome{
		"of a stranger":           byStranger,
		"the agent's own proof":   {Proof: hello.Proof},
		"to an earlier hello":     toSecond,
		"with another nonce":      {Nonce: toSecond.Nonce, Proof: welcome.Proof},
		"the agent's own, turned": {Nonce: hello.Nonce, Proof: hello.Proof},
		"of nobody":               {},
	} {
		if _, err := token.Confirm(hello, w); !errors.Is(err, seal.ErrProof) {
			t.Errorf("a welcome %s is confirmed: %v", name, err)
		}
	}
	again, _ := token.Welcome("run-1", hello) // a hello that was overheard, and is said once more
	for name, c := range map[string]seal.Confirmation{
		"of an earlier welcome": confirmation,
		"the welcome's proof":   {Proof: again.Proof},
		"of nobody":             {},
	} {
		if err := token.Admit(hello, again, c); !errors.Is(err, seal.ErrProof) {
			t.Errorf("a confirmation %s is enough: %v", name, err)
		}
	}
}

// over is what arrives of something that was sent as JSON.
func over[T any](t *testing.T, x T) T {
	t.Helper()
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	var y T
	if err := json.Unmarshal(text, &y); err != nil {
		t.Fatal(err)
	}
	return y
}

func TestToken(t *testing.T) {
	for text, ok := range map[string]bool{"": false, "fifteen letters": false, "sixteen letters!": true, seal.GenerateToken().Reveal(): true} {
		token, err := seal.NewToken(text)
		if (err == nil) != ok || !ok && !errors.Is(err, seal.ErrToken) || ok && token.Reveal() != text {
			t.Errorf("%q: %v", text, err)
		}
	}
	var none seal.Token
	_, err1 := none.Hello("r", "a", seal.PublicKey{})
	_, err2 := none.Welcome("r", seal.Hello{})
	_, err3 := none.Confirm(seal.Hello{}, seal.Welcome{})
	_, err4 := none.Seal(seal.PublicKey{}, seal.Binding{}, nil, 0)
	for _, err := range []error{err1, err2, err3, err4, none.Admit(seal.Hello{}, seal.Welcome{}, seal.Confirmation{})} {
		if !errors.Is(err, seal.ErrToken) {
			t.Errorf("no token at all: %v", err)
		}
	}
	if first := seal.GenerateToken().Reveal(); first == seal.GenerateToken().Reveal() {
		t.Error("one token twice")
	}
}

// Secrets do not print, wherever they stand and whatever prints them.
func TestRedacted(t *testing.T) {
	token, err := seal.NewToken("this-is-the-secret-token")
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := parties(t)
	type inside struct {
		Token seal.Token
		Keys  seal.KeyPair
		token seal.Token
		keys  seal.KeyPair
	}
	in := inside{token, keys, token, keys}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", token, "keys", keys, "in", in)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", token, "keys", keys, "in", in)
	all := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, x := range []any{token, &token, keys, &keys, in, &in, []seal.Token{token}} {
			all += fmt.Sprintf(verb, x) + "\n"
		}
	}
	if text, err := json.Marshal(token); err == nil {
		t.Errorf("a token is written: %s", text)
	}
	if text, err := json.Marshal(keys); err == nil {
		t.Errorf("a key pair is written: %s", text)
	}
	for _, secret := range []string{"this-is-the-secret-token", fmt.Sprintf("%x", "this-is-the-secret-token")} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in what was printed:\n%s", secret, all)
		}
	}
	if !strings.Contains(all, "redacted") || !strings.Contains(all, keys.Public.String()) {
		t.Errorf("what was printed says nothing:\n%s", all)
	}
}

func TestKeysAsText(t *testing.T) {
	keys, _ := parties(t)
	if got := over(t, keys.Public); got != keys.Public {
		t.Errorf("%v; want %v", got, keys.Public)
	}
	for _, text := range []string{`""`, `"AAAA"`, `"` + strings.Repeat("A", 44) + `"`, `"no base64"`} {
		var k seal.PublicKey
		if err := json.Unmarshal([]byte(text), &k); err == nil {
			t.Errorf("%s is a key", text)
		}
		var r seal.Random32
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			t.Errorf("%s is 32 bytes", text)
		}
	}
}

// Whatever arrives, opening it is an error or what was sealed.
func FuzzOpen(f *testing.F) {
	keys, token := parties(f)
	const secret = "0123456789"
	chunks := mustSeal(f, token, keys.Public, binding(), secret, 5)
	f.Add([]byte{}, []byte{}, uint8(0))
	f.Add(chunks[0], chunks[1], uint8(1))
	f.Fuzz(func(t *testing.T, a, b []byte, which uint8) {
		all := [][]byte{a, b}
		switch which % 4 { // one of them is real: what the fuzzer has of an earlier process never is
		case 1:
			all[0] = chunks[0]
		case 2:
			all[1] = chunks[1]
		case 3:
			all = [][]byte{chunks[1], a}
		}
		sealed, err := box.SealAnonymous(nil, a, (*[32]byte)(&keys.Public), nil) // past the box
		if err != nil {
			t.Fatal(err)
		}
		for _, try := range [][][]byte{all, {sealed}} {
			got, err := token.Open(keys, binding(), try)
			if err == nil && string(got) != secret || err != nil && !errors.Is(err, seal.ErrOpen) {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	keys, token := parties(b)
	secret := make([]byte, 5<<20)
	b.SetBytes(int64(len(secret)))
	for b.Loop() {
		chunks, err := token.Seal(keys.Public, binding(), secret, 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := token.Open(keys, binding(), chunks); err != nil {
			b.Fatal(err)
		}
	}
}
