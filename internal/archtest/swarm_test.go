package archtest

// swarmRooms are the directions within one run on many machines.
func swarmRooms() map[string][]string {
	const bus = "internal/swarm/bus"
	return map[string][]string{
		bus:                        {},
		bus + "/link":              {bus},
		bus + "/membus":            {bus, bus + "/link"},
		bus + "/bustest":           {bus},
		"internal/swarm/natsbus":   {bus, bus + "/link"},
		"internal/swarm/embednats": {},
		"internal/swarm/figures":   {bus, "internal/swarm/protocol", "metrics"},
		"internal/swarm/parcel":    {"scenario"},
		"internal/swarm/protocol":  {"fleet", "internal/swarm/seal", "metrics", "report"},
		"internal/swarm/runner":    {"fleet", "internal/crew", "internal/generator/watch", "internal/wait", "metrics", "report", "scenario"},
		"internal/swarm/agent": {
			bus, "fleet", "internal/crew", "internal/fit", "internal/generator/watch", "internal/host", "internal/iothub/connstring", "internal/swarm/clock",
			"internal/swarm/cut", "internal/swarm/figures", "internal/swarm/parcel", "internal/swarm/protocol", "internal/swarm/runner", "internal/swarm/seal", "internal/target",
			"internal/wait", "metrics", "report", "scenario",
		},
		"internal/swarm/lead": {
			bus, "fleet", "internal/swarm/cut", "internal/swarm/figures", "internal/swarm/parcel", "internal/swarm/protocol", "internal/swarm/seal", "internal/wait", "metrics", "report", "scenario",
		},
	}
}
