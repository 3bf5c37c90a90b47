package target

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/hub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/scenario"
)

// enroll has the embedded hub's provisioning service know the devices of a scenario: by its service side, as any other would be told.
func (t *Target) enroll(ctx context.Context, h *hub.Hub, base string, dial link.Dialer) error {
	t.scope, t.groupKey = h.DPS().IDScope(), h.DPS().GroupKey(dps.DefaultGroup)
	transport := &http.Transport{}
	if dial != nil {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	}
	defer transport.CloseIdleConnections()
	c := h.DPS().ConnectionString()
	e := enroller{client: &http.Client{Transport: transport}, base: base, token: sas.Sign(c.HostName, c.Key, c.Policy, time.Now().Add(time.Hour))}
	for i := range t.sc.Fleet.Groups {
		g := &t.sc.Fleet.Groups[i]
		if g.Identity.DPS == nil {
			continue
		}
		if err := e.group(ctx, g, t); err != nil {
			return fmt.Errorf("enrolling group %s: %w", g.Name, err)
		}
	}
	return nil
}

// enroller makes enrollments.
type enroller struct {
	client *http.Client
	base   string
	token  string
}

// group enrolls the devices of a group: together where they have a key or an authority in common.
func (e *enroller) group(ctx context.Context, g *scenario.Group, t *Target) error {
	d := g.Identity.DPS
	keys := func(primary string) map[string]any {
		return map[string]any{"type": "symmetricKey", "symmetricKey": map[string]string{"primaryKey": primary}}
	}
	switch {
	case d.X509 != nil:
		author, err := authorOf(d.X509, t.authority)
		if err != nil {
			return err
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: author.Certificate().Raw}))
		return e.put(ctx, "/enrollmentGroups/", "enrollmentGroupId", g.Name, map[string]any{
			"type": "x509", "x509": map[string]any{"signingCertificates": map[string]any{"primary": map[string]string{"certificate": text}}},
		})
	case d.File != "":
		for _, x := range g.Identity.Devices {
			if err := e.put(ctx, "/enrollments/", "registrationId", x.DeviceID, keys(x.Key.Reveal())); err != nil {
				return fmt.Errorf("device %s: %w", x.DeviceID, err)
			}
		}
		return nil
	case !d.Key.IsZero():
		return e.put(ctx, "/enrollmentGroups/", "enrollmentGroupId", g.Name, keys(d.Key.Reveal()))
	}
	return nil // there is a group from the service's beginning
}

// put makes an enrollment.
func (e *enroller) put(ctx context.Context, path, member, id string, attestation map[string]any) error {
	body, err := json.Marshal(map[string]any{member: id, "attestation": attestation})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, e.base+path+url.PathEscape(id)+"?api-version=2021-10-01", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", e.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := e.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	switch {
	case err != nil:
		return err
	case answer.StatusCode >= 300:
		var problem struct{ Message string }
		if json.Unmarshal(said, &problem) != nil || problem.Message == "" {
			problem.Message = answer.Status
		}
		return fmt.Errorf("the provisioning service: %s", problem.Message)
	}
	return nil
}
