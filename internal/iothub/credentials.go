package iothub

// Credentials are what a device is checked against when it connects.
type Credentials struct {
	Enabled     bool
	AuthType    string // AuthSAS, AuthSelfSigned or AuthCertificateAuthority.
	Primary     Key
	Secondary   Key
	Thumbprints Thumbprints
}
