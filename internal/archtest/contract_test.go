package archtest

// contractRooms are the directions within the contract of IoT Hub and within the embedded hub.
func contractRooms() map[string][]string {
	const iot, hub = "internal/iothub", "internal/hub"
	in := func(root string, names ...string) (rooms []string) {
		for _, name := range names {
			rooms = append(rooms, root+"/"+name)
		}
		return rooms
	}
	return map[string][]string{
		iot + "/apiversion": {}, iot + "/deviceid": {}, iot + "/entity": {}, iot + "/etag": {}, iot + "/methods": {}, iot + "/sas": {},
		iot + "/tier": {iot + "/strictjson"}, iot + "/strictjson": {}, iot + "/timestamp": {}, iot + "/topics": {}, iot + "/username": in(iot, "deviceid"),
		iot + "/connstring":      in(iot, "deviceid", "sas"),
		iot + "/configuration":   append(in(iot, "jsonparse", "jsonvalue", "query", "timestamp", "twin"), iot),
		iot + "/jobs":            in(iot, "methods", "timestamp"),
		iot + "/jsonstring":      {},
		iot + "/jsonvalue":       in(iot, "jsonstring"),
		iot + "/jsonparse":       in(iot, "jsonvalue"),
		iot + "/twin":            in(iot, "entity", "etag", "jsonparse", "jsonstring", "jsonvalue", "timestamp", "twin"),
		iot + "/twin/codec":      {},
		iot + "/twin/names":      {},
		iot + "/twin/limits":     in(iot, "jsonvalue"),
		iot + "/twin/metadata":   in(iot, "jsonstring", "jsonvalue", "timestamp", "twin/codec"),
		iot + "/twin/section":    in(iot, "jsonparse", "jsonstring", "jsonvalue", "timestamp", "twin/codec", "twin/limits", "twin/metadata"),
		iot + "/query":           in(iot, "jsonvalue", "query", "twin"),
		iot + "/query/scan":      {},
		iot + "/query/lazyset":   {},
		iot + "/query/paging":    {},
		iot + "/query/cursor":    in(iot, "query/scan"),
		iot + "/query/tree":      in(iot, "jsonvalue", "query/scan", "twin/names"),
		iot + "/query/attribute": in(iot, "query/tree", "twin/names"),
		iot + "/query/parse":     in(iot, "jsonvalue", "query/attribute", "query/cursor", "query/scan", "query/tree", "twin/names"),
		iot + "/query/eval":      in(iot, "jsonvalue", "query/tree", "twin"),
		iot + "/query/plan":      in(iot, "jsonvalue", "query/attribute", "query/lazyset", "query/tree", "twin"),
		iot + "/query/aggregate": in(iot, "jsonvalue", "query/eval", "query/tree", "twin"),
		hub + "/bodies":          {},
		hub + "/c2d":             in(iot, "entity", "topics"),
		hub + "/configurations":  {iot},
		hub + "/calls":           {},
		hub + "/certs":           {hub + "/wholefile"},
		hub + "/deviceauth":      {iot},
		hub + "/digitaltwins":    {iot},
		hub + "/transfer":        {iot},
		hub + "/faults":          in(hub, "servicetime"),
		hub + "/filters":         in(iot, "topics", "username"),
		hub + "/devices":         append(in(hub, "c2d", "calls", "deviceauth", "faults", "filters"), iot),
		hub + "/front":           append(in(hub, "c2d", "calls", "devices", "faults", "filters"), iot, "internal/mqtt", "internal/nowait", "internal/timers"),
		hub + "/jobs":            {hub + "/jobs", hub + "/method", iot},
		hub + "/jobs/progress":   {iot},
		hub + "/method":          {iot},
		hub + "/mux":             {"internal/nowait"},
		hub + "/policy":          {hub + "/wholefile", iot},
		hub + "/querylag":        {},
		hub + "/rest":            append(in(hub, "bearer", "c2d", "digitaltwins", "method", "policy", "rest", "transfer"), iot),
		hub + "/rest/reply":      {iot},
		hub + "/rest/route":      {},
		hub + "/bearer":          {},
		hub + "/servicetime":     {},
		hub + "/store":           {hub + "/store", iot},
		hub + "/store/disk":      {hub + "/store/record", hub + "/wholefile", iot},
		hub + "/wholefile":       {},
		hub + "/store/feed":      in(iot, "twin"),
		hub + "/store/index":     in(iot, "jsonvalue", "query/plan", "twin"),
		hub + "/store/record":    {iot},
		hub + "/store/view":      append(in(iot, "query/plan", "twin"), hub+"/store/index"),
		hub + "/throttle":        {hub + "/throttle", iot},
		hub + "/throttle/bucket": {iot},
		hub + "/websocket":       {},
		hub + "/wiretest":        {iot, "internal/mqtt"},
	}
}
