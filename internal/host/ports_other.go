//go:build (!linux && !darwin) || (linux && portable)

package host

// ephemeralPorts is 0: the system does not tell.
func ephemeralPorts() int { return 0 }
