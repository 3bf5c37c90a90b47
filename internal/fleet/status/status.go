// Package status is what the status of an answer to a device says of its request.
package status

import "github.com/twinfleet/twinfleet/metrics"

// Outcome sorts the status of an answer, of the hub's twins or of the provisioning service: below 300 all is well, 429 is a throttle
// (troubleshoot-error-codes).
func Outcome(status int) metrics.Outcome {
	switch {
	case status < 300:
		return metrics.OK
	case status == 429:
		return metrics.Throttled
	case status == 401 || status == 403:
		return metrics.Refused
	default:
		return metrics.Failed
	}
}
