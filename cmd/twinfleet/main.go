// Command twinfleet tells a team, before rollout, what its device-twin back end will do with the whole fleet on it.
package main

import "os"

func main() { os.Exit(run(system())) }
