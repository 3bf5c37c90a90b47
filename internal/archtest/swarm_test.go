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
	}
}
