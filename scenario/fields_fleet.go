package scenario

// loadFields are the keys of a group that say how a device loads its target.
func loadFields(g *Group) []field {
	return []field{
		{"in_flight", formCount, "64", "Operations of one device that may be unanswered at once.", count(&g.InFlight, 1, 10_000), nil},
		{"overflow", formText, "drop", "What is due while in_flight operations are unanswered: drop counts and forgets it; wait starts it late, when its turn comes, and its latency runs from the time that was intended.", oneOf(&g.Overflow, "drop", "wait"), nil},
	}
}
