// Package fleet is the simulated devices: a Fleet has Groups, a Group has Devices, and a device is one
// goroutine that follows its behaviour. Every operation starts when its schedule wants it, whether or
// not earlier ones have been answered, and every operation is one observation of the Recorder.
package fleet
