package configurations

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// Put makes or updates a configuration from the body of a request. Its If-Match, as it was sent, decides: * and a quoted
// ETag update, anything else makes a new one. An update keeps the content, whatever the body has. Errors:
// ErrConfigurationExists, ErrConfigurationNotFound, ErrPreconditionFailed, ErrInvalidConfigurationContent,
// ErrTooManyConfigurations, ErrArgumentInvalid.
func (m *Manager) Put(id string, body []byte, ifMatch string) (configuration.Configuration, error) {
	c, err := configuration.Request(id, body)
	if err != nil {
		return configuration.Configuration{}, err
	}
	if _, err := c.Content.Parse(); err != nil {
		return configuration.Configuration{}, err
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	old, number := m.configs[id], len(m.configs)
	m.mu.Unlock()
	counter := 1
	c.Created = timestamp.Time{Time: now()}
	switch update := updates(ifMatch); {
	case !update && old != nil:
		return configuration.Configuration{}, iothub.ErrConfigurationExists.With("Configuration with id '%s' already exists.", id)
	case update && old == nil:
		return configuration.Configuration{}, notFound(id)
	case update && !matches(ifMatch, old.ETag):
		return configuration.Configuration{}, preconditionFailed(id)
	case update:
		counter = counterOf(old.ETag) + 1
		c.Created, c.Content = old.Created, old.Content
		if _, err := c.Target(); err != nil { // by the content that it keeps
			return configuration.Configuration{}, iothub.ErrArgumentInvalid.With("targetCondition: %v", err)
		}
	case number >= m.opts.Most:
		return configuration.Configuration{}, iothub.ErrTooManyConfigurations.With("The hub has %d configurations, which is the most", number)
	}
	c.LastUpdated = timestamp.Time{Time: now()}
	if old == nil {
		c.LastUpdated = c.Created
	} else if !c.LastUpdated.After(old.LastUpdated.Time) {
		c.LastUpdated.Time = old.LastUpdated.Add(timestamp.Tick) // the digest must tell the states apart
	}
	c.ETag = base64.StdEncoding.EncodeToString(strconv.AppendInt(nil, int64(counter), 10))
	c.SystemMetrics = configuration.Metrics{}
	c.Metrics.Results = nil
	if err := m.keep(id, &c); err != nil {
		return configuration.Configuration{}, err
	}
	return m.Get(id)
}

// now is the time in the ticks that documents have.
func now() time.Time { return time.Now().UTC().Truncate(timestamp.Tick) }

// keep writes a configuration down, or deletes it when c is nil, and lets it work.
func (m *Manager) keep(id string, c *configuration.Configuration) error {
	var document []byte
	if c != nil {
		var err error
		if document, err = json.Marshal(c); err != nil {
			return fmt.Errorf("writing configuration %s: %w", id, err)
		}
	}
	if err := m.opts.Store.Put(bucket, id, document)(context.Background()); err != nil {
		return err
	}
	m.mu.Lock()
	if c == nil {
		delete(m.configs, id)
		delete(m.counted, id)
	} else {
		m.configs[id] = c
	}
	m.mu.Unlock()
	return m.refresh()
}

// updates reports whether an If-Match header asks for an update. The service takes ETags of configurations in quotes
// only (recorded), and an empty one for none.
func updates(ifMatch string) bool {
	return ifMatch == "*" || len(ifMatch) > 2 && ifMatch[0] == '"' && ifMatch[len(ifMatch)-1] == '"'
}

// matches reports whether an If-Match header that asks for an update allows it.
func matches(ifMatch, etag string) bool {
	wanted := strings.Trim(ifMatch, `"`)
	return wanted == "*" || wanted == etag
}

func counterOf(etag string) int {
	b, err := base64.StdEncoding.DecodeString(etag)
	n, err2 := strconv.Atoi(string(b))
	if errors.Join(err, err2) != nil {
		return 0
	}
	return n
}

// Get is a configuration with its metrics as they were last counted. The error is ErrConfigurationNotFound.
func (m *Manager) Get(id string) (configuration.Configuration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.configs[id]
	if c == nil {
		return configuration.Configuration{}, notFound(id)
	}
	return m.shownLocked(c), nil
}

// List is all configurations in the order of their ids; there are few.
func (m *Manager) List() []configuration.Configuration {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]configuration.Configuration, 0, len(m.configs))
	for _, id := range slices.Sorted(maps.Keys(m.configs)) {
		out = append(out, m.shownLocked(m.configs[id]))
	}
	return out
}

// shownLocked is a configuration as clients see it.
func (m *Manager) shownLocked(c *configuration.Configuration) configuration.Configuration {
	out := *c
	out.SystemMetrics = configuration.Metrics{Results: map[string]int64{}, Queries: c.SystemQueries()}
	out.Metrics = configuration.Metrics{Results: map[string]int64{}, Queries: map[string]string{}}
	maps.Copy(out.Metrics.Queries, c.Metrics.Queries)
	if n, ok := m.counted[c.ID]; ok {
		out.SystemMetrics.Results[configuration.TargetedCount] = n.targeted
		out.SystemMetrics.Results[configuration.AppliedCount] = n.applied
		for name, count := range n.custom {
			if _, ok := c.Metrics.Queries[name]; ok {
				out.Metrics.Results[name] = count
			}
		}
	}
	return out
}

// Delete takes a configuration away. What it wrote stays, unless another configuration is due there. The If-Match may be
// missing. Errors: ErrConfigurationNotFound, ErrPreconditionFailed.
func (m *Manager) Delete(id, ifMatch string) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	old := m.configs[id]
	m.mu.Unlock()
	switch {
	case old == nil:
		return notFound(id)
	case ifMatch != "" && !matches(ifMatch, old.ETag):
		return preconditionFailed(id)
	}
	return m.keep(id, nil)
}

func notFound(id string) error {
	return iothub.ErrConfigurationNotFound.With("Configuration with id '%s' was not found.", id)
}

func preconditionFailed(id string) error {
	return iothub.ErrPreconditionFailed.With("Precondition failed: Configuration version did not match, id '%s'", id)
}
