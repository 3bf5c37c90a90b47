// Package outside uses twinfleet as somebody else's module does, so that its public packages stay enough for that.
package outside
