// Package policy is the shared access policies of a hub: what who holds their keys may do (iot-hub-dev-guide-sas).
package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/wholefile"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Rights are what a shared access policy allows.
type Rights uint8

// The rights.
const (
	RegistryRead   Rights = 1 << iota // read identities
	RegistryWrite                     // write identities
	ServiceConnect                    // twins, queries, methods, messages and jobs
	DeviceConnect                     // connect as any device
)

// Policy is a shared access policy.
type Policy struct {
	Primary, Secondary sas.Key // either signs
	Rights             Rights  // what its tokens allow
}

// Set is the policies of a hub by name.
type Set map[string]Policy

// Authorize checks that a token, as the header Authorization has it, allows a request of a path. The error is
// iothub.ErrUnauthorizedAccess.
func (s Set) Authorize(header, path string, right Rights) error {
	token, err := sas.Parse(header)
	if err != nil {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: %v", err)
	}
	if token.Policy == "" {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: the token names no shared access policy (skn): a device's own token "+
			"opens its connections and the paths below /devices that are for devices, but none of the service's endpoints; use the connection string of a policy such as %s", example)
	}
	policy, ok := s[token.Policy]
	if !ok {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: no such shared access policy")
	}
	if err := token.Verify(time.Now(), policy.Primary, policy.Secondary); err != nil {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: %v", err)
	}
	// Any host name is the hub's: clients know it by different ones. The path must be covered.
	if !token.CoversPath(path) {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: the token is for another resource")
	}
	if policy.Rights&right != right {
		return iothub.ErrUnauthorizedAccess.With("Unauthorized: the shared access policy %s does not allow this", token.Policy)
	}
	return nil
}

// example is the policy that messages name where any would do that has the right.
const example = "service"

// rights are those of the policies that a hub has from its beginning (iot-hub-dev-guide-sas).
func rights() map[string]Rights {
	return map[string]Rights{
		"iothubowner":       RegistryRead | RegistryWrite | ServiceConnect | DeviceConnect,
		"service":           ServiceConnect,
		"device":            DeviceConnect,
		"registryRead":      RegistryRead,
		"registryReadWrite": RegistryRead | RegistryWrite,
	}
}

const fileName = "policies.json"

// Open reads the keys of the policies, or makes them; with a directory they are kept in it,
// so that connection strings stay valid over restarts. A file that holds no keys is an error that says what to do.
func Open(dir string) (Set, error) {
	keys := make(map[string]registry.SymmetricKeys)
	path := filepath.Join(dir, fileName)
	if dir != "" {
		b, err := os.ReadFile(path)
		switch {
		case err == nil:
			if err := json.Unmarshal(b, &keys); err != nil {
				return nil, fmt.Errorf("reading %s: %w; %s", path, err, remedy)
			}
			if keys == nil {
				return nil, fmt.Errorf("reading %s: %w; %s", path, errNoKeys, remedy)
			}
		case !errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("reading the keys of the policies: %w", err)
		}
	}
	policies := make(Set)
	made := false
	for name, r := range rights() {
		k := keys[name]
		if k.Primary.IsZero() || k.Secondary.IsZero() {
			k = registry.SymmetricKeys{Primary: sas.NewKey(), Secondary: sas.NewKey()}
			keys[name], made = k, true
		}
		policies[name] = Policy{Primary: k.Primary, Secondary: k.Secondary, Rights: r}
	}
	if dir == "" || !made {
		return policies, nil
	}
	b, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if err := wholefile.Replace(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("keeping the keys of the policies: %w", err)
	}
	return policies, nil
}

// errNoKeys is what is wrong with a file that holds JSON, and no keys.
var errNoKeys = errors.New("it holds no keys")

// remedy is what can be done about a file that cannot be read.
const remedy = "put a copy of it back, or remove it to have new keys made: connection strings with the old ones are no longer valid then"
