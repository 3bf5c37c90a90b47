// Package worker is the service side of a run: it tags the devices' twins, runs twin queries on a
// schedule, and carries out the one-off steps of a scenario. What it measures goes to the Recorder.
package worker
