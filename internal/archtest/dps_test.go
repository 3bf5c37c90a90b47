package archtest

// dpsRooms are the directions within the provisioning service.
func dpsRooms() map[string][]string {
	const iot, wire, hub, dps = "internal/iothub", "internal/iothub/dps", "internal/hub", "internal/hub/dps"
	in := func(more []string, names ...string) (rooms []string) {
		for _, name := range names {
			rooms = append(rooms, dps+"/"+name)
		}
		return append(rooms, more...)
	}
	return map[string][]string{
		wire:                  {iot},
		dps:                   {dps, hub + "/bearer", hub + "/keep", iot, "internal/uuid"},
		dps + "/allocate":     in([]string{wire}, "enrollment"),
		dps + "/attest":       in([]string{iot}, "enrollment"),
		dps + "/book":         in([]string{wire, hub + "/keep"}, "book", "enrollment"),
		dps + "/divert":       {wire, "internal/mqtt"},
		dps + "/enrollment":   {iot},
		dps + "/faults":       {},
		dps + "/front":        in([]string{iot, "internal/mqtt", "internal/uuid"}, "attest", "faults", "registration"),
		dps + "/limits":       {hub + "/throttle/bucket"},
		dps + "/registration": in([]string{iot, "internal/uuid"}, "allocate", "attest", "book", "enrollment", "faults", "limits"),
		dps + "/rest":         in([]string{iot, hub + "/bearer", "internal/uuid"}, "attest", "book", "enrollment", "faults", "front", "limits", "registration"),
	}
}
