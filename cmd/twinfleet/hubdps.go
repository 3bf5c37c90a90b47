package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/hub/dps/allocate"
	"github.com/twinfleet/twinfleet/internal/hub/dps/limits"
	"github.com/twinfleet/twinfleet/internal/hub/querylag"
	"github.com/twinfleet/twinfleet/internal/iothub/strictjson"
	"github.com/twinfleet/twinfleet/internal/regular"
)

// addDPSFlags gives the hub the flags of its provisioning service.
func addDPSFlags(f *pflag.FlagSet) {
	f.Bool("dps", true, "serve a Device Provisioning Service on the same port; off with --allow-remote unless asked for")
	f.String("dps-id-scope", "", "id scope of the provisioning service, such as 0ne00000001; random at the first start when not given")
	f.String("dps-delay", "", "how long a registration is assigning: 2s, or evenly random: 2s..20s; no longer than it takes when not given")
	f.Duration("dps-retry-after", 0, "how long devices are told to wait before they poll (0: 3s, as the service)")
	f.String("dps-limits", "", "limits of the provisioning service: azure, or some of registrations=1000,polls=1000,service=1000 (a minute) and device-polls=5 (in 10 s); none when not given")
	f.StringSlice("dps-linked-hub", nil, "further names of the hub that enrollments may name as hubs")
	f.String("dps-rules", "", "JSON file with rules of custom allocation by registration id, for enrollments without a webhook")
	f.StringSlice("dps-ca", nil, "certificate authority that groups may refer to, as NAME=FILE (PEM); the hub's own is named hub")
	f.Bool("dps-remote-webhooks", false, "let webhooks of custom allocation be asked elsewhere than on loopback")
}

// dpsOptions are the options of the provisioning service; nil for none.
func dpsOptions(s settings) (*dps.Options, error) {
	if !s.v.GetBool("dps") || (s.v.GetBool("allow-remote") && !s.given("dps")) {
		return nil, nil
	}
	o := &dps.Options{
		IDScope: s.v.GetString("dps-id-scope"), RetryAfter: s.v.GetDuration("dps-retry-after"),
		LinkedHubs: s.v.GetStringSlice("dps-linked-hub"), RemoteWebhooks: s.v.GetBool("dps-remote-webhooks"),
	}
	var err error
	if o.Delay, err = querylag.Parse(s.v.GetString("dps-delay"), s.v.GetUint64("seed")); err != nil {
		return nil, usagef("--dps-delay: %w", err)
	}
	if o.Limits, err = limits.Parse(s.v.GetString("dps-limits")); err != nil {
		return nil, usagef("--dps-limits: %w", err)
	}
	if o.RetryAfter < 0 {
		return nil, usagef("--dps-retry-after: %s is below 0", o.RetryAfter)
	}
	if o.Rules, err = readRules(s.v.GetString("dps-rules")); err != nil {
		return nil, usagef("--dps-rules: %w", err)
	}
	o.Authorities = make(map[string]*x509.Certificate)
	for _, pair := range s.v.GetStringSlice("dps-ca") {
		name, file, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--dps-ca %q: write NAME=FILE", pair)
		}
		if o.Authorities[name], err = readAuthority(file); err != nil {
			return nil, usagef("--dps-ca %s: %w", name, err)
		}
	}
	return o, nil
}

// maxHubFile bounds a file that a flag of the hub names, in bytes.
const maxHubFile = 16 << 20

func readRules(file string) ([]allocate.Rule, error) {
	if file == "" {
		return nil, nil
	}
	text, err := regular.ReadGiven(file, maxHubFile)
	if err != nil {
		return nil, err
	}
	var rules []allocate.Rule
	return rules, strictjson.Decode(file, text, &rules)
}

func readAuthority(file string) (*x509.Certificate, error) {
	text, err := regular.ReadGiven(file, maxHubFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s: the certificate is no authority's", file)
	}
	return cert, nil
}

// provisioning is what a program needs to know of the provisioning service. It holds keys, as the announcement does.
type provisioning struct {
	Endpoint         string `json:"endpoint"` // for devices, host:port
	IDScope          string `json:"idScope"`  //
	ConnectionString string `json:"serviceConnectionString"`
	Group            string `json:"group,omitempty"` // the group that is there from the beginning, unless it was removed
	GroupKey         string `json:"groupKey,omitempty"`
}

func provisioningOf(h *hub.Hub) *provisioning {
	s := h.DPS()
	if s == nil {
		return nil
	}
	p := &provisioning{Endpoint: s.Endpoint(), IDScope: s.IDScope(), ConnectionString: s.ConnectionString().Reveal()}
	if key := s.GroupKey(dps.DefaultGroup); !key.IsZero() {
		p.Group, p.GroupKey = dps.DefaultGroup, key.Base64()
	}
	return p
}

// announceDPS tells people how devices provision.
func announceDPS(w io.Writer, p *provisioning) {
	if p == nil {
		return
	}
	fmt.Fprintf(w, "\nDevices provision at the same port:\n\n")
	fmt.Fprintf(w, "  export TWINFLEET_DPS_ENDPOINT='%s'\n", p.Endpoint)
	fmt.Fprintf(w, "  export TWINFLEET_DPS_SCOPE='%s'\n", p.IDScope)
	if p.ConnectionString == "" {
		return
	}
	fmt.Fprintf(w, "  export TWINFLEET_DPS_SERVICE='%s'\n", p.ConnectionString)
	if p.GroupKey != "" {
		fmt.Fprintf(w, "  export TWINFLEET_DPS_KEY='%s'\n\n", p.GroupKey)
		fmt.Fprintf(w, "The last two are the service connection string and the key of the enrollment group %s.\n", p.Group)
	} else {
		fmt.Fprintf(w, "\nThe last is the service connection string.\n")
	}
}
