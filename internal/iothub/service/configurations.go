package service

import (
	"context"
	"net/http"
	"net/url"

	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
)

func configurationPath(id string) string { return "/configurations/" + url.PathEscape(id) }

// PutConfiguration makes a configuration, or updates the one whose ETag it has. It returns
// iothub.ErrConfigurationExists for an id that is taken, iothub.ErrPreconditionFailed for an ETag that is stale.
func (c *Client) PutConfiguration(ctx context.Context, doc configuration.Configuration) (configuration.Configuration, error) {
	var header http.Header
	if doc.ETag != "" {
		header = ifMatch(doc.ETag)
	}
	var out configuration.Configuration
	_, err := c.do(ctx, request{doing: "writing configuration " + doc.ID, method: http.MethodPut, path: configurationPath(doc.ID), header: header, body: doc}, &out)
	return out, err
}

// Configuration reads a configuration with its metrics. It returns iothub.ErrConfigurationNotFound.
func (c *Client) Configuration(ctx context.Context, id string) (configuration.Configuration, error) {
	var out configuration.Configuration
	_, err := c.do(ctx, request{doing: "reading configuration " + id, method: http.MethodGet, path: configurationPath(id)}, &out)
	return out, err
}

// DeleteConfiguration removes a configuration, whatever its ETag. It returns iothub.ErrConfigurationNotFound.
func (c *Client) DeleteConfiguration(ctx context.Context, id string) error {
	_, err := c.do(ctx, request{doing: "deleting configuration " + id, method: http.MethodDelete, path: configurationPath(id), header: ifMatch("*")}, nil)
	return err
}
