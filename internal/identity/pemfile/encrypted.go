package pemfile

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// What is said of passwords.
var (
	// ErrPassword is returned for an encrypted key without a password.
	ErrPassword = errors.New("it is encrypted; give its password in key_password, best as ${KEY_PASSWORD}")
	// ErrWrongPassword is returned when a password does not open the key.
	ErrWrongPassword = errors.New("its password is wrong: key_password does not decrypt it")

	errDamaged = errors.New("the encrypted key cannot be read: its parameters are damaged")
)

// errOld is said of encryption that nobody should use any more, and that is not read.
func errOld(what string) error {
	return fmt.Errorf("it is encrypted with %s, which is not read; encrypt it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out OTHER", what)
}

// Bounds of the work that a file may ask for: some seconds, and 1 GiB.
const (
	mostRounds = 20_000_000
	mostScrypt = 1 << 30
)

// encrypted reports whether a block needs a password.
func encrypted(block *pem.Block) bool {
	return block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
}

// decrypt is the key in a block that needs a password: PKCS #8 with PBES2, or the older form of OpenSSL.
func decrypt(block *pem.Block, password string) (crypto.Signer, error) {
	if password == "" {
		return nil, ErrPassword
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		der, err := pbes2(block.Bytes, password)
		if err != nil {
			return nil, err
		}
		return afterPassword(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	if block.Headers["DEK-Info"] == "" {
		return nil, errDamaged
	}
	//lint:ignore SA1019 files of this form exist, and are only read: who has the file knows how little it hides the key
	der, err := x509.DecryptPEMBlock(block, []byte(password))
	switch {
	case errors.Is(err, x509.IncorrectPasswordError):
		return nil, ErrWrongPassword
	case err != nil:
		name, _, _ := strings.Cut(block.Headers["DEK-Info"], ",")
		return nil, errOld(fmt.Sprintf("%.30q", name))
	}
	return afterPassword(&pem.Block{Type: block.Type, Bytes: der})
}

// afterPassword is the key of a block that was decrypted. Bytes that are not even a structure of a key's come of a wrong password whose padding is
// right by chance.
func afterPassword(block *pem.Block) (crypto.Signer, error) {
	signer, err := signerOf(block)
	var sequence []asn1.RawValue
	if rest, wrong := asn1.Unmarshal(block.Bytes, &sequence); err != nil && (wrong != nil || len(rest) > 0) {
		return nil, ErrWrongPassword
	}
	return signer, err
}

// The parameters of an encrypted PKCS #8 key (RFC 5958 section 3, RFC 8018 appendix A).
type (
	encryptedInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2Params struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	pbkdf2Info  struct {
		Salt   []byte
		Rounds int
		Length int                      `asn1:"optional"`
		PRF    pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	scryptInfo struct {
		Salt    []byte
		N, R, P int
		Length  int `asn1:"optional"`
	}
)

const (
	oidPBES2  = "1.2.840.113549.1.5.13"
	oidPBKDF2 = "1.2.840.113549.1.5.12"
	oidScrypt = "1.3.6.1.4.1.11591.4.11"
)

// prf is the function of a PBKDF2; nil for one that is unknown.
func prf(id asn1.ObjectIdentifier) func() hash.Hash {
	switch id.String() {
	case "", "1.2.840.113549.2.7":
		return sha1.New
	case "1.2.840.113549.2.8":
		return sha256.New224
	case "1.2.840.113549.2.9":
		return sha256.New
	case "1.2.840.113549.2.10":
		return sha512.New384
	case "1.2.840.113549.2.11":
		return sha512.New
	}
	return nil
}

// blockCipher is a cipher in CBC, and how many bytes its key has; nil for one that is unknown.
func blockCipher(id asn1.ObjectIdentifier) (of func([]byte) (cipher.Block, error), size int) {
	switch id.String() {
	case "2.16.840.1.101.3.4.1.2":
		return aes.NewCipher, 16
	case "2.16.840.1.101.3.4.1.22":
		return aes.NewCipher, 24
	case "2.16.840.1.101.3.4.1.42":
		return aes.NewCipher, 32
	case "1.2.840.113549.3.7":
		return des.NewTripleDESCipher, 24
	}
	return nil, 0
}

// pbes2 decrypts what RFC 8018 section 6.2 encrypts. It is written here because the library that others use reads fewer functions, takes GCM
// for CBC, and panics when a length in the file is wrong.
func pbes2(der []byte, password string) ([]byte, error) {
	var info encryptedInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errDamaged
	}
	if id := info.Algorithm.Algorithm.String(); id != oidPBES2 {
		if strings.HasPrefix(id, "1.2.840.113549.1.5.") || strings.HasPrefix(id, "1.2.840.113549.1.12.1.") {
			return nil, errOld("PBES1")
		}
		return nil, errOld("the scheme " + id)
	}
	var params pbes2Params
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, errDamaged
	}
	newBlock, size := blockCipher(params.Cipher.Algorithm)
	if newBlock == nil {
		return nil, errOld("the cipher " + params.Cipher.Algorithm.String())
	}
	var iv []byte
	if _, err := asn1.Unmarshal(params.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, errDamaged
	}
	key, err := derive(params.KDF, password, size)
	if err != nil {
		return nil, err
	}
	block, err := newBlock(key)
	if err != nil {
		return nil, errDamaged
	}
	n := block.BlockSize()
	if len(iv) != n || len(info.Data) == 0 || len(info.Data)%n != 0 {
		return nil, errDamaged
	}
	out := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, info.Data)
	pad := int(out[len(out)-1])
	if pad == 0 || pad > n {
		return nil, ErrWrongPassword
	}
	for _, b := range out[len(out)-pad:] {
		if int(b) != pad {
			return nil, ErrWrongPassword
		}
	}
	return out[:len(out)-pad], nil
}

// derive makes the key of a cipher of a password.
func derive(kdf pkix.AlgorithmIdentifier, password string, size int) ([]byte, error) {
	switch id := kdf.Algorithm.String(); id {
	case oidPBKDF2:
		var p pbkdf2Info
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.Rounds < 1 || p.Rounds > mostRounds {
			return nil, errDamaged
		}
		of := prf(p.PRF.Algorithm)
		if of == nil {
			return nil, errOld("the function " + p.PRF.Algorithm.String())
		}
		key, err := pbkdf2.Key(of, password, p.Salt, p.Rounds, size)
		if err != nil {
			return nil, errDamaged
		}
		return key, nil
	case oidScrypt:
		var p scryptInfo
		if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.N < 2 || p.R < 1 || p.P < 1 || p.P > 64 ||
			p.N > mostScrypt || p.R > mostScrypt || p.N*p.R > mostScrypt/128 {
			return nil, errDamaged
		}
		key, err := scrypt.Key([]byte(password), p.Salt, p.N, p.R, p.P, size)
		if err != nil {
			return nil, errDamaged
		}
		return key, nil
	default:
		return nil, errOld("the function " + id)
	}
}
