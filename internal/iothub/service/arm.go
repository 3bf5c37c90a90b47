package service

import (
	"context"
	"errors"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/iothub"
)

// Arm has an embedded hub in a process of its own hold the limits of its tier from now on; only the owner's policy may. One without the endpoint
// holds them from its start: that is no error. Nor is it to ask twice.
func (c *Client) Arm(ctx context.Context) error {
	_, err := c.do(ctx, request{doing: "having the hub hold its limits", method: http.MethodPost, path: iothub.ArmPath}, nil)
	var answer *iothub.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return nil
	}
	return err
}
